package netdrv

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Forward publishes ports: what comes to the host there goes to a guest.
type Forward struct {
	Listen Service
	// Address is the host's; none: any of them, and the loopback addresses with
	// them. A loopback address: the host's own programs only.
	Address netip.Addr
	// Guest is an address, or a name as DNS knows it, relative to the domain.
	Guest string
	// Ports are the guest's, as many as Listen's.
	Ports PortRange
	// AllowDHCPName: Guest may be a name that a guest chose itself, its DHCP host name.
	AllowDHCPName bool
	// From are the sources that may call, but for loopback; none: all.
	From []netip.Prefix
}

// Callers are those of From of one family, none of them within another.
func (f *Forward) Callers(ipv4 bool) []netip.Prefix {
	return Merge(slices.DeleteFunc(slices.Clone(f.From), func(p netip.Prefix) bool { return p.Addr().Is4() != ipv4 }))
}

// Admits reports whether an address may call.
func (f *Forward) Admits(a netip.Addr) bool {
	return len(f.From) == 0 || slices.ContainsFunc(f.From, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Equal reports whether two forwards are the same.
func (f Forward) Equal(o Forward) bool {
	return f.Listen == o.Listen && f.Address == o.Address && f.Guest == o.Guest && f.Ports == o.Ports && f.AllowDHCPName == o.AllowDHCPName && slices.Equal(f.From, o.From)
}

// Target returns the guest's address, invalid where it has a name only.
func (f *Forward) Target() netip.Addr {
	a, _ := netip.ParseAddr(f.Guest)
	return a
}

// Loopback reports whether the forward is for the host's own programs only.
func (f *Forward) Loopback() bool { return f.Address.IsLoopback() }

// To says "web:80" or "[fd00::5]:9000-9010".
func (f *Forward) To() string {
	guest := f.Guest
	if f.Target().Is6() {
		guest = "[" + guest + "]"
	}
	if f.Ports.Start == f.Ports.End {
		return fmt.Sprintf("%s:%d", guest, f.Ports.Start)
	}
	return fmt.Sprintf("%s:%d-%d", guest, f.Ports.Start, f.Ports.End)
}

// ParseTarget reads what Forward.To says. Ports are zero where there are none.
func ParseTarget(s string) (guest string, ports PortRange, err error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String(), PortRange{}, nil
	}
	guest = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		guest = s[:i]
		if ports, err = parsePorts(s[i+1:]); err != nil {
			return "", PortRange{}, err
		}
	}
	if inner, ok := strings.CutPrefix(guest, "["); ok {
		guest = strings.TrimSuffix(inner, "]")
	}
	if a, err := netip.ParseAddr(guest); err == nil {
		return a.Unmap().String(), ports, nil
	}
	if strings.Contains(guest, ":") {
		return "", PortRange{}, fmt.Errorf("%q is not NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT", s)
	}
	return strings.ToLower(guest), ports, nil
}

// Count is how many ports there are in the range.
func (p PortRange) Count() int { return int(p.End) - int(p.Start) + 1 }

// Overlaps reports whether two ranges share a port.
func (p PortRange) Overlaps(o PortRange) bool { return p.Start <= o.End && o.Start <= p.End }

// Resolved returns n with each forward to a name in place of one for each family
// in which the name has an address on the network; names is as in DNS. A forward
// to a name that has none is left out.
func Resolved(n Network, names func(f *Forward) []netip.Addr) Network {
	var out []Forward
	for _, f := range n.Forwards {
		for _, a := range Targets(&n, &f, names) {
			f.Guest = a.String()
			out = append(out, f)
		}
	}
	n.Forwards = out
	return n
}

// Targets returns the addresses that a forward leads to, at most one of each
// family, IPv4 first. Where the host's address is given, it is the family.
func Targets(n *Network, f *Forward, names func(f *Forward) []netip.Addr) []netip.Addr {
	all := []netip.Addr{f.Target()}
	if !all[0].IsValid() {
		all = slices.DeleteFunc(slices.Clone(names(f)), func(a netip.Addr) bool { return !n.HasGuest(a) })
	}
	var out []netip.Addr
	for _, ipv4 := range []bool{true, false} {
		i := slices.IndexFunc(all, func(a netip.Addr) bool { return a.Is4() == ipv4 })
		if i >= 0 && (!f.Address.IsValid() || f.Loopback() || f.Address.Is4() == ipv4) {
			out = append(out, all[i])
		}
	}
	return out
}

// HasGuest reports whether an address belongs on the network, or behind one of
// its guests, and is not the host's.
func (n *Network) HasGuest(a netip.Addr) bool {
	return slices.ContainsFunc(n.prefixes(), func(p netip.Prefix) bool { return p.Contains(a) }) &&
		!slices.Contains(n.Gateways(), a)
}

// Socket is one of the host's that waits for packets from anybody.
type Socket struct {
	Protocol Protocol
	Local    netip.AddrPort // an unspecified address stands for all, of both families in IPv6
	Holder   string         // for people: "nginx (pid 812)"
}

// SocketConflicts returns the forwards with ports that a socket of the host has.
func SocketConflicts(n *Network, sockets []Socket) Findings {
	var fs Findings
	for i := range n.Forwards {
		f := &n.Forwards[i]
		for _, s := range sockets {
			if f.meets(s) {
				fs.Add(index("forwards", i)+".listen", "%s/%d is in use on this host by %s, on %s; %s",
					s.Protocol, s.Local.Port(), s.Holder, s.Local, f.wayOut(s))
				break
			}
		}
	}
	return fs
}

// Publishes reports whether a socket of the host has a port that n publishes.
func (n *Network) Publishes(s Socket) bool {
	return slices.ContainsFunc(n.Forwards, func(f Forward) bool { return f.meets(s) })
}

func (f *Forward) meets(s Socket) bool {
	port, a := s.Local.Port(), s.Local.Addr()
	return s.Protocol == f.Listen.Protocol && f.Listen.Ports.Start <= port && port <= f.Listen.Ports.End &&
		(!f.Address.IsValid() || a == f.Address || a.IsUnspecified() && (a.Is6() || f.Address.Is4()))
}

func (f *Forward) wayOut(s Socket) string {
	if s.Local.Addr().IsUnspecified() || f.Address.IsValid() {
		return "take another port, or have that program listen elsewhere"
	}
	return "take another port, or publish on one address of the host (address)"
}
