package firewall

import (
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Compile returns the ruleset of the networks that are up. They must be complete and valid,
// and no two may share a bridge; their order does not matter. Without a network that needs
// rules there is no table: a single ct expression makes the kernel track every connection of
// the host.
//
// The ports are those of guests on the networks' bridges. Their rules are in a table of
// their own, which exists if a network has a filter.
func Compile(networks []netdrv.Network, ports ...Port) Ruleset {
	ns := classify(networks)
	inet := Table{
		Family: INet, Name: TableName,
		Sets:   slices.Concat(forwardSets(ns), hostSets(ns), natSets(ns), publishSets(ns), []Set{refusedSet(ports)}),
		Chains: slices.Concat(forwardChains(), hostChains(), natChains(ns), publishChains(), refusedChains()),
	}
	return Ruleset{}.with(inet).with(bridgeTable(ns, ports))
}

// WithPorts returns r, which Compile made of the same networks, with other ports. These must
// reject something if the others did. Its cost follows the number of ports, and networks
// without a filter cost nothing.
func (r Ruleset) WithPorts(networks []netdrv.Network, ports ...Port) Ruleset {
	var out Ruleset
	for _, t := range r.Tables {
		if t.Family != Bridge {
			out.Tables = append(out.Tables, t)
		}
	}
	return out.with(bridgeTable(classify(networks), ports))
}

// with adds a table if a packet can reach it.
func (r Ruleset) with(t Table) Ruleset {
	if t = t.inUse(); len(t.Chains) > 0 {
		r.Tables = append(r.Tables, t)
	}
	return r
}

// classified holds the networks by the rules that they need.
type classified struct {
	all     []*netdrv.Network // with a bridge of vnetd's
	guarded []*netdrv.Network // all but open ones
	routed  []*netdrv.Network // nat and route: packets pass, if the addresses are right
	nat     []*netdrv.Network
	limited []*netdrv.Network // with limited access to the host
}

// classify sorts, so that most sets are in order as they are made. In modes bridge and
// direct the host is no router, and there are no rules for the network.
func classify(networks []netdrv.Network) classified {
	var c classified
	for i := range networks {
		if n := &networks[i]; n.Mode != netdrv.ExistingBridge && n.Mode != netdrv.DirectLink {
			c.all = append(c.all, n)
		}
	}
	slices.SortFunc(c.all, func(a, b *netdrv.Network) int {
		x, y := name(a.Bridge.Name), name(b.Bridge.Name)
		return compareBackwards(&x, &y)
	})
	for _, n := range c.all {
		if n.Mode != netdrv.Open {
			c.guarded = append(c.guarded, n)
		}
		if n.Mode == netdrv.NAT || n.Mode == netdrv.Route {
			c.routed = append(c.routed, n)
		}
		if n.Mode == netdrv.NAT {
			c.nat = append(c.nat, n)
		}
		if n.Mode != netdrv.Open && n.HostAccess.Limited && !n.VeryIsolated() {
			c.limited = append(c.limited, n)
		}
	}
	return c
}

// inUse returns t with the chains that a packet can reach, and the sets that they use. A
// base chain without effect is left out, so that its hook costs nothing.
func (t Table) inUse() Table {
	u := use{table: t, chains: map[string]bool{}, sets: map[string]bool{}}
	for _, c := range t.Chains {
		if c.Base != NotBase && u.effective(c) {
			u.chain(c)
		}
	}
	t.Chains = slices.DeleteFunc(slices.Clone(t.Chains), func(c Chain) bool { return !u.chains[c.Name] })
	t.Sets = slices.DeleteFunc(slices.Clone(t.Sets), func(s Set) bool { return !u.sets[s.Name] })
	for i := range t.Sets {
		t.Sets[i] = t.Sets[i].sorted()
	}
	return t
}

// use collects the chains and sets that packets reach.
type use struct {
	table        Table
	chains, sets map[string]bool
}

// effective reports whether some rule of the chain can match: all sets that it looks up have
// elements, and there is one, or a chain to which it leads is effective.
func (u use) effective(c Chain) bool {
	return slices.ContainsFunc(c.Rules, func(r Rule) bool {
		effective := false
		for _, e := range r.Exprs {
			set := setOf(e)
			if in, ok := e.(InSet); ok && in.Not {
				set = ""
			}
			if s, ok := find(u.table.Sets, set, setName); ok && len(s.Elements) > 0 {
				effective = true
			} else if set != "" {
				return false
			}
			if v, ok := e.(Verdict); ok {
				to, _ := find(u.table.Chains, v.Chain, chainName)
				effective = effective || u.effective(to)
			}
		}
		return effective
	})
}

// setOf returns the set or map that an expression looks up; "" for others.
func setOf(e Expr) string {
	switch e := e.(type) {
	case ByMap:
		return e.Map
	case DNAT:
		return e.Map
	case InSet:
		return e.Set
	}
	return ""
}

// chain adds a chain and those to which it leads.
func (u use) chain(c Chain) {
	if u.chains[c.Name] {
		return
	}
	u.chains[c.Name] = true
	follow := func(v Verdict) {
		if to, ok := find(u.table.Chains, v.Chain, chainName); ok {
			u.chain(to)
		}
	}
	for _, r := range c.Rules {
		for _, e := range r.Exprs {
			u.sets[setOf(e)] = true
			switch e := e.(type) {
			case AddTo:
				u.sets[e.Set] = true
			case Verdict:
				follow(e)
			case ByMap:
				s, _ := find(u.table.Sets, e.Map, setName)
				for i := range s.Elements {
					if v := s.Elements[i].Verdict; v.Chain != "" && !u.chains[v.Chain] {
						follow(v)
					}
				}
			}
		}
	}
}
