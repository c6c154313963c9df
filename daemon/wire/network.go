// Package wire translates between the contract (api/vnet/v1) and the
// vocabulary (netdrv), both ways. It is one assignment after the other; what
// cannot be read, an address say, becomes a finding with the field's path.
package wire

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

// FromNetwork reads a definition. The findings are about what cannot be read;
// whether the rest makes sense is netdrv.Validate's to say (see Validate).
func FromNetwork(p *vnetv1.Network) (netdrv.Network, netdrv.Findings) {
	var r reader
	n := netdrv.Network{
		Name:      p.GetName(),
		Mode:      r.mode("mode", p.GetMode()),
		Autostart: p.GetAutostart(),
		Transient: p.GetTransient(),
		Bridge: netdrv.Bridge{
			Name: p.GetBridge().GetName(),
			MAC:  r.optionalMAC("bridge.mac", p.GetBridge().GetMac()),
			MTU:  int(p.GetBridge().GetMtu()),
		},
		DNS: netdrv.DNS{Domain: strings.TrimSuffix(p.GetDns().GetDomain(), ".")},
		NAT: netdrv.NATOptions{Ports: r.ports("nat.ports", p.GetNat().GetPorts())},
	}
	for i, s := range p.GetSubnets() {
		n.Subnets = append(n.Subnets, r.subnet(fmt.Sprintf("subnets[%d]", i), s))
	}
	for i, f := range p.GetDns().GetForwarders() {
		n.DNS.Forwarders = append(n.DNS.Forwarders, r.forwarder(fmt.Sprintf("dns.forwarders[%d]", i), f))
	}
	return n, r.findings
}

// Validate joins what could not be read with what netdrv.Validate finds wrong
// with the rest; a field is complained about once.
func Validate(n *netdrv.Network, unread netdrv.Findings) netdrv.Findings {
	said := map[string]bool{}
	for _, f := range unread {
		said[f.Path] = true
	}
	out := unread
	for _, f := range netdrv.Validate(n) {
		if !said[f.Path] {
			out = append(out, f)
		}
	}
	return out
}

// reader collects what cannot be read.
type reader struct{ findings netdrv.Findings }

func (r *reader) mode(path string, m vnetv1.Mode) netdrv.Mode {
	word := strings.ToLower(strings.TrimPrefix(m.String(), "MODE_"))
	mode, ok := netdrv.ParseMode(word)
	if !ok && m != vnetv1.Mode_MODE_UNSPECIFIED {
		r.findings.Add(path, "%s is not known to this version", word)
	}
	return mode
}

func (r *reader) optionalMAC(path, s string) netdrv.MAC {
	if s == "" {
		return netdrv.MAC{}
	}
	m, err := netdrv.ParseMAC(s)
	if err != nil {
		r.findings.Add(path, "%v", err)
	}
	return m
}

func (r *reader) addr(path, s string) netip.Addr {
	if s == "" {
		r.findings.Add(path, "is missing")
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		r.findings.Add(path, "%q is not an IP address", s)
		return netip.Addr{}
	}
	return a.Unmap()
}

func (r *reader) subnet(path string, p *vnetv1.Subnet) netdrv.Subnet {
	s := netdrv.Subnet{Address: r.gateway(path+".address", p.GetAddress())}
	d := p.GetDhcp()
	if d == nil {
		return s
	}
	s.DHCP = &netdrv.DHCP{}
	if t := d.GetLeaseTime(); t != nil {
		s.DHCP.LeaseTime = t.AsDuration()
		if !t.IsValid() || s.DHCP.LeaseTime <= 0 {
			r.findings.Add(path+".dhcp.leaseTime", "%s is not a lease time", s.DHCP.LeaseTime)
		}
	}
	for i, a := range d.GetRanges() {
		at := fmt.Sprintf("%s.dhcp.ranges[%d]", path, i)
		s.DHCP.Ranges = append(s.DHCP.Ranges, netdrv.Range{
			Start: r.addr(at+".start", a.GetStart()),
			End:   r.addr(at+".end", a.GetEnd()),
		})
	}
	for i, v := range d.GetReservations() {
		at := fmt.Sprintf("%s.dhcp.reservations[%d]", path, i)
		s.DHCP.Reservations = append(s.DHCP.Reservations, netdrv.Reservation{
			MAC:      r.optionalMAC(at+".mac", v.GetMac()),
			Address:  r.addr(at+".address", v.GetAddress()),
			Hostname: v.GetHostname(),
		})
	}
	return s
}

func (r *reader) gateway(path, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	switch {
	case err == nil:
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits())
	case s == "":
		r.findings.Add(path, "is missing: give the gateway with its prefix length, such as 192.168.100.1/24")
	case !strings.Contains(s, "/"):
		r.findings.Add(path, "%q has no prefix length: write it as in %s/24", s, s)
	default:
		r.findings.Add(path, "%q is not an address with a prefix length, such as 192.168.100.1/24", s)
	}
	return netip.Prefix{}
}

func (r *reader) forwarder(path string, p *vnetv1.Forwarder) netdrv.Forwarder {
	f := netdrv.Forwarder{Domain: strings.TrimSuffix(p.GetDomain(), ".")}
	if ap, err := netip.ParseAddrPort(p.GetAddress()); err == nil {
		f.Address = ap
		return f
	}
	if a, err := netip.ParseAddr(p.GetAddress()); err == nil {
		f.Address = netip.AddrPortFrom(a.Unmap(), 53)
		return f
	}
	r.findings.Add(path+".address", "%q is not ADDRESS or ADDRESS:PORT", p.GetAddress())
	return f
}

func (r *reader) ports(path string, p *vnetv1.PortRange) netdrv.PortRange {
	if p == nil {
		return netdrv.PortRange{}
	}
	if p.GetStart() > 65535 || p.GetEnd() > 65535 || p.GetStart() == 0 || p.GetEnd() < p.GetStart() {
		r.findings.Add(path, "%d to %d is not a range of ports", p.GetStart(), p.GetEnd())
		return netdrv.PortRange{}
	}
	return netdrv.PortRange{Start: uint16(p.GetStart()), End: uint16(p.GetEnd())}
}

// ToNetwork writes a definition. FromNetwork reads it back the same.
func ToNetwork(n *netdrv.Network) *vnetv1.Network {
	p := &vnetv1.Network{
		Name:      n.Name,
		Mode:      vnetv1.Mode(vnetv1.Mode_value["MODE_"+strings.ToUpper(n.Mode.String())]),
		Autostart: &n.Autostart,
		Transient: n.Transient,
		Bridge:    &vnetv1.Bridge{Name: n.Bridge.Name, Mac: n.Bridge.MAC.String(), Mtu: uint32(n.Bridge.MTU)},
	}
	for _, s := range n.Subnets {
		p.Subnets = append(p.Subnets, toSubnet(s))
	}
	if n.DNS.Domain != "" || len(n.DNS.Forwarders) > 0 {
		p.Dns = &vnetv1.DNS{Domain: n.DNS.Domain}
	}
	for _, f := range n.DNS.Forwarders {
		p.Dns.Forwarders = append(p.Dns.Forwarders, toForwarder(f))
	}
	if r := n.NAT.Ports; !r.IsZero() {
		p.Nat = &vnetv1.NAT{Ports: &vnetv1.PortRange{Start: uint32(r.Start), End: uint32(r.End)}}
	}
	return p
}

func toForwarder(f netdrv.Forwarder) *vnetv1.Forwarder {
	address := f.Address.String()
	if f.Address.Port() == 53 {
		address = f.Address.Addr().String()
	}
	return &vnetv1.Forwarder{Domain: f.Domain, Address: address}
}

func toSubnet(s netdrv.Subnet) *vnetv1.Subnet {
	p := &vnetv1.Subnet{Address: s.Address.String()}
	if s.DHCP == nil {
		return p
	}
	p.Dhcp = &vnetv1.DHCP{}
	if s.DHCP.LeaseTime != 0 {
		p.Dhcp.LeaseTime = durationpb.New(s.DHCP.LeaseTime)
	}
	for _, r := range s.DHCP.Ranges {
		p.Dhcp.Ranges = append(p.Dhcp.Ranges, &vnetv1.AddressRange{Start: r.Start.String(), End: r.End.String()})
	}
	for _, r := range s.DHCP.Reservations {
		p.Dhcp.Reservations = append(p.Dhcp.Reservations,
			&vnetv1.Reservation{Mac: r.MAC.String(), Address: r.Address.String(), Hostname: r.Hostname})
	}
	return p
}
