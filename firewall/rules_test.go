package firewall

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// conn is a connection of a guest.
type conn struct {
	direction netdrv.Direction
	protocol  netdrv.Protocol
	remote    netip.Addr
	called    uint16
}

// says is what the rules say about a connection, by reading them as a person does.
func (s *Side) says(c conn) netdrv.Action {
	for _, r := range s.Clauses {
		port := func(p netdrv.PortRange) bool { return p.Start <= c.called && c.called <= p.End }
		remote := func(p netip.Prefix) bool { return p.Contains(c.remote) }
		switch {
		case r.Protocol != 0 && r.Protocol != c.protocol:
		case len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, port):
		case !r.Any && !slices.ContainsFunc(r.Remotes, remote):
		default:
			return r.Action
		}
	}
	return max(s.Else, netdrv.Accept)
}

// packets are the first of a connection, and an answer to it.
func (c conn) packets() (first, answer packet) {
	guest, unspecific := netip.MustParseAddr("10.20.0.5"), uint16(40000)
	if c.remote.Is6() {
		guest = netip.MustParseAddr("fd00:20::5")
	}
	first = packet{iif: "vnet0", src: guest, dst: c.remote, proto: L4Proto(c.protocol), sport: unspecific, dport: c.called}
	if c.direction == netdrv.In {
		first.iif, first.oif, first.src, first.dst = "", "vnet0", c.remote, guest
	}
	answer = first
	answer.iif, answer.oif, answer.src, answer.dst = first.oif, first.iif, first.dst, first.src
	answer.sport, answer.dport = first.dport, first.sport
	switch c.protocol {
	case netdrv.ICMP:
		first.icmp, answer.icmp, answer.sport = 8, 0, first.sport
	case netdrv.ICMPv6:
		first.icmp, answer.icmp, answer.sport = 128, 129, first.sport
	}
	return first, answer
}

func (s *simulator) sends(p packet) bool {
	if p.iif != "" {
		return s.passes(BridgeRules, p)
	}
	return s.passes(BridgePostrouting, p)
}

func random[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func randomSide(r *rand.Rand) Side {
	s := Side{Else: random(r, 0, netdrv.Accept, netdrv.Drop, netdrv.Reject)}
	for range r.IntN(4) {
		c := Clause{
			Protocol: random(r, 0, netdrv.TCP, netdrv.UDP, netdrv.SCTP, netdrv.ICMP, netdrv.ICMPv6, 47), Any: r.IntN(2) == 0,
			Action: random(r, netdrv.Accept, netdrv.Drop, netdrv.Reject), Log: r.IntN(4) == 0,
		}
		if c.Protocol.HasPorts() && r.IntN(2) == 0 {
			c.Ports = random(r, []netdrv.PortRange{{Start: 22, End: 22}}, []netdrv.PortRange{{Start: 20, End: 30}, {Start: 25, End: 80}})
		}
		if !c.Any {
			c.Remotes = netdrv.Merge(random(r, prefixList("10.0.0.0/8"), prefixList("2001:db8::/32"), prefixList("0.0.0.0/0", "::/0"),
				prefixList("10.1.0.0/16", "192.0.2.1/32", "2001:db8::1/128"), nil))
		}
		s.Clauses = append(s.Clauses, c)
	}
	return s
}

func randomConn(r *rand.Rand) conn {
	c := conn{
		direction: random(r, netdrv.In, netdrv.Out), protocol: random(r, netdrv.TCP, netdrv.UDP, netdrv.SCTP, netdrv.ICMP, 47),
		remote: netip.MustParseAddr(random(r, "10.1.2.3", "192.0.2.1", "198.51.100.1", "2001:db8::1", "2001:db8:1::2", "2620:fe::9")),
		called: random(r, uint16(22), 23, 80, 443),
	}
	if c.protocol == netdrv.ICMP && c.remote.Is6() {
		c.protocol = netdrv.ICMPv6
	}
	return c
}

// The chains do what the rules say, whatever they are: a connection begins if those of its
// direction let it, and is answered if it has begun, and else only where the answer might
// be a beginning itself.
func TestChainsDoWhatRulesSay(t *testing.T) {
	n := example.Network("lab", netdrv.NAT, "lab0", "10.20.0.1/24", "fd00:20::1/64")
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		book := &Rulebook{Network: "lab", Out: randomSide(r), In: randomSide(r)}
		s := simulateBridge(Compile([]netdrv.Network{n}, Port{Link: "vnet0", Network: "lab", Rules: book}))
		c := randomConn(r)
		own, other := &book.Out, &book.In
		if c.direction == netdrv.In {
			own, other = other, own
		}
		first, answer := c.packets()
		stray := conn{c.direction, c.protocol, c.remote, first.sport}
		begins := other.says(stray) == netdrv.Accept
		if got := s.sends(answer); got != begins {
			t.Fatalf("seed %d, %+v of %s: an answer to nothing passes = %t, want %t", seed, c, fmt.Sprintf("%+v", *book), got, begins)
		}
		s.added = map[string]bool{}
		want := own.says(c) == netdrv.Accept
		if got := s.sends(first); got != want {
			t.Fatalf("seed %d, %+v of %s: the first packet passes = %t, want %t", seed, c, fmt.Sprintf("%+v", *book), got, want)
		}
		if got := s.sends(answer); got != (want || begins) {
			t.Fatalf("seed %d, %+v of %s: the answer passes = %t, want %t", seed, c, fmt.Sprintf("%+v", *book), got, want || begins)
		}
	}
}

// An edit that forbids what has begun ends it, in both directions, although it is
// remembered.
func TestEditsAreAboutWhatHasBegun(t *testing.T) {
	n := example.Network("lab", netdrv.NAT, "lab0", "10.20.0.1/24", "fd00:20::1/64")
	compiled := func(out Side) *simulator {
		book := &Rulebook{Network: "lab", Out: out, In: Side{Else: netdrv.Drop}}
		return simulateBridge(Compile([]netdrv.Network{n}, Port{Link: "vnet0", Network: "lab", Rules: book}))
	}
	first, answer := conn{netdrv.Out, netdrv.TCP, netip.MustParseAddr("192.0.2.1"), 22}.packets()
	before, after := compiled(Side{}), compiled(Side{Clauses: []Clause{
		{Protocol: netdrv.TCP, Ports: []netdrv.PortRange{{Start: 22, End: 22}}, Any: true, Action: netdrv.Drop},
	}})
	if !before.sends(first) || !before.sends(answer) {
		t.Fatal("it does not begin")
	}
	after.added = before.added
	if after.sends(first) || after.sends(answer) {
		t.Error("it goes on")
	}
}

// Ports with the same rules share chains, and an edit of rules replaces no chain: what is
// remembered outlives it.
func TestRulesAreEditedAsChains(t *testing.T) {
	n := example.Network("lab", netdrv.NAT, "lab0", "10.20.0.1/16")
	table := func(ports int, f netdrv.Filter) Ruleset {
		around := netdrv.Resolver{Networks: []netdrv.Network{n}}
		shared := RulebookOf(f, &n, "", 0, &around)
		var list []Port
		for i := range ports {
			list = append(list, Port{Link: fmt.Sprint("vnet", i), Network: "lab", Rules: shared})
		}
		return Compile([]netdrv.Network{n}, list...)
	}
	drops := netdrv.Filter{In: netdrv.Drop}
	one, many := table(1, drops), table(1000, drops)
	if !slices.EqualFunc(one.Tables[1].Chains, many.Tables[1].Chains, sameChain) {
		t.Error("1000 ports have other chains than 1")
	}
	drops.Rules = []netdrv.FilterRule{{Direction: netdrv.In, Action: netdrv.Accept, Protocol: netdrv.TCP, Ports: []netdrv.PortRange{{Start: 1, End: 9}}}}
	change := Diff(many, table(1000, drops))
	if len(change.Replace) > 0 || len(change.Edits) != 1 || len(change.Edits[0].DelSets) > 0 {
		t.Errorf("an edit of rules is %s", change)
	}
	if change := Diff(many, table(1000, netdrv.Filter{})); strings.Contains(change.String(), "replace") {
		t.Errorf("the end of rules is %s", change)
	}
	if text := table(10, netdrv.Filter{}).String(); strings.Contains(text, "bridge") {
		t.Errorf("ports without rules have %s", text)
	}
}

// What is not the internet is kept from, but for the gateway's DNS and ping, and what
// rules say before.
func TestInternetOnlySays(t *testing.T) {
	n := example.Network("lab", netdrv.NAT, "lab0", "10.20.0.1/24", "fd00:20::1/64")
	route := example.Network("pub", netdrv.Route, "pub0", "8.8.0.1/24")
	around := netdrv.Resolver{Networks: []netdrv.Network{n, route}, Host: []netip.Addr{netip.MustParseAddr("9.9.9.1")}}
	f := netdrv.Filter{Preset: netdrv.InternetOnly, Rules: []netdrv.FilterRule{{Direction: netdrv.Out, Action: netdrv.Accept, Remote: "10.99.0.7"}}}
	book := RulebookOf(f, &n, "", 0, &around)
	for _, c := range []struct {
		protocol netdrv.Protocol
		remote   string
		port     uint16
		want     bool
	}{
		{netdrv.TCP, "1.1.1.1", 443, true},
		{netdrv.TCP, "2620:fe::fe", 443, true},
		{netdrv.UDP, "10.20.0.1", 53, true},
		{netdrv.TCP, "fd00:20::1", 53, true},
		{netdrv.ICMP, "10.20.0.1", 0, true},
		{netdrv.ICMPv6, "fd00:20::1", 0, true},
		{netdrv.TCP, "10.99.0.7", 443, true},
		{netdrv.TCP, "10.20.0.1", 22, false},
		{netdrv.TCP, "9.9.9.1", 22, false},
		{netdrv.TCP, "8.8.0.7", 22, false},
		{netdrv.TCP, "10.20.0.6", 22, false},
		{netdrv.TCP, "169.254.169.254", 80, false},
		{netdrv.TCP, "fd00:ec2::254", 80, false},
		{netdrv.TCP, "100.64.0.1", 80, false},
		{netdrv.UDP, "224.0.0.251", 5353, false},
		{netdrv.UDP, "255.255.255.255", 5353, false},
		{netdrv.UDP, "ff02::fb", 5353, false},
		{netdrv.TCP, "::ffff:10.0.0.1", 80, false},
		{netdrv.TCP, "fe80::1", 80, false},
	} {
		if got := book.Out.says(conn{netdrv.Out, c.protocol, netip.MustParseAddr(c.remote), c.port}) == netdrv.Accept; got != c.want {
			t.Errorf("%s to %s port %d = %t, want %t", c.protocol, c.remote, c.port, got, c.want)
		}
	}
	if !book.Out.denies() || book.In.denies() {
		t.Error("it is about the wrong direction")
	}
}

func prefixList(words ...string) (out []netip.Prefix) {
	for _, w := range words {
		out = append(out, netip.MustParsePrefix(w))
	}
	return out
}
