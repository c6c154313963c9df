package firewall

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// Pressure restricts packets while one of the kernel's tables is nearly full. The zero value
// restricts none, and has no hook.
type Pressure struct {
	// Strict: guests begin connections from addresses of their network only, so that
	// each entry can be attributed to the network that caused it.
	Strict bool
	// Closed are networks to and from which no connections are begun; the host may.
	Closed []string
	// Neighbours are networks in which packets from and to unknown addresses are limited.
	Neighbours []NeighbourLimit
}

// NeighbourLimit limits the neighbour entries that packets make on the bridge of a network.
type NeighbourLimit struct {
	Bridge string
	Ports  []string     // of its guests
	Known  []netip.Addr // of its guests; packets from and to these are not limited
}

// Equal reports whether both restrict the same.
func (p Pressure) Equal(o Pressure) bool {
	return p.Strict == o.Strict && slices.Equal(p.Closed, o.Closed) &&
		slices.EqualFunc(p.Neighbours, o.Neighbours, func(a, b NeighbourLimit) bool {
			return a.Bridge == b.Bridge && slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Known, b.Known)
		})
}

// Tracked reports whether connections of a network's guests are attributed to it:
// networks in modes open, bridge and direct have no rules of ours.
func Tracked(n *netdrv.Network) bool {
	return n.Mode == netdrv.NAT || n.Mode == netdrv.Route || n.Mode == netdrv.Isolated
}

// UnderPressure returns r, which Compile made of the same networks, with chains that drop
// packets before the kernel keeps an entry of them. Diff adds and deletes them by an edit.
func (r Ruleset) UnderPressure(networks []netdrv.Network, p Pressure) Ruleset {
	if p.Strict || len(p.Closed) > 0 {
		r = r.limitConnections(networks, p)
	}
	if len(p.Neighbours) > 0 {
		r = r.limitNeighbours(p.Neighbours)
	}
	return r
}

// limitConnections adds a chain that drops new connections. Packets of established ones
// pass it.
func (r Ruleset) limitConnections(networks []netdrv.Network, p Pressure) Ruleset {
	if !slices.ContainsFunc(r.Tables, func(t Table) bool { return t.Family == INet }) {
		return r
	}
	ns := classify(networks)
	closed := Set{Name: "conntrack_closed", Key: []Type{IfName}, Counter: true}
	strict := Set{Name: "conntrack_strict", Key: []Type{IfName}}
	var tracked []*netdrv.Network
	for _, n := range ns.guarded {
		b := Element{Key: key(name(n.Bridge.Name)), Comment: n.Name}
		if slices.Contains(p.Closed, n.Name) {
			closed.Elements = append(closed.Elements, b)
		}
		if p.Strict && Tracked(n) {
			strict.Elements = append(strict.Elements, b)
			tracked = append(tracked, n)
		}
	}
	from := func(f Field, set string) Rule {
		return rule("conntrack: not from an address of its network", New, in("conntrack_strict", IIFName),
			notIn(set, f, IIFName), Counter, drop)
	}
	return r.extended(INet, []Set{
		closed, strict, prefixSet("conntrack4", IPv4Addr, tracked), prefixSet("conntrack6", IPv6Addr, tracked),
	}, Chain{Name: "conntrack", Base: PreroutingFilter, Rules: []Rule{
		rule("conntrack: network over its limit", New, in("conntrack_closed", IIFName), Counter, drop),
		from(IPSAddr, "conntrack4"), from(IP6SAddr, "conntrack6"),
	}}, Chain{Name: "conntrack_forward", Base: ForwardFilter, Rules: []Rule{
		rule("conntrack: network over its limit", New, in("conntrack_closed", OIFName), Counter, drop),
	}})
}

// NeighbourChain is the name of the chain, in each table, that limits neighbour entries.
const NeighbourChain = "neighbours"

// What bounds the neighbour entries of unknown addresses of networks under pressure.
const (
	newSources        = 10 // a second, of a port
	newSourcesBurst   = 20
	sourceTime        = 10 * time.Second // for which a new source passes
	maxSources        = 1 << 16
	newReceivers      = 200 // connections a second, from one link to one network
	newReceiversBurst = 100
)

// limitNeighbours adds a chain to table bridge, which the frames pass that the bridge
// delivers to the host, and one to table inet, which forwarded packets pass. An ARP request
// makes an entry of its sender, a reply of the host one of the source that it is for, and a
// forwarded packet one of its destination. Each port is limited by itself, in the number of
// its new sources and not of its packets, so that a guest with an unknown address is served
// at full rate while another floods. A port is a key and not its bridge, because kernels
// may lack the module of "meta ibrname".
func (r Ruleset) limitNeighbours(limits []NeighbourLimit) Ruleset {
	bridges, ports := Set{Name: "neighbour_bridges", Key: []Type{IfName}}, Set{Name: "neighbour_ports", Key: []Type{IfName}}
	known4, known6 := Set{Name: "neighbour_known4", Key: []Type{IPv4Addr}}, Set{Name: "neighbour_known6", Key: []Type{IPv6Addr}}
	for _, l := range limits {
		bridges.add(name(l.Bridge))
		for _, p := range l.Ports {
			ports.add(name(p))
		}
		for _, a := range l.Known {
			if a.Is4() {
				known4.add(address(a))
			} else {
				known6.add(address(a))
			}
		}
	}
	from4, from6 := known4, known6
	from4.Elements, from6.Elements = slices.Clip(from4.Elements), slices.Clip(from6.Elements)
	from4.add(prefix(unspecified4)) // DHCP, and ARP probes: they make no entries
	from6.add(prefix(unspecified6))
	input := Chain{Name: NeighbourChain, Base: BridgeInput, Rules: []Rule{
		rule("", notIn(ports.Name, IIFName), accept),
	}}
	for _, f := range []struct {
		carries     Expr
		source      Field
		known, seen string
	}{
		{EtherIPv4, IPSAddr, known4.Name, "neighbour_sources4"},
		{EtherARP, ARPSPA, known4.Name, "neighbour_sources4"},
		{EtherIPv6, IP6SAddr, known6.Name, "neighbour_sources6"},
	} {
		source := []Field{IIFName, f.source}
		input.Rules = append(input.Rules,
			rule("", in(f.known, f.source), accept),
			rule("", in(f.seen, source...), accept),
			rule("neighbours: too many new addresses", f.carries,
				AddTo{Set: "neighbour_new", Fields: []Field{IIFName}, Over: Rate{newSources, newSourcesBurst}}, Counter, drop),
			rule("", AddTo{Set: f.seen, Fields: source}, accept))
	}
	forward := Chain{Name: NeighbourChain, Base: ForwardFilter, Rules: []Rule{
		rule("", notIn(bridges.Name, OIFName), accept),
		rule("", in(known4.Name, IPDAddr), accept),
		rule("", in(known6.Name, IP6DAddr), accept),
		rule("neighbours: too many new addresses", New,
			AddTo{Set: "neighbour_to", Fields: []Field{IIFName, OIFName}, Over: Rate{newReceivers, newReceiversBurst}}, Counter, drop),
	}}
	return r.extended(INet, []Set{
		bridges, known4, known6,
		{Name: "neighbour_to", Key: []Type{IfName, IfName}, Dynamic: Dynamic{maxPorts, portTimeout}},
	}, forward).extended(Bridge, []Set{
		ports, from4, from6,
		{Name: "neighbour_sources4", Key: []Type{IfName, IPv4Addr}, Dynamic: Dynamic{maxSources, sourceTime}},
		{Name: "neighbour_sources6", Key: []Type{IfName, IPv6Addr}, Dynamic: Dynamic{maxSources, sourceTime}},
		{Name: "neighbour_new", Key: []Type{IfName}, Dynamic: Dynamic{maxPorts, portTimeout}},
	}, input)
}

// extended returns r with more sets and chains in our table of a family.
func (r Ruleset) extended(f Family, sets []Set, chains ...Chain) Ruleset {
	r.Tables = slices.Clone(r.Tables)
	i := slices.IndexFunc(r.Tables, func(t Table) bool { return t.Family == f })
	if i < 0 {
		i = len(r.Tables)
		r.Tables = append(r.Tables, Table{Family: f, Name: TableName})
	}
	t := &r.Tables[i]
	t.Sets, t.Chains = slices.Clip(t.Sets), append(slices.Clip(t.Chains), chains...)
	for _, s := range sets {
		t.Sets = append(t.Sets, s.sorted())
	}
	return r
}
