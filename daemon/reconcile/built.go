package reconcile

import (
	"context"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// withBuilt adds what bridges on uplinks need to the plans, which know nothing
// of what the host has on them.
func (r *round) withBuilt(ctx context.Context, plans []netdrv.Plan, members []netdrv.Member, have netdrv.State) ([]netdrv.Plan, error) {
	more, ground, err := builtPlans(ctx, r.Kernel, netdrv.Building{Live: live(r.scope), Members: members, Have: have}, r.recall)
	r.ground = ground
	return append(withoutBuilt(plans, live(r.scope), have), more...), err
}

// held is what was on a network's bridge.
type held struct {
	bridge   string
	holdings []netdrv.Holding
}

// recall gives back what was on a bridge that somebody deleted, with the host's
// addresses on it: the kernel forgets them, and this is the one thing about the
// host that nothing else knows. It is as of the last look, and only for bridges
// that are to stand.
func (r *round) recall(g *netdrv.Ground) {
	for _, name := range r.gone {
		delete(r.held, name)
	}
	for _, entry := range r.scope {
		n := &entry.Network
		_, stands := g.Links[n.Bridge.Name]
		switch {
		case !entry.Live || !n.Built():
			delete(r.held, n.Name)
		case stands:
			r.held[n.Name] = held{n.Bridge.Name, g.On(n.Bridge.Name)}
		case r.held[n.Name].bridge == n.Bridge.Name:
			g.Recall(r.held[n.Name].holdings, n.Bridge.Uplinks[0])
		}
	}
}

func builtPlans(ctx context.Context, k Kernel, b netdrv.Building, adjust func(*netdrv.Ground)) ([]netdrv.Plan, netdrv.Ground, error) {
	var names []string
	for i := range b.Live {
		if n := &b.Live[i]; n.Built() {
			names = append(append(names, n.Bridge.Name), n.Bridge.Uplinks...)
		}
	}
	for _, l := range b.Have.Links {
		if l.Uplinks != "" {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		adjust(&netdrv.Ground{})
		return nil, netdrv.Ground{}, nil
	}
	g, err := k.ObserveGround(ctx, names)
	if err != nil {
		return nil, g, err
	}
	adjust(&g)
	return netdrv.Build(b, g), g, nil
}

// withoutBuilt leaves it to netdrv.Build to remove its bridges.
func withoutBuilt(plans []netdrv.Plan, live []netdrv.Network, have netdrv.State) []netdrv.Plan {
	built := map[string]bool{}
	for i := range live {
		built[live[i].Bridge.Name] = live[i].Built()
	}
	for _, l := range have.Links {
		built[l.Name] = built[l.Name] || l.Uplinks != ""
	}
	var out []netdrv.Plan
	for _, p := range plans {
		p.Steps = slices.DeleteFunc(p.Steps, func(s netdrv.Step) bool {
			del, ok := s.(netdrv.LinkDel)
			return ok && built[del.Name]
		})
		if len(p.Steps) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// moveBack undoes the building of a bridge that failed half-way: what the host
// has is where it was, until the next try.
func (r *round) moveBack(ctx context.Context, p netdrv.Plan) {
	bridge := ""
	for _, s := range p.Steps {
		if add, ok := s.(netdrv.LinkAdd); ok && add.Link.Uplinks != "" {
			bridge = add.Link.Name
		}
	}
	if bridge == "" {
		return
	}
	g, err := r.Kernel.ObserveGround(context.WithoutCancel(ctx), []string{bridge})
	if err != nil {
		r.log.Error("host's addresses not moved back", "network", p.Network, "err", err)
		return
	}
	for _, back := range netdrv.Build(netdrv.Building{}, g) {
		if err := r.applyPlan(context.WithoutCancel(ctx), back, func(netdrv.Step) bool { return true }); err != nil {
			r.log.Error("host's addresses not moved back", "network", p.Network, "err", err)
		}
	}
}

// warnLeases tells of addresses that are moved away from under their client.
func (r *round) warnLeases(plans []netdrv.Plan) {
	for _, p := range plans {
		for _, s := range p.Steps {
			if add, ok := s.(netdrv.HoldingAdd); ok && add.Holding.Leased && !add.Back {
				r.log.Warn("a leased address moves; have the host's DHCP client use the bridge", "network", p.Network,
					"address", add.Holding.Key, "from", add.Holding.Link, "to", add.To)
			}
		}
	}
}

// checkGround finds what of the host could not come along.
func (r *round) checkGround() {
	for _, entry := range r.scope {
		n := &entry.Network
		if fs := netdrv.GroundConflicts(n, r.ground); fs != nil && entry.Live && r.failed[n.Name] == nil {
			r.fail(n.Name, fs)
		}
	}
}

// sweep removes what stood for a route that the host was to learn again, on an
// uplink that no network has any more.
func (r *round) sweep(ctx context.Context) {
	if !r.full {
		return
	}
	for _, route := range r.Host().Spent {
		s := netdrv.SpentDel{Route: route}
		if err := r.Kernel.Apply(ctx, s); err != nil {
			r.log.Warn("a route that is not needed any more stays", "err", err)
			continue
		}
		r.log.Info("step applied", "step", s.String())
	}
}
