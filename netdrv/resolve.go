package netdrv

import (
	"net/netip"
	"strings"
)

// maxAliases bounds how many CNAMEs of a definition are followed.
const maxAliases = 8

// Names has what the names of a network stand for, as its DNS server has it: by the
// records of the definition, or else by its reservations. A lookup costs the same
// however many there are. It does not follow changes of the network.
type Names struct {
	suffix   string               // the domain with a dot before it, in lower case
	records  map[string][]*Record // A, AAAA and CNAME, by name below the domain in lower case
	reserved map[string][]*Reservation
}

// NamesOf indexes the names of a network.
func NamesOf(n *Network) *Names {
	x := &Names{suffix: "." + strings.ToLower(n.DNS.Domain), records: map[string][]*Record{}, reserved: map[string][]*Reservation{}}
	for i := range n.DNS.Records {
		switch r := &n.DNS.Records[i]; r.Type {
		case "A", "AAAA", "CNAME":
			name := x.relative(r.Name)
			x.records[name] = append(x.records[name], r)
		}
	}
	for _, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		x.reserve(s.DHCP.Reservations)
		for i := range s.DHCP.Relayed {
			x.reserve(s.DHCP.Relayed[i].Reservations)
		}
	}
	return x
}

func (x *Names) reserve(rs []Reservation) {
	for i := range rs {
		if r := &rs[i]; r.Hostname != "" {
			name := x.relative(r.Hostname)
			x.reserved[name] = append(x.reserved[name], r)
		}
	}
}

// relative returns a name without the network's domain, in lower case.
func (x *Names) relative(name string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), x.suffix)
}

// Addresses returns the addresses of a name. The leases in force, which count beside
// reservations, are asked for with one label in lower case.
func (x *Names) Addresses(name string, leases func(label string) []netip.Addr) []netip.Addr {
	name, out := x.follow(name)
	if out != nil || name == "" {
		return out
	}
	for _, r := range x.reserved[name] {
		out = append(out, r.Address)
	}
	return append(out, leases(name)...)
}

// follow returns the addresses that records give a name, or the name below the domain
// at which its aliases end; "" if they do not.
func (x *Names) follow(name string) (string, []netip.Addr) {
	for range maxAliases {
		name = x.relative(name)
		out, alias := x.fromRecords(name)
		if alias == "" {
			return name, out
		}
		name = alias
	}
	return "", nil
}

// Leased tells the addresses of leases in force: by the name that they have, and by
// the MAC of their client.
type Leased struct {
	Named func(label string) []netip.Addr
	Held  func(MAC) []netip.Addr
}

// Published returns the addresses to which a forward may publish by its guest's name.
// That is a declared guest's: a record's, a port's, or a reservation's by MAC, client
// identifier or DUID. A name that guests chose themselves counts only if the forward
// allows it; if not, and a guest has the name, chosen is that name.
func (x *Names) Published(f *Forward, leased Leased) (out []netip.Addr, chosen string) {
	name, out := x.follow(f.Guest)
	if out != nil || name == "" {
		return out, ""
	}
	byName := false
	for _, r := range x.reserved[name] {
		switch {
		case r.ByName():
			byName = true
			continue
		case !r.MAC.IsZero():
			out = append(out, leased.Held(r.MAC)...)
		default:
			out = append(out, leased.Named(name)...)
		}
		out = append(out, r.Address)
	}
	switch {
	case out != nil:
		return out, ""
	case f.AllowDHCPName:
		return x.Addresses(name, leased.Named), ""
	case byName || len(leased.Named(name)) > 0:
		return nil, name
	}
	return nil, ""
}

// MAC returns the MAC of the reservation that gives a name an address; none if there
// is none.
func (x *Names) MAC(name string, a netip.Addr) (mac MAC) {
	name, _ = x.follow(name)
	for _, r := range x.reserved[name] {
		if r.Address == a {
			mac = r.MAC
		}
	}
	return mac
}

func (x *Names) fromRecords(name string) (out []netip.Addr, alias string) {
	for _, r := range x.records[name] {
		if r.Type == "CNAME" {
			return nil, r.Value
		}
		if a, err := netip.ParseAddr(r.Value); err == nil {
			out = append(out, a)
		}
	}
	return out, ""
}
