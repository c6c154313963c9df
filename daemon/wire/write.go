package wire

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vnetd/vnetd/api/definition"
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
		Filter:       toFilter(n.Filter),
		Access:       toAccess(n.Access),
	}
	for _, s := range n.Subnets {
		p.Subnets = append(p.Subnets, toSubnet(s))
	}
	for _, r := range n.Routes {
		p.Routes = append(p.Routes, &vnetv1.Route{
			Destination: r.Destination.String(), Via: r.Via.String(), Metric: uint32(r.Metric),
		})
	}
	for _, f := range n.Forwards {
		p.Forwards = append(p.Forwards, ToForward(f))
	}
	p.Bandwidth = toNetworkBandwidth(n.Bandwidth)
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
	p := &vnetv1.Bridge{Name: b.Name, Uplinks: b.Uplinks, FdbMaxLearned: uint32(b.FDBMaxLearned)}
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
	p := &vnetv1.DNS{
		Domain: d.Domain, Enabled: optional(d.Enabled), LocalOnly: optional(d.LocalOnly), Peers: d.Peers,
		RebindProtection: d.RebindProtection,
	}
	for _, f := range d.Forwarders {
		p.Forwarders = append(p.Forwarders, toForwarder(f))
	}
	for _, r := range d.Records {
		p.Records = append(p.Records, ToRecord(r))
	}
	return some(p)
}

// ToRecord writes a record of a definition.
func ToRecord(r netdrv.Record) *vnetv1.Record {
	return &vnetv1.Record{Name: r.Name, Type: r.Type, Value: r.Value, Ttl: toDuration(r.TTL)}
}

func optional(c netdrv.Choice) *bool {
	if c == netdrv.Default {
		return nil
	}
	return proto.Bool(c == netdrv.Yes)
}

func toForwarder(f netdrv.Forwarder) *vnetv1.Forwarder {
	address := f.Address.String()
	if f.Address.Port() == f.DefaultPort() {
		address = f.Address.Addr().String()
	}
	p := &vnetv1.Forwarder{Domain: f.Domain, Address: address}
	if f.TLS != "" {
		p.Tls = &vnetv1.ForwarderTLS{Name: f.TLS}
	}
	return p
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
	switch d {
	case 0:
		return nil
	case netdrv.Infinite:
		return &durationpb.Duration{Seconds: definition.InfiniteSeconds}
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
	d := s.DHCP
	p.Dhcp = &vnetv1.DHCP{
		LeaseTime: toDuration(d.LeaseTime), Stateless: d.Stateless, Boot: toBoot(d.Boot),
		RenewTime: toDuration(d.RenewTime), RebindTime: toDuration(d.RebindTime), Options: toOptions(d.Options),
		Ranges: all(d.Ranges, toRange), Exclude: all(d.Exclude, toRange), Tags: all(d.Tags, toTag),
		Reservations: all(d.Reservations, toReservation), Relayed: all(d.Relayed, toRelayed),
	}
	return p
}

// all writes the elements of a list.
func all[T, P any](list []T, write func(T) P) []P {
	if len(list) == 0 {
		return nil
	}
	out := make([]P, 0, len(list))
	for _, x := range list {
		out = append(out, write(x))
	}
	return out
}

func toRelayed(r netdrv.RelayedSubnet) *vnetv1.RelayedSubnet {
	p := &vnetv1.RelayedSubnet{
		Subnet: r.Subnet.String(), LeaseTime: toDuration(r.LeaseTime),
		Ranges: all(r.Ranges, toRange), Exclude: all(r.Exclude, toRange),
		Reservations: all(r.Reservations, toReservation),
	}
	if r.Router.IsValid() {
		p.Router = r.Router.String()
	}
	return p
}

func toReservation(r netdrv.Reservation) *vnetv1.Reservation {
	p := &vnetv1.Reservation{
		Address: r.Address.String(), Hostname: r.Hostname,
		Duid: hex.EncodeToString([]byte(r.DUID)), ClientId: writeClientID(r.ClientID),
		Options: toOptions(r.Options), Tags: r.Tags, Boot: some(&vnetv1.GuestBoot{File: r.BootFile}),
	}
	if !r.MAC.IsZero() {
		p.Mac = r.MAC.String()
	}
	return p
}
