package wire

import (
	"encoding/hex"
	"net/netip"
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
		Name:      n.Name,
		Mode:      vnetv1.Mode(vnetv1.Mode_value["MODE_"+strings.ToUpper(n.Mode.String())]),
		Autostart: &n.Autostart,
		Transient: n.Transient,
		Bridge:    toBridge(n.Bridge),
		Direct: some(&vnetv1.Direct{
			Uplinks:    n.Direct.Uplinks,
			Mode:       vnetv1.DirectMode(vnetv1.DirectMode_value["DIRECT_MODE_"+strings.ToUpper(n.Direct.Mode.String())]),
			HostAccess: n.Direct.HostAccess,
		}),
		Dns:          toDNS(n.DNS),
		Ra:           toRA(n.RA),
		Nat:          toNAT(n.NAT),
		Uplinks:      n.Uplinks,
		HostServices: toHostServices(n),
		Filter:       toFilter(n.Filter),
		Access: some(&vnetv1.Access{
			Users: n.Access.Users, Groups: n.Access.Groups, MacPrefix: n.Access.MACPrefix, MaxPorts: uint32(n.Access.MaxPorts),
		}),
		Bandwidth: some(&vnetv1.NetworkBandwidth{
			In: toRate(n.Bandwidth.In), Out: toRate(n.Bandwidth.Out), PerPort: ToBandwidth(n.Bandwidth.PerPort),
		}),
		Forwards: all(n.Forwards, ToForward),
	}
	p.Subnets = all(n.Subnets, toSubnet)
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

func toDNS(d netdrv.DNS) *vnetv1.DNS {
	p := &vnetv1.DNS{
		Domain: d.Domain, Enabled: optional(d.Enabled), LocalOnly: optional(d.LocalOnly), Peers: d.Peers,
		RebindProtection: d.RebindProtection, Forwarders: all(d.Forwarders, toForwarder), Records: all(d.Records, ToRecord),
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
	p := &vnetv1.RA{Enabled: optional(a.Enabled), Interval: toDuration(a.Interval), Lifetime: toDuration(a.Lifetime), Routes: all(a.Routes, netip.Prefix.String)}
	if a.Preference != netdrv.Medium {
		p.Preference = a.Preference.String()
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
	p := &vnetv1.NAT{Ipv6: o.IPv6, Addresses: all(o.Addresses, toRange)}
	if !o.Ports.IsZero() {
		p.Ports = &vnetv1.PortRange{Start: uint32(o.Ports.Start), End: uint32(o.Ports.End)}
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
