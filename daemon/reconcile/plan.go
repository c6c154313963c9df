package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// A plan is what a round has observed, and what it is to do. Computing it changes nothing.
type plan struct {
	observed   *observation // of a full round, and the networks and links that it has
	networks   map[string]bool
	ours       map[string]bool
	have       netdrv.State // what is ours and in scope
	host       netdrv.Host
	was        []netdrv.Member // before
	members    []netdrv.Member
	links      map[string]netdrv.Link // of ports
	dropped    []droppedPort
	suspended  []suspension          // that are new
	tamperings map[string]tampering  // of declared ports, by link
	ground     netdrv.UplinkSnapshot // of bridges on uplinks
	held       map[string]held
	indexes    map[string]int     // of our links, by name
	spent      []netdrv.LinkRoute // placeholders that are not needed any more
	plans      []netdrv.Plan
}

// plan observes the host, and computes what is to be done.
func (r *round) plan(ctx context.Context) (*plan, error) {
	p := &plan{indexes: map[string]int{}}
	if r.full {
		o, err := r.hosts.observe(ctx)
		if err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
		p.observed, p.have, p.host = &o, o.have, o.host
		p.spent, p.networks, p.ours = o.host.StalePlaceholders, map[string]bool{}, map[string]bool{}
		for _, l := range o.have.Links {
			p.networks[l.Network], p.ours[l.Name] = true, true
		}
	} else {
		// The host's own is as of the last full observation: its changes request another.
		have, err := r.Kernel.ObserveLinks(ctx, r.linkNames(), r.memberIndexes())
		if err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
		p.have, _ = netdrv.SplitOrphans(have, r.hosts.known())
		p.host = r.hosts.get()
	}
	p.have = r.inScope(p.have)
	for _, l := range p.have.Links {
		p.indexes[l.Name] = l.Index
	}
	kept, dropped := r.keptPorts(p.have, p.host)
	p.dropped, p.links, p.was = dropped, r.portLinks(p.have), r.ports.list()
	p.members = r.learn(p.was, p.have)
	in := netdrv.Intent{Live: appendNetworks(nil, r.scope, true), Stopped: appendNetworks(nil, r.scope, false), Members: p.members, Ports: kept, Suspended: r.suspensions(p, kept)}
	want := netdrv.Compile(in, p.host)
	have, err := withSettings(r.Kernel, p.have, want)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	p.plans = netdrv.Diff(want, have)
	if r.full { // else the host is as of an earlier observation
		p.plans = append(netdrv.RaiseUplinks(in.Live, p.host), p.plans...)
	}
	return p, r.planBuilt(ctx, p, netdrv.UplinkBridges{Live: in.Live, Members: p.members, Have: have})
}

// planBuilt adds bridges on uplinks to a plan: netdrv.Diff does not know what the host has
// on them.
func (r *round) planBuilt(ctx context.Context, p *plan, b netdrv.UplinkBridges) (err error) {
	var names []string
	built := map[string]bool{}
	for i := range b.Live {
		n := &b.Live[i]
		if built[n.Bridge.Name] = n.HasUplinkBridge(); n.HasUplinkBridge() {
			names = append(append(names, n.Bridge.Name), n.Bridge.Uplinks...)
		}
	}
	for _, l := range b.Have.Links {
		if l.Uplinks != "" {
			names, built[l.Name] = append(names, l.Name), true
		}
	}
	if len(names) > 0 {
		if p.ground, err = r.Kernel.ObserveUplinks(ctx, names); err != nil {
			return err
		}
	}
	p.held = r.restoreHeld(&p.ground)
	var plans []netdrv.Plan
	for _, d := range p.plans { // netdrv.PlanUplinkBridges removes its bridges
		d.Steps = slices.DeleteFunc(d.Steps, func(s netdrv.Step) bool {
			del, ok := s.(netdrv.LinkDel)
			return ok && built[del.Name]
		})
		if len(d.Steps) > 0 {
			plans = append(plans, d)
		}
	}
	if p.plans = plans; len(names) > 0 {
		p.plans = append(p.plans, netdrv.PlanUplinkBridges(b, p.ground)...)
	}
	return nil
}

// held is what was on a network's bridge.
type held struct {
	bridge   string
	holdings []netdrv.HostObject
}

// restoreHeld adds to what was observed what was on a bridge that another program deleted with
// the host's addresses on it: the kernel drops them, and nothing else knows them. It returns what
// is on bridges now.
func (r *round) restoreHeld(g *netdrv.UplinkSnapshot) map[string]held {
	r.hosts.mu.Lock()
	all := maps.Clone(r.hosts.held)
	r.hosts.mu.Unlock()
	for _, name := range r.gone {
		delete(all, name)
	}
	for i := range r.scope {
		n := &r.scope[i].Network
		_, exists := g.Links[n.Bridge.Name]
		switch {
		case !r.scope[i].Live || !n.HasUplinkBridge():
			delete(all, n.Name)
		case exists:
			all[n.Name] = held{n.Bridge.Name, g.On(n.Bridge.Name)}
		case all[n.Name].bridge == n.Bridge.Name:
			g.Restore(all[n.Name].holdings, n.Bridge.Uplinks[0])
		}
	}
	return all
}

// learn returns the members as of an observation of what the round is about.
func (r *round) learn(was []netdrv.Member, have netdrv.State) []netdrv.Member {
	now, seen := netdrv.UpdateMembers(was, have, r.all, r.full), r.Kernel.StoredMACs()
	for i := range now {
		now[i].LearnedMAC = seen[now[i].Index]
	}
	return now
}

// memberIndexes returns the indexes of the guests' links of the networks in scope.
func (r *round) memberIndexes() []int {
	var out []int
	for _, m := range r.ports.list() {
		if r.about(m.Network) {
			out = append(out, m.Index)
		}
	}
	return out
}

// linkNames returns the bridges and the links of ports that networks in scope have or had.
func (r *round) linkNames() []string {
	out := map[string]bool{}
	for _, p := range r.Store.Ports() {
		if r.about(p.Network) {
			out[p.Link] = true
		}
	}
	r.ports.mu.Lock()
	for name, l := range r.ports.links {
		if r.about(l.Network) || slices.Contains(r.gone, l.Network) {
			out[name] = true
		}
	}
	r.ports.mu.Unlock()
	r.networks.mu.Lock()
	defer r.networks.mu.Unlock()
	for i := range r.scope {
		n := &r.scope[i].Network
		out[n.Bridge.Name], out[r.networks.bridges[n.Name]] = true, true
	}
	for _, name := range r.gone {
		out[r.networks.bridges[name]] = true
	}
	delete(out, "")
	return slices.Collect(maps.Keys(out))
}

// inScope leaves out what the round is not about, and the links of networks with a
// definition that cannot be read: they are not changed.
func (r *round) inScope(s netdrv.State) netdrv.State {
	broken, brokenPorts := r.Store.Broken(), r.Store.BrokenPorts()
	mine := map[string]bool{}
	for _, link := range r.linkNames() {
		mine[link] = true
	}
	keep := func(link, network string) bool {
		return broken[network] == nil && brokenPorts[link] == nil && (r.full || link == "" || mine[link])
	}
	// Ifbs are observed only with the link that they belong to.
	owner := netdrv.PortOwners(s)
	foreign := func(link string) bool { return broken[owner[link]] != nil }
	s.Queues = slices.DeleteFunc(s.Queues, func(q netdrv.Queue) bool { return foreign(q.Link) })
	s.Redirects = slices.DeleteFunc(s.Redirects, func(d netdrv.Redirect) bool { return foreign(d.Link) })
	s.Links = slices.DeleteFunc(s.Links, func(l netdrv.Link) bool {
		return foreign(l.Name) || l.Kind != netdrv.KindIfb && !keep(l.Name, l.Network)
	})
	s.Addrs = slices.DeleteFunc(s.Addrs, func(a netdrv.Addr) bool { return !keep(a.Link, a.Network) })
	s.Sysctls = slices.DeleteFunc(s.Sysctls, func(c netdrv.Sysctl) bool { return !keep(c.Link, c.Network) })
	return s
}

// record records what a plan has observed, and drops ports that it drops. It returns the
// members that are new.
func (r *round) record(p *plan) map[string]bool {
	if p.observed != nil {
		r.setHost(*p.observed)
		// Deletions that have reached the host are done.
		if err := r.Store.ForgetRemoved(p.networks, p.ours); err != nil {
			r.log.Warn("completed deletions stay recorded in the runtime directory", "err", err)
		}
	}
	r.hosts.mu.Lock()
	r.hosts.held = p.held
	r.hosts.mu.Unlock()
	for _, d := range p.dropped {
		r.drop(d)
	}
	r.setSuspended(p)
	r.setPorts(p)
	return netdrv.NewPortLinks(p.was, p.members)
}

// Plan returns what Reconcile would do to the host if n were stored and active, as commands
// that ip(8) takes, in order.
func (e *Engine) Plan(ctx context.Context, n *netdrv.Network) ([]string, error) {
	entries := slices.Clone(e.Store.List())
	i := slices.IndexFunc(entries, func(e store.Entry) bool { return e.Network.Name == n.Name })
	if i < 0 {
		i = len(entries)
		entries = append(entries, store.Entry{})
	}
	entries[i].Network, entries[i].Live = *n, true
	p, err := e.newRound(entries, false, map[string]bool{n.Name: true}).plan(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, warning := range netdrv.LeasedAddresses(n, p.ground) {
		out = append(out, "# "+warning)
	}
	for _, p := range p.plans {
		if p.Network != "" && p.Network != n.Name {
			continue // in a full round
		}
		for _, s := range p.Steps {
			out = append(out, s.String())
		}
	}
	return out, nil
}
