package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// Rulebook is the rules on connections of a guest, in either direction. Ports with the same
// one share its chains.
type Rulebook struct {
	Network string
	// Foreign: the bridge is not vnetd's, nor are its DHCP servers and routers.
	Foreign bool
	// Out is about connections that the guest begins, In about connections to it.
	Out, In Side
}

// Side is the rules of one direction: the first clause that matches decides, or else Else.
type Side struct {
	Clauses []Clause
	Else    netdrv.Action
}

// Clause is a rule with resolved names.
type Clause struct {
	Protocol netdrv.Protocol // 0: any
	Ports    []netdrv.PortRange
	// Remotes are the addresses at the other end, merged. Any matches all; without it, an
	// empty list matches none.
	Remotes []netip.Prefix
	Any     bool
	Action  netdrv.Action
	Log     bool
	// Comment names the rule's place in a definition.
	Comment string
}

// denies reports whether something does not pass.
func (s *Side) denies() bool {
	return s.Else > netdrv.Accept || s.has(func(c *Clause) bool { return c.Action != netdrv.Accept })
}

// logs reports whether something that passes is logged.
func (s *Side) logs() bool {
	return s.has(func(c *Clause) bool { return c.Log && c.Action == netdrv.Accept })
}

// losesFragments reports whether something passes because of its ports, which fragments do
// not have.
func (s *Side) losesFragments() bool {
	return s.denies() && s.has(func(c *Clause) bool { return c.Action == netdrv.Accept && len(c.Ports) > 0 })
}

func (s *Side) has(is func(c *Clause) bool) bool {
	for i := range s.Clauses {
		if is(&s.Clauses[i]) {
			return true
		}
	}
	return false
}

// RulebookOf resolves a filter of a port on a network; nil if everything passes without log
// entries. The first own rules are of the port's filter, the others of the network's.
func RulebookOf(f netdrv.Filter, n *netdrv.Network, link string, own int, s *netdrv.Resolver) *Rulebook {
	b := Rulebook{Network: n.Name, Foreign: !n.Mode.OwnsBridge(), Out: Side{Else: f.Out}, In: Side{Else: f.In}}
	for i := range f.Rules {
		r := &f.Rules[i]
		c := Clause{
			Protocol: r.Protocol, Ports: r.Ports, Any: r.Remote == "", Action: r.Action, Log: r.Log,
			Comment: fmt.Sprintf("%s: filter.rules[%d]", n.Name, i-own),
		}
		if i < own {
			c.Comment = fmt.Sprintf("%s: filter.rules[%d]", link, i)
		}
		if !c.Any {
			c.Remotes = s.Prefixes(n, r.Remote)
		}
		side := &b.Out
		if r.Direction == netdrv.In {
			side = &b.In
		}
		side.Clauses = append(side.Clauses, c)
	}
	if f.Preset == netdrv.InternetOnly {
		b.Out.Clauses = append(b.Out.Clauses, internetOnly(n, s)...)
	}
	if !b.Out.denies() && !b.Out.logs() && !b.In.denies() && !b.In.logs() {
		return nil
	}
	return &b
}

// chains are the names of a rulebook's chains. They contain a hash of the rules, so that no
// chain ever changes.
type chains struct{ out, in, outReplies, inReplies string }

func (b *Rulebook) chains() chains {
	h := sha256.New()
	fmt.Fprintln(h, b.Network, b.Foreign)
	for _, s := range []*Side{&b.Out, &b.In} {
		fmt.Fprintln(h, s.Else)
		for i := range s.Clauses {
			fmt.Fprintf(h, "%+v\n", s.Clauses[i])
		}
	}
	id := b.Network + "_" + hex.EncodeToString(h.Sum(nil)[:6])
	return chains{"out_" + id, "in_" + id, "out_replies_" + id, "in_replies_" + id}
}

// private are the prefixes that are not the internet (RFC 6890 and its registries): private,
// shared, link-local, documentation, reserved, and multicast. The metadata services of clouds
// are at link-local addresses, and at a unique local one.
var private = func() (out []netip.Prefix) {
	for _, p := range strings.Fields(`
	0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
	192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
	224.0.0.0/3
	::/8 64:ff9b:1::/48 100::/64 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
`) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}()

// internetOnly are the rules that the preset adds after a port's: DNS and ping to the host, and
// nothing that is private or a network of vnetd's.
func internetOnly(n *netdrv.Network, s *netdrv.Resolver) []Clause {
	const comment = "internet-only: "
	host := s.Prefixes(n, netdrv.RemoteHost)
	dns := []netdrv.PortRange{{Start: dnsPort, End: dnsPort}}
	not := slices.Clone(private)
	for _, a := range s.Host {
		not = append(not, netip.PrefixFrom(a, a.BitLen()))
	}
	for i := range s.Networks {
		not = append(not, s.Prefixes(n, s.Networks[i].Name)...)
	}
	return []Clause{
		{Protocol: netdrv.UDP, Ports: dns, Remotes: host, Action: netdrv.Accept, Comment: comment + "DNS"},
		{Protocol: netdrv.TCP, Ports: dns, Remotes: host, Action: netdrv.Accept, Comment: comment + "DNS"},
		{Protocol: netdrv.ICMP, Remotes: host, Action: netdrv.Accept, Comment: comment + "ping"},
		{Protocol: netdrv.ICMPv6, Remotes: host, Action: netdrv.Accept, Comment: comment + "ping"},
		{Remotes: netdrv.Merge(not), Action: netdrv.Reject, Comment: comment + "not the internet"},
	}
}
