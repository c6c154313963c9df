package wire

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

// ToNetwork writes a definition. FromNetwork reads it back the same.
func ToNetwork(n *netdrv.Network) *vnetv1.Network {
	p := &vnetv1.Network{
		Name:         n.Name,
		Mode:         vnetv1.Mode(vnetv1.Mode_value["MODE_"+strings.ToUpper(n.Mode.String())]),
		Autostart:    &n.Autostart,
		Transient:    n.Transient,
		Bridge:       toBridge(n.Bridge),
		Direct:       toDirect(n.Direct),
		Dns:          toDNS(n.DNS),
		Ra:           toRA(n.RA),
		Nat:          toNAT(n.NAT),
		Uplinks:      n.Uplinks,
		HostServices: toHostServices(n),
	}
	for _, s := range n.Subnets {
		p.Subnets = append(p.Subnets, toSubnet(s))
	}
	for _, r := range n.Routes {
		p.Routes = append(p.Routes, &vnetv1.Route{
			Destination: r.Destination.String(), Via: r.Via.String(), Metric: uint32(r.Metric),
		})
	}
	return p
}

// some returns m, and nil if it says nothing: a file holds no empty sections.
func some[M proto.Message](m M) M {
	if proto.Size(m) == 0 {
		var none M
		return none
	}
	return m
}

func toBridge(b netdrv.Bridge) *vnetv1.Bridge {
	p := &vnetv1.Bridge{Name: b.Name, Uplinks: b.Uplinks}
	if !b.MAC.IsZero() {
		p.Mac = b.MAC.String()
	}
	switch b.MTU {
	case 0:
	case netdrv.AutoMTU:
		p.Mtu = "auto"
	default:
		p.Mtu = strconv.Itoa(b.MTU)
	}
	return some(p)
}

func toDirect(d netdrv.Direct) *vnetv1.Direct {
	return some(&vnetv1.Direct{
		Uplinks:    d.Uplinks,
		Mode:       vnetv1.DirectMode(vnetv1.DirectMode_value["DIRECT_MODE_"+strings.ToUpper(d.Mode.String())]),
		HostAccess: d.HostAccess,
	})
}

func toDNS(d netdrv.DNS) *vnetv1.DNS {
	p := &vnetv1.DNS{Domain: d.Domain, Enabled: optional(d.Enabled), LocalOnly: optional(d.LocalOnly)}
	for _, f := range d.Forwarders {
		p.Forwarders = append(p.Forwarders, toForwarder(f))
	}
	return some(p)
}

func optional(c netdrv.Choice) *bool {
	if c == netdrv.Default {
		return nil
	}
	return proto.Bool(c == netdrv.Yes)
}

func toForwarder(f netdrv.Forwarder) *vnetv1.Forwarder {
	address := f.Address.String()
	if f.Address.Port() == 53 {
		address = f.Address.Addr().String()
	}
	return &vnetv1.Forwarder{Domain: f.Domain, Address: address}
}

func toRA(a netdrv.RA) *vnetv1.RA {
	p := &vnetv1.RA{Enabled: optional(a.Enabled), Interval: toDuration(a.Interval), Lifetime: toDuration(a.Lifetime)}
	if a.Preference != netdrv.Medium {
		p.Preference = a.Preference.String()
	}
	for _, r := range a.Routes {
		p.Routes = append(p.Routes, r.String())
	}
	return some(p)
}

func toDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func toNAT(o netdrv.NATOptions) *vnetv1.NAT {
	p := &vnetv1.NAT{Ipv6: o.IPv6}
	if !o.Ports.IsZero() {
		p.Ports = &vnetv1.PortRange{Start: uint32(o.Ports.Start), End: uint32(o.Ports.End)}
	}
	for _, r := range o.Addresses {
		p.Addresses = append(p.Addresses, toRange(r))
	}
	return some(p)
}

func toRange(r netdrv.Range) *vnetv1.AddressRange {
	return &vnetv1.AddressRange{Start: r.Start.String(), End: r.End.String()}
}

// toHostServices leaves out what the mode says by itself.
func toHostServices(n *netdrv.Network) []string {
	h := n.HostAccess
	switch {
	case !h.Limited && n.Mode == netdrv.Isolated:
		return []string{"all"}
	case h.Limited && len(h.Services) == 0 && n.Mode != netdrv.Isolated:
		return []string{"none"}
	}
	var out []string
	for _, s := range h.Services {
		out = append(out, s.String())
	}
	return out
}

func toSubnet(s netdrv.Subnet) *vnetv1.Subnet {
	p := &vnetv1.Subnet{Address: s.Address.String(), Slaac: optional(s.SLAAC)}
	if s.DHCP == nil {
		return p
	}
	p.Dhcp = &vnetv1.DHCP{
		LeaseTime: toDuration(s.DHCP.LeaseTime), Stateless: s.DHCP.Stateless,
		RenewTime: toDuration(s.DHCP.RenewTime), RebindTime: toDuration(s.DHCP.RebindTime), Options: toOptions(s.DHCP.Options),
	}
	for _, r := range s.DHCP.Ranges {
		p.Dhcp.Ranges = append(p.Dhcp.Ranges, toRange(r))
	}
	for _, r := range s.DHCP.Reservations {
		p.Dhcp.Reservations = append(p.Dhcp.Reservations, toReservation(r))
	}
	for _, t := range s.DHCP.Tags {
		p.Dhcp.Tags = append(p.Dhcp.Tags, toTag(t))
	}
	return p
}

func toReservation(r netdrv.Reservation) *vnetv1.Reservation {
	p := &vnetv1.Reservation{
		Address: r.Address.String(), Hostname: r.Hostname, Duid: hex.EncodeToString([]byte(r.DUID)),
		Options: toOptions(r.Options), Tags: r.Tags,
	}
	if !r.MAC.IsZero() {
		p.Mac = r.MAC.String()
	}
	return p
}
