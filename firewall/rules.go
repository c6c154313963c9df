package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// What bounds the memory for tracked connections of guests. A guest begins at most newFlows
// connections a second, after a first burst, so that it does not use up the sets for the
// others of its network.
const (
	maxFlows      = 1 << 18
	newFlows      = 100
	newFlowsBurst = 1000
	maxPorts      = 1 << 16
	flowTimeout   = time.Minute
	tcpTimeout    = 10 * time.Minute
	portTimeout   = time.Minute
)

// The rate of log entries of each rule.
const (
	logRate  = 5
	logBurst = 10
)

// refusedMark is set on packets that the host is to reject: a bridge cannot.
const refusedMark = 0x766e

// direction is one of two, from the guest's point of view, with the fields that frames of
// it have. Arrays have IPv4 first.
type direction struct {
	name                  string
	port                  Field
	remote                [2]Field
	guestPort, remotePort Field
	reverse               *direction
}

var (
	outward = &direction{name: "out", port: IIFName, remote: [2]Field{IPDAddr, IP6DAddr}, guestPort: SPort, remotePort: DPort}
	inward  = &direction{name: "in", port: OIFName, remote: [2]Field{IPSAddr, IP6SAddr}, guestPort: DPort, remotePort: SPort}
)

func init() { outward.reverse, inward.reverse = inward, outward }

// flow is how connections of one kind and family are tracked: the key in a dynamic set, what
// matches frames that begin one, and what matches replies.
type flow struct {
	kind         string
	key          []Field
	begin, reply []Expr
	family       string
}

// set names the set of connections that began in direction d.
func (f flow) set(d *direction) string { return f.kind + "_" + d.name + f.family }

// of returns the key for a protocol with ports.
func (f flow) of(p netdrv.Protocol) []Field {
	out := slices.Clone(f.key)
	for i, field := range out {
		if named, ok := portFields[p][field]; ok {
			out[i] = named
		}
	}
	return out
}

var (
	withPorts    = in("with_ports", L4Protocol)
	withoutPorts = notIn("with_ports", L4Protocol)
)

// flows are the kinds of connections, as frames of direction d have their keys: with ports,
// pings, and others. Pings do without the identifier of an echo: nft lists sets with one in
// their key in a way that it does not read again.
func (d *direction) flows() (ports, pings, others [2]flow) {
	for i, family := range []string{"4", "6"} {
		request := []Expr{[2]Expr{Is{Field: ICMPKind, Number: echoRequest}, Is{Field: ICMPv6Kind, Number: echoRequest6}}[i]}
		reply := []Expr{[2]Expr{Is{Field: ICMPKind, Number: echoReply}, Is{Field: ICMPv6Kind, Number: echoReply6}}[i]}
		other, key := []Expr{withoutPorts}, []Field{d.port, L4Protocol, d.remote[i], d.guestPort, d.remotePort}
		ports[i] = flow{kind: "flows", key: key, begin: []Expr{withPorts}, family: family}
		pings[i] = flow{kind: "pings", key: []Field{d.port, d.remote[i]}, begin: request, reply: reply, family: family}
		others[i] = flow{kind: "others", key: key[:3:3], begin: other, reply: other, family: family}
	}
	return ports, pings, others
}

// rulebooks is the part of the bridge table that is about rulebooks.
type rulebooks struct {
	sets   []Set
	chains []Chain
	named  map[string]bool // sets that are named by their contents
}

// compileRulebooks compiles the rulebooks of ports: a map for each direction from a port to
// its chain.
func compileRulebooks(ports []Port, networks map[string]*netdrv.Network) rulebooks {
	r := rulebooks{named: map[string]bool{}}
	link := []Type{IfName}
	out := Set{Name: "rules_out", Key: link, Verdicts: true, Counter: true}
	in := Set{Name: "rules_in", Key: link, Verdicts: true, Counter: true}
	byBook, made := map[*Rulebook]chains{}, map[chains]bool{}
	for i := range ports {
		b := ports[i].Rules
		if b == nil {
			continue
		}
		names, known := byBook[b]
		if !known {
			names = b.chains()
			byBook[b] = names
		}
		if !made[names] {
			made[names] = true
			r.add(b, names)
		}
		out.addVerdict(goTo(names.out), b.Network, name(ports[i].Link))
		in.addVerdict(goTo(names.in), b.Network, name(ports[i].Link))
	}
	sets := []Set{out, in}
	for _, d := range []*direction{outward, inward} {
		ports, pings, others := d.flows()
		for i, addr := range []Type{IPv4Addr, IPv6Addr} {
			dynamic := Dynamic{maxFlows, flowTimeout}
			sets = append(sets,
				Set{Name: ports[i].set(d), Key: []Type{IfName, InetProto, addr, InetService, InetService}, Dynamic: dynamic},
				Set{Name: pings[i].set(d), Key: []Type{IfName, addr}, Dynamic: dynamic},
				Set{Name: others[i].set(d), Key: []Type{IfName, InetProto, addr}, Dynamic: dynamic})
		}
		sets = append(sets, Set{Name: "new_" + d.name, Key: link, Dynamic: Dynamic{maxPorts, portTimeout}})
	}
	// The addresses of the host that clients send renewals to.
	hosts4, hosts6 := Set{Name: "hosts4", Key: []Type{IPv4Addr}}, Set{Name: "hosts6", Key: []Type{IPv6Addr}}
	for _, n := range networks {
		for _, a := range n.OwnAddresses() {
			if a.Is4() {
				hosts4.add(address(a))
			} else {
				hosts6.add(address(a))
			}
		}
	}
	sets = append(sets, numberSet("with_ports", InetProto, 6, 17, 132), numberSet("errors4", ICMPType, 3, 11, 12), hosts4, hosts6,
		numberSet("always_out6", ICMPv6Type, 1, 2, 3, 4, 131, 132, 133, 135, 136, 143),
		numberSet("always_in6", ICMPv6Type, 1, 2, 3, 4, 130, 131, 132, 134, 135, 136, 137, 143))
	r.sets, r.chains = append(sets, r.sets...), append(ruleChains(), r.chains...)
	return r
}

// ruleChains are the chains that all rulebooks share.
func ruleChains() []Chain {
	// What a link needs: neighbours, ICMP errors, which are not matched with connections,
	// and multicast groups.
	always := func(name, types6 string, rules ...Rule) Chain {
		return chain(name, append([]Rule{
			rule("", TCP, back),
			rule("", EtherARP, accept),
			rule("", in(types6, ICMPv6Kind), accept),
			rule("", in("errors4", ICMPKind), accept),
			rule("", IGMP, accept),
		}, rules...)...)
	}
	port := func(f Field, port uint16, match ...Expr) Rule {
		return rule("", append(match, Is{Field: f, Number: port}, accept)...)
	}
	// The bridge's MAC is the host's, and clean neighbours have no other than their own.
	host := in("bridges", EtherSAddr)
	return []Chain{
		{Name: "out", Base: BridgeRules, Rules: []Rule{rule("", lookup("rules_out", IIFName))}},
		{Name: "in", Base: BridgePostrouting, Rules: []Rule{rule("", lookup("rules_in", OIFName))}},
		always("always_out", "always_out6",
			port(UDPDPort, dhcpPort, InPrefix{Field: IPDAddr, Prefix: broadcast}),
			port(UDPDPort, dhcpv6Port, InPrefix{Field: IP6DAddr, Prefix: allDHCPServers}),
			port(UDPDPort, dhcpPort, in("hosts4", IPDAddr)),
			port(UDPDPort, dhcpv6Port, in("hosts6", IP6DAddr))),
		always("always_in", "always_in6", port(UDPSPort, dhcpPort, host), port(UDPSPort, dhcpv6Port, host)),
		// The DHCP servers of a foreign bridge are not known.
		always("always_out_foreign", "always_out6", port(UDPDPort, dhcpPort), port(UDPDPort, dhcpv6Port)),
		always("always_in_foreign", "always_in6", port(UDPSPort, dhcpPort), port(UDPSPort, dhcpv6Port)),
		track(outward), track(inward),
		// The host rejects what it would have to route, or receive.
		chain("refuse_out",
			rule("rules: rejected by the host", in("bridges", EtherDAddr), Counter, SetMark(refusedMark), accept),
			rule("rules: dropped", Counter, drop)),
	}
}

// track returns the chain that lets a connection pass and adds it to the sets. One more
// than they hold does not pass. Fragments have no ports, so of UDP the remote is added, too.
func track(d *direction) Chain {
	ports, pings, others := d.flows()
	var known, added []Rule
	keep := func(key []Field, f flow, timeout time.Duration, match ...Expr) {
		known = append(known, rule("", append(match, in(f.set(d), key...), AddTo{Set: f.set(d), Fields: key, Timeout: timeout}, accept)...))
	}
	for _, f := range ports {
		keep(f.of(netdrv.TCP), f, tcpTimeout)
	}
	for _, f := range others {
		added = append(added, rule("", UDP, AddTo{Set: f.set(d), Fields: f.key}))
	}
	for _, f := range slices.Concat(ports[:], pings[:], others[:]) {
		if f.set(d) == others[0].set(d) { // what follows is for protocols without ports
			added = append(added, rule("", L4Proto(netdrv.ICMP), accept), rule("", L4Proto(netdrv.ICMPv6), accept))
		}
		keep(f.key, f, 0, f.begin...)
		added = append(added, rule("", append(f.begin, AddTo{Set: f.set(d), Fields: f.key}, accept)...))
	}
	fresh := AddTo{Set: "new_" + d.name, Fields: []Field{d.port}, Over: Rate{newFlows, newFlowsBurst}}
	return chain("track_"+d.name, slices.Concat(known, []Rule{rule("rules: too many new connections", fresh, Counter, drop)}, added, []Rule{
		rule("rules: too many connections", EtherIPv4, Counter, drop),
		rule("rules: too many connections", EtherIPv6, Counter, drop),
		rule("", accept),
	})...)
}

// fragments accept those, except the first, of a connection that began in direction began.
func (d *direction) fragments(began *direction) []Rule {
	_, _, others := d.flows()
	return []Rule{
		rule("", Fragment4, in(others[0].set(began), others[0].key...), accept),
		rule("", Fragment6, in(others[1].set(began), others[1].key...), accept),
	}
}

// refusedSet has the mark that bridges set on what the host is to reject, if one does.
func refusedSet(ports []Port) Set {
	refused := Set{Name: "refused", Key: []Type{MarkValue}}
	rejects := func(c *Clause) bool { return c.Action == netdrv.Reject }
	if slices.ContainsFunc(ports, func(p Port) bool {
		return p.Rules != nil && (p.Rules.Out.Else == netdrv.Reject || p.Rules.Out.has(rejects))
	}) {
		refused.add(number(refusedMark))
	}
	return refused
}

func refusedChains() []Chain {
	refused := []Rule{rule("", in("refused", Mark), goTo("refuse"))}
	return []Chain{
		{Name: "refused_forward", Base: ForwardFilter, Rules: refused}, {Name: "refused_input", Base: InputFilter, Rules: refused},
	}
}

// add makes the chains of a rulebook. Frames that begin a connection are matched with the
// rules of their own direction. Replies to a tracked connection are matched with the rules of
// the other direction, reversed: a change of a rule applies to the connections that it has
// accepted, too.
func (r *rulebooks) add(b *Rulebook, names chains) {
	foreign := ""
	if b.Foreign {
		foreign = "_foreign"
	}
	trackOut := b.In.denies() || b.Out.logs() || b.Out.losesFragments()
	trackIn := b.Out.denies() || b.In.logs() || b.In.losesFragments()
	out := append([]Rule{rule("", jump("always_out"+foreign))}, replies(outward, trackIn, names.inReplies)...)
	in := append([]Rule{rule("", jump("always_in"+foreign))}, replies(inward, trackOut, names.outReplies)...)
	r.chains = append(r.chains,
		chain(names.out, append(out, r.side(b, &b.Out, outward, trackOut)...)...),
		chain(names.in, append(in, r.side(b, &b.In, inward, trackIn)...)...))
	if trackOut {
		r.chains = append(r.chains, chain(names.outReplies, r.reversed(&b.Out, inward)...))
	}
	if trackIn {
		r.chains = append(r.chains, chain(names.inReplies, r.reversed(&b.In, outward)...))
	}
}

// replies find the connection that a frame replies to, which began in the other direction.
func replies(d *direction, tracked bool, chain string) []Rule {
	if !tracked {
		return nil
	}
	out := d.fragments(d.reverse)
	ports, pings, others := d.flows()
	for _, f := range slices.Concat(ports[:], pings[:], others[:]) {
		out = append(out, rule("", append(f.reply, in(f.set(d.reverse), f.key...), jump(chain))...))
	}
	return out
}

// side are the rules on frames that begin or continue a connection.
func (r *rulebooks) side(b *Rulebook, s *Side, d *direction, tracked bool) []Rule {
	var out []Rule
	pass := accept
	if tracked {
		pass, out = goTo("track_"+d.name), d.fragments(d)
	}
	for i := range s.Clauses {
		c := &s.Clauses[i]
		for _, match := range r.matches(c, d, d) {
			if c.Log {
				out = append(out, logged(b, c, d, tracked && c.Action == netdrv.Accept, match)...)
			}
			out = append(out, rule(c.Comment, append(slices.Clone(match), Counter, verdict(c.Action, d, pass))...))
		}
	}
	return append(out, rule(b.Network+": filter."+d.name, Counter, verdict(s.Else, d, pass)))
}

// verdict returns what an action does to a frame. A rejection is in time only where the
// host has not yet sent the frame on.
func verdict(a netdrv.Action, d *direction, pass Verdict) Verdict {
	switch {
	case a <= netdrv.Accept:
		return pass
	case a == netdrv.Reject && d == outward:
		return goTo("refuse_out")
	}
	return drop
}

// logged logs the frames that match; of a tracked connection, the first.
func logged(b *Rulebook, c *Clause, d *direction, once bool, match []Expr) []Rule {
	entry := []Expr{Rate{logRate, logBurst}, Counter, Log(fmt.Sprintf("vnetd %s %s %s: ", b.Network, d.name, c.Action))}
	if !once || !c.Protocol.HasPorts() {
		return []Rule{rule("", slices.Concat(match, entry)...)}
	}
	var out []Rule
	ports, _, _ := d.flows()
	for _, f := range ports {
		out = append(out, rule("", slices.Concat(match, []Expr{notIn(f.set(d), f.of(c.Protocol)...)}, entry)...))
	}
	return out
}

// reversed are the rules on replies: those of the direction in which the connection began,
// as replies match them. What they would not accept returns, to be matched for itself.
func (r *rulebooks) reversed(s *Side, d *direction) []Rule {
	reply := func(a netdrv.Action) Verdict {
		if a <= netdrv.Accept {
			return accept
		}
		return back
	}
	var out []Rule
	for i := range s.Clauses {
		c := &s.Clauses[i]
		for _, match := range r.matches(c, d.reverse, d) {
			out = append(out, rule("", append(match, reply(c.Action))...))
		}
	}
	return append(out, rule("", reply(s.Else)))
}

// portFields are the fields that hold ports, by protocol.
var portFields = map[netdrv.Protocol]map[Field]Field{
	netdrv.TCP:  {DPort: TCPDPort, SPort: TCPSPort},
	netdrv.UDP:  {DPort: UDPDPort, SPort: UDPSPort},
	netdrv.SCTP: {DPort: SCTPDPort, SPort: SCTPSPort},
}

// matches are what frames of direction d must match for a clause about connections that
// began in direction began: one of them, by family. An empty list of remotes matches nothing.
func (r *rulebooks) matches(c *Clause, began, d *direction) [][]Expr {
	var protocol []Expr
	switch {
	case len(c.Ports) > 0:
		called := d.remotePort
		if began == inward {
			called = d.guestPort
		}
		field := portFields[c.Protocol][called]
		if p := c.Ports[0]; len(c.Ports) == 1 && p.Start == p.End {
			protocol = []Expr{Is{Field: field, Number: p.Start}}
			break
		}
		var services []netdrv.Service
		for _, p := range c.Ports {
			services = append(services, netdrv.Service{Ports: p})
		}
		s := Set{Key: []Type{InetService}, Interval: true}
		for _, p := range joined(services) {
			s.add(numbers(p.Ports))
		}
		protocol = []Expr{in(r.content("ports", s), field)}
	case c.Protocol != 0:
		protocol = []Expr{L4Proto(c.Protocol)}
	}
	if c.Any {
		return [][]Expr{protocol}
	}
	var out [][]Expr
	for i, addr := range []Type{IPv4Addr, IPv6Addr} {
		s := Set{Key: []Type{addr}, Interval: true}
		var last netip.Prefix
		for _, p := range c.Remotes {
			if p.Addr().Is4() == (addr == IPv4Addr) {
				s.add(prefix(p))
				last = p
			}
		}
		switch {
		case len(s.Elements) == 0 || c.Protocol == [2]netdrv.Protocol{netdrv.ICMPv6, netdrv.ICMP}[i]:
		case len(s.Elements) == 1 && last.Bits() > 0:
			out = append(out, append([]Expr{InPrefix{Field: d.remote[i], Prefix: last}}, protocol...))
		default:
			out = append(out, append([]Expr{in(r.content("remotes", s), d.remote[i])}, protocol...))
		}
	}
	return out
}

// content adds a set that is named by its contents, and returns the name.
func (r *rulebooks) content(kind string, s Set) string {
	h := sha256.New()
	for _, e := range s.Elements {
		fmt.Fprintln(h, s.Key, s.KeyString(e))
	}
	s.Name = kind + "_" + hex.EncodeToString(h.Sum(nil)[:6])
	if !r.named[s.Name] {
		r.named[s.Name] = true
		r.sets = append(r.sets, s)
	}
	return s.Name
}
