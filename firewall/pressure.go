package firewall

import (
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Pressure restricts new connections while the kernel's table of tracked connections is
// nearly full. The zero value restricts none, and has no hook.
type Pressure struct {
	// Strict: guests begin connections from addresses of their network only, so that
	// each entry can be attributed to the network that caused it.
	Strict bool
	// Closed are networks to and from which no connections are begun; the host may.
	Closed []string
}

// Equal reports whether both restrict the same.
func (p Pressure) Equal(o Pressure) bool {
	return p.Strict == o.Strict && slices.Equal(p.Closed, o.Closed)
}

// Tracked reports whether connections of a network's guests are attributed to it:
// networks in modes open, bridge and direct have no rules of ours.
func Tracked(n *netdrv.Network) bool {
	return n.Mode == netdrv.NAT || n.Mode == netdrv.Route || n.Mode == netdrv.Isolated
}

// UnderPressure returns r, which Compile made of the same networks, with a chain that
// drops new connections before the kernel keeps an entry of them. Packets of
// established connections pass it. Diff adds and deletes it by an edit.
func (r Ruleset) UnderPressure(networks []netdrv.Network, p Pressure) Ruleset {
	i := slices.IndexFunc(r.Tables, func(t Table) bool { return t.Family == INet })
	if i < 0 || !p.Strict && len(p.Closed) == 0 {
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
	t := r.Tables[i]
	t.Sets = append(slices.Clip(t.Sets), closed.sorted(), strict.sorted(),
		prefixSet("conntrack4", IPv4Addr, tracked).sorted(), prefixSet("conntrack6", IPv6Addr, tracked).sorted())
	t.Chains = append(slices.Clip(t.Chains), Chain{Name: "conntrack", Base: PreroutingFilter, Rules: []Rule{
		rule("conntrack: network over its limit", New, in("conntrack_closed", IIFName), Counter, drop),
		from(IPSAddr, "conntrack4"), from(IP6SAddr, "conntrack6"),
	}}, Chain{Name: "conntrack_forward", Base: ForwardFilter, Rules: []Rule{
		rule("conntrack: network over its limit", New, in("conntrack_closed", OIFName), Counter, drop),
	}})
	r.Tables = slices.Clone(r.Tables)
	r.Tables[i] = t
	return r
}
