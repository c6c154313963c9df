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

// What bounds the memory that connections of guests cost. A guest of which the rules
// must remember connections begins newFlows of them a second, after a first burst; the
// others of its network are none the worse.
const (
	maxFlows      = 1 << 18
	newFlows      = 100
	newFlowsBurst = 1000
	maxPorts      = 1 << 16
	flowTimeout   = time.Minute
	tcpTimeout    = 10 * time.Minute
	portTimeout   = time.Minute
)

// What is noted a second, of each rule.
const (
	logRate  = 5
	logBurst = 10
)

// refusedMark is on packets that the host is to answer with a refusal: bridges cannot.
const refusedMark = 0x766e

// way is one in which frames go, from the guest's point of view, and where they have
// what: remote is who is at the other end.
type way struct {
	name                  string
	port                  Field
	remote4, remote6      Field
	guestPort, remotePort Field
	back                  *way
}

var (
	outward = &way{name: "out", port: IIFName, remote4: IPDAddr, remote6: IP6DAddr, guestPort: SPort, remotePort: DPort}
	inward  = &way{name: "in", port: OIFName, remote4: IPSAddr, remote6: IP6SAddr, guestPort: DPort, remotePort: SPort}
)

func init() { outward.back, inward.back = inward, outward }

// flow4 and flow6 are a connection as its frames have it that go this way.
func (w *way) flow4() []Field {
	return []Field{w.port, L4Protocol, w.remote4, w.guestPort, w.remotePort}
}

func (w *way) flow6() []Field {
	return []Field{w.port, L4Protocol, w.remote6, w.guestPort, w.remotePort}
}

// of is such a connection's of a protocol with ports.
func (w *way) of(p netdrv.Protocol, fields []Field) []Field {
	out := slices.Clone(fields)
	for i, f := range out {
		if named, ok := portFields[p][f]; ok {
			out[i] = named
		}
	}
	return out
}

// ping4 and ping6 stand in for it where there are no ports. They do without the
// identifier of an echo: nft lists sets with one in their key in a way that it does not
// read again.
func (w *way) ping4() []Field { return []Field{w.port, w.remote4} }
func (w *way) ping6() []Field { return []Field{w.port, w.remote6} }

// other4 and other6 are all that there is of protocols that we know nothing of.
func (w *way) other4() []Field { return []Field{w.port, L4Protocol, w.remote4} }
func (w *way) other6() []Field { return []Field{w.port, L4Protocol, w.remote6} }

// ruling is the part of the bridge table that is about rulebooks.
type ruling struct {
	sets   []Set
	chains []Chain
	named  map[string]bool // sets that there are by now
}

// rulings compiles the rulebooks of ports: a map for each direction from a port to its
// chain.
func rulings(ports []Port, networks []*netdrv.Network) ruling {
	r := ruling{named: map[string]bool{}}
	out := Set{Name: "rules_out", Key: []Type{IfName}, Verdicts: true, Counter: true}
	in := Set{Name: "rules_in", Key: []Type{IfName}, Verdicts: true, Counter: true}
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
			r.rulebook(b, names)
		}
		out.Elements = append(out.Elements, Element{Key: key(name(ports[i].Link)), Verdict: goTo(names.out), Comment: b.Network})
		in.Elements = append(in.Elements, Element{Key: key(name(ports[i].Link)), Verdict: goTo(names.in), Comment: b.Network})
	}
	r.sets = append([]Set{out, in}, append(flowSets(), append(hostsOf(networks), r.sets...)...)...)
	r.chains = append([]Chain{
		{Name: "out", Base: BridgeRules, Rules: []Rule{rule("", ByMap{Fields: []Field{IIFName}, Map: "rules_out"})}},
		{Name: "in", Base: BridgePostrouting, Rules: []Rule{rule("", ByMap{Fields: []Field{OIFName}, Map: "rules_in"})}},
		alwaysOut(), alwaysIn(), alwaysOutForeign(), alwaysInForeign(), remember(outward), remember(inward), refuseOut(),
	}, r.chains...)
	return r
}

// flowSets hold the connections that began in one direction and passed, where the other
// would not let their answers pass.
func flowSets() []Set {
	var out []Set
	for _, w := range []*way{outward, inward} {
		for _, t := range []Type{IPv4Addr, IPv6Addr} {
			n := map[Type]string{IPv4Addr: "4", IPv6Addr: "6"}[t]
			out = append(out,
				Set{Name: "flows_" + w.name + n, Key: []Type{IfName, InetProto, t, InetService, InetService}, Dynamic: Dynamic{maxFlows, flowTimeout}},
				Set{Name: "pings_" + w.name + n, Key: []Type{IfName, t}, Dynamic: Dynamic{maxFlows, flowTimeout}},
				Set{Name: "others_" + w.name + n, Key: []Type{IfName, InetProto, t}, Dynamic: Dynamic{maxFlows, flowTimeout}})
		}
		out = append(out, Set{Name: "new_" + w.name, Key: []Type{IfName}, Dynamic: Dynamic{maxPorts, portTimeout}})
	}
	return append(out, numberSet("with_ports", InetProto, 6, 17, 132), numberSet("errors4", ICMPType, 3, 11, 12))
}

// hostsOf are the addresses at which clients find DHCP servers whom they know, and the
// types of ICMPv6 that pass always.
func hostsOf(networks []*netdrv.Network) []Set {
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
	return []Set{
		hosts4, hosts6,
		kinds("always_out6", []uint16{1, 2, 3, 4, 131, 132, 133, 135, 136, 143}),
		kinds("always_in6", []uint16{1, 2, 3, 4, 130, 131, 132, 134, 135, 136, 137, 143}),
	}
}

func numberSet(set string, t Type, list ...uint16) Set {
	s := Set{Name: set, Key: []Type{t}}
	for _, n := range list {
		s.add(number(n))
	}
	return s
}

// always are without whom nothing works: neighbours, errors about what passed, and
// groups. Errors are not matched with connections.
func always(kinds6 string) []Rule {
	return []Rule{
		rule("", TCP, back),
		rule("", EtherARP, accept),
		rule("", InSet{Fields: []Field{ICMPv6Kind}, Set: kinds6}, accept),
		rule("", InSet{Fields: []Field{ICMPKind}, Set: "errors4"}, accept),
		rule("", IGMP, accept),
	}
}

// alwaysOut: DHCP servers hear broadcasts, and what is sent to them alone.
func alwaysOut() Chain {
	return Chain{Name: "always_out", Rules: append(always("always_out6"),
		rule("", InPrefix{Field: IPDAddr, Prefix: broadcast}, Is{Field: UDPDPort, Number: dhcpPort}, accept),
		rule("", InPrefix{Field: IP6DAddr, Prefix: allDHCPServers}, Is{Field: UDPDPort, Number: dhcpv6Port}, accept),
		rule("", InSet{Fields: []Field{IPDAddr}, Set: "hosts4"}, Is{Field: UDPDPort, Number: dhcpPort}, accept),
		rule("", InSet{Fields: []Field{IP6DAddr}, Set: "hosts6"}, Is{Field: UDPDPort, Number: dhcpv6Port}, accept),
	)}
}

// alwaysIn: the bridge's MAC is the host's, and clean neighbours have no other than
// their own.
func alwaysIn() Chain {
	host := InSet{Fields: []Field{EtherSAddr}, Set: "bridges"}
	return Chain{Name: "always_in", Rules: append(always("always_in6"),
		rule("", host, Is{Field: UDPSPort, Number: dhcpPort}, accept),
		rule("", host, Is{Field: UDPSPort, Number: dhcpv6Port}, accept),
	)}
}

// On somebody else's bridge nobody says who its DHCP servers are.
func alwaysOutForeign() Chain {
	return Chain{Name: "always_out_foreign", Rules: append(always("always_out6"),
		rule("", Is{Field: UDPDPort, Number: dhcpPort}, accept),
		rule("", Is{Field: UDPDPort, Number: dhcpv6Port}, accept),
	)}
}

func alwaysInForeign() Chain {
	return Chain{Name: "always_in_foreign", Rules: append(always("always_in6"),
		rule("", Is{Field: UDPSPort, Number: dhcpPort}, accept),
		rule("", Is{Field: UDPSPort, Number: dhcpv6Port}, accept),
	)}
}

// remember lets a connection pass, and knows it from then on. One more than the set
// holds does not pass.
func remember(w *way) Chain {
	fresh := AddTo{Set: "new_" + w.name, Fields: []Field{w.port}, Over: Rate{newFlows, newFlowsBurst}}
	rules := w.known()
	rules = append(rules, rule("rules: too many new connections", fresh, Counter{}, drop))
	rules = append(rules, w.add()...)
	return Chain{Name: "remember_" + w.name, Rules: append(rules,
		rule("rules: too many connections", EtherIPv4, Counter{}, drop),
		rule("rules: too many connections", EtherIPv6, Counter{}, drop),
		rule("", accept),
	)}
}

var (
	withPorts    = InSet{Fields: []Field{L4Protocol}, Set: "with_ports"}
	withoutPorts = InSet{Fields: []Field{L4Protocol}, Set: "with_ports", Not: true}
	ping4        = Is{Field: ICMPKind, Number: echoRequest}
	ping6        = Is{Field: ICMPv6Kind, Number: echoRequest6}
)

// known are connections that are remembered already.
func (w *way) known() []Rule {
	flows, pings, others := "flows_"+w.name, "pings_"+w.name, "others_"+w.name
	stays := func(fields []Field, set string, timeout time.Duration, match ...Expr) Rule {
		return rule("", append(match, InSet{Fields: fields, Set: set}, AddTo{Set: set, Fields: fields, Timeout: timeout}, accept)...)
	}
	return []Rule{
		stays(w.of(netdrv.TCP, w.flow4()), flows+"4", tcpTimeout), stays(w.of(netdrv.TCP, w.flow6()), flows+"6", tcpTimeout),
		stays(w.flow4(), flows+"4", 0, withPorts), stays(w.flow6(), flows+"6", 0, withPorts),
		stays(w.ping4(), pings+"4", 0, ping4), stays(w.ping6(), pings+"6", 0, ping6),
		stays(w.other4(), others+"4", 0, withoutPorts), stays(w.other6(), others+"6", 0, withoutPorts),
	}
}

// add are connections that are new. Of UDP it is remembered who, too, for fragments
// have no ports.
func (w *way) add() []Rule {
	flows, pings, others := "flows_"+w.name, "pings_"+w.name, "others_"+w.name
	with := func(fields []Field, set string, match ...Expr) Rule {
		return rule("", append(match, AddTo{Set: set, Fields: fields}, accept)...)
	}
	return []Rule{
		rule("", UDP, AddTo{Set: others + "4", Fields: w.other4()}), rule("", UDP, AddTo{Set: others + "6", Fields: w.other6()}),
		with(w.flow4(), flows+"4", withPorts), with(w.flow6(), flows+"6", withPorts),
		with(w.ping4(), pings+"4", ping4), with(w.ping6(), pings+"6", ping6),
		rule("", L4Proto(netdrv.ICMP), accept), rule("", L4Proto(netdrv.ICMPv6), accept),
		with(w.other4(), others+"4", withoutPorts), with(w.other6(), others+"6", withoutPorts),
	}
}

// fragments lets those pass, but for the first, whose first one has been remembered.
func (w *way) fragments(set string) []Rule {
	return []Rule{
		rule("", Fragment{}, InSet{Fields: w.other4(), Set: set + "4"}, accept),
		rule("", Fragment{IPv6: true}, InSet{Fields: w.other6(), Set: set + "6"}, accept),
	}
}

// refuseOut has the host refuse what it would have to route, or is for itself.
func refuseOut() Chain {
	return Chain{Name: "refuse_out", Rules: []Rule{
		rule("rules: refused by the host", InSet{Fields: []Field{EtherDAddr}, Set: "bridges"}, Counter{}, SetMark(refusedMark), accept),
		rule("rules: dropped", Counter{}, drop),
	}}
}

// refusedSets have the mark that bridges put on what the host is to refuse, if one does.
func refusedSets(ports []Port) []Set {
	refused := Set{Name: "refused", Key: []Type{MarkValue}}
	if slices.ContainsFunc(ports, func(p Port) bool { return p.Rules != nil && p.Rules.Out.rejects() }) {
		refused.add(number(refusedMark))
	}
	return []Set{refused}
}

func refusedChains() []Chain {
	refused := []Rule{rule("", InSet{Fields: []Field{Mark}, Set: "refused"}, goTo("refuse"))}
	return []Chain{
		{Name: "refused_forward", Base: ForwardFilter, Rules: refused}, {Name: "refused_input", Base: InputFilter, Rules: refused},
	}
}

// rulebook makes the chains of one. Frames that begin a connection are asked the rules
// of their own direction. Answers to a connection that is known are asked those of the
// other, turned round: a rule that changes changes what it let pass, too.
func (r *ruling) rulebook(b *Rulebook, names chains) {
	foreign := ""
	if b.Foreign {
		foreign = "_foreign"
	}
	keepOut := b.In.denies() || b.Out.logs() || b.Out.losesFragments()
	keepIn := b.Out.denies() || b.In.logs() || b.In.losesFragments()
	out := append([]Rule{rule("", jump("always_out"+foreign))}, answers(outward, keepIn, names.inAnswers)...)
	out = append(out, r.side(b, &b.Out, outward, keepOut)...)
	in := append([]Rule{rule("", jump("always_in"+foreign))}, answers(inward, keepOut, names.outAnswers)...)
	in = append(in, r.side(b, &b.In, inward, keepIn)...)
	r.chains = append(r.chains, Chain{Name: names.out, Rules: out}, Chain{Name: names.in, Rules: in})
	if keepOut {
		r.chains = append(r.chains, Chain{Name: names.outAnswers, Rules: r.turned(&b.Out, inward)})
	}
	if keepIn {
		r.chains = append(r.chains, Chain{Name: names.inAnswers, Rules: r.turned(&b.In, outward)})
	}
}

// answers looks for the connection that a frame answers, which began the other way.
func answers(w *way, kept bool, chain string) []Rule {
	if !kept {
		return nil
	}
	flows, pings, others := "flows_"+w.back.name, "pings_"+w.back.name, "others_"+w.back.name
	return append(w.fragments(others),
		rule("", InSet{Fields: w.flow4(), Set: flows + "4"}, jump(chain)),
		rule("", InSet{Fields: w.flow6(), Set: flows + "6"}, jump(chain)),
		rule("", Is{Field: ICMPKind, Number: echoReply}, InSet{Fields: w.ping4(), Set: pings + "4"}, jump(chain)),
		rule("", Is{Field: ICMPv6Kind, Number: echoReply6}, InSet{Fields: w.ping6(), Set: pings + "6"}, jump(chain)),
		rule("", withoutPorts, InSet{Fields: w.other4(), Set: others + "4"}, jump(chain)),
		rule("", withoutPorts, InSet{Fields: w.other6(), Set: others + "6"}, jump(chain)),
	)
}

// side are the rules about frames that begin a connection, and go on with it.
func (r *ruling) side(b *Rulebook, s *Side, w *way, keep bool) []Rule {
	pass := accept
	if keep {
		pass = goTo("remember_" + w.name)
	}
	var out []Rule
	if keep {
		out = w.fragments("others_" + w.name)
	}
	for i := range s.Clauses {
		c := &s.Clauses[i]
		for _, match := range r.matches(c, w, w) {
			if c.Log {
				out = append(out, logged(b, c, w, keep && c.Action == netdrv.Accept, match)...)
			}
			out = append(out, rule(c.Comment, append(slices.Clone(match), Counter{}, fate(c.Action, w, pass))...))
		}
	}
	return append(out, rule(b.Network+": filter."+w.name, Counter{}, fate(s.Else, w, pass)))
}

// fate is what becomes of a frame. A refusal comes in time only where the host has not
// yet sent the frame on its way.
func fate(a netdrv.Action, w *way, pass Verdict) Verdict {
	switch {
	case a <= netdrv.Accept:
		return pass
	case a == netdrv.Reject && w == outward:
		return goTo("refuse_out")
	}
	return drop
}

// logged notes the frames that match; of a connection that is remembered, the first.
func logged(b *Rulebook, c *Clause, w *way, once bool, match []Expr) []Rule {
	note := []Expr{Rate{logRate, logBurst}, Counter{}, Log(fmt.Sprintf("vnetd %s %s %s: ", b.Network, w.name, c.Action))}
	if !once || !c.Protocol.HasPorts() {
		return []Rule{rule("", slices.Concat(match, note)...)}
	}
	var out []Rule
	for _, fields := range [][]Field{w.flow4(), w.flow6()} {
		family := map[Field]string{w.remote4: "4", w.remote6: "6"}[fields[2]]
		fresh := InSet{Fields: w.of(c.Protocol, fields), Set: "flows_" + w.name + family, Not: true}
		out = append(out, rule("", slices.Concat(match, []Expr{fresh}, note)...))
	}
	return out
}

// turned are the rules about answers: those of the direction in which the connection
// began, as answers look to it. What would not pass goes back to be asked for itself.
func (r *ruling) turned(s *Side, w *way) []Rule {
	var out []Rule
	for i := range s.Clauses {
		c := &s.Clauses[i]
		for _, match := range r.matches(c, w.back, w) {
			out = append(out, rule("", append(match, fate(c.Action, inward, accept).or(back))...))
		}
	}
	return append(out, rule("", fate(s.Else, inward, accept).or(back)))
}

// or is the verdict, or another in place of a drop.
func (v Verdict) or(other Verdict) Verdict {
	if v == drop {
		return other
	}
	return v
}

// portFields are the fields that hold ports, by protocol.
var portFields = map[netdrv.Protocol]map[Field]Field{
	netdrv.TCP:  {DPort: TCPDPort, SPort: TCPSPort},
	netdrv.UDP:  {DPort: UDPDPort, SPort: UDPSPort},
	netdrv.SCTP: {DPort: SCTPDPort, SPort: SCTPSPort},
}

// matches are what a frame that goes the one way must match for a clause about
// connections that began the other: one of them, by family. No list is nobody.
func (r *ruling) matches(c *Clause, began, w *way) [][]Expr {
	protocol := r.protocol(c, began, w)
	if c.Anybody {
		return [][]Expr{protocol}
	}
	var out [][]Expr
	four, six := byFamily(c.Remotes)
	if len(four) > 0 && c.Protocol != netdrv.ICMPv6 {
		out = append(out, slices.Concat(r.among(w.remote4, IPv4Addr, four), protocol))
	}
	if len(six) > 0 && c.Protocol != netdrv.ICMP {
		out = append(out, slices.Concat(r.among(w.remote6, IPv6Addr, six), protocol))
	}
	return out
}

func byFamily(prefixes []netip.Prefix) (four, six []netip.Prefix) {
	i := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if i < 0 {
		return prefixes, nil
	}
	return prefixes[:i], prefixes[i:]
}

// protocol matches it, and the port of who is called.
func (r *ruling) protocol(c *Clause, began, w *way) []Expr {
	if len(c.Ports) == 0 {
		if c.Protocol == 0 {
			return nil
		}
		return []Expr{L4Proto(c.Protocol)}
	}
	called := w.remotePort
	if began == inward {
		called = w.guestPort
	}
	field := portFields[c.Protocol][called]
	if p := c.Ports[0]; len(c.Ports) == 1 && p.Start == p.End {
		return []Expr{Is{Field: field, Number: p.Start}}
	}
	s := Set{Key: []Type{InetService}, Interval: true}
	for _, p := range mergePorts(c.Ports) {
		s.add(numbers(p))
	}
	return []Expr{InSet{Fields: []Field{field}, Set: r.content("ports", s)}}
}

func mergePorts(ports []netdrv.PortRange) []netdrv.PortRange {
	var services []netdrv.Service
	for _, p := range ports {
		services = append(services, netdrv.Service{Ports: p})
	}
	var out []netdrv.PortRange
	for _, s := range joined(services) {
		out = append(out, s.Ports)
	}
	return out
}

// among matches an address that is in one of the prefixes.
func (r *ruling) among(f Field, t Type, prefixes []netip.Prefix) []Expr {
	if len(prefixes) == 1 && prefixes[0].Bits() > 0 {
		return []Expr{InPrefix{Field: f, Prefix: prefixes[0]}}
	}
	s := Set{Key: []Type{t}, Interval: true}
	for _, p := range prefixes {
		s.add(prefix(p))
	}
	return []Expr{InSet{Fields: []Field{f}, Set: r.content("remotes", s)}}
}

// content adds a set that is named by what is in it, and returns the name.
func (r *ruling) content(kind string, s Set) string {
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
