package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

// A round is one pass of the loop.
type round struct {
	*Engine
	full    bool
	asked   map[string]bool         // networks that were named
	entries []store.Entry           // all
	all     []netdrv.Network        // of the entries, the active ones first
	active  []netdrv.Network        // those
	scope   []store.Entry           // that the round is about
	scoped  map[string]*store.Entry // by name
	gone    []string                // networks of earlier rounds that are not stored any more
	failed  map[string]error
	// hindered are networks that are as declared, and do not work because of the host's own
	// configuration.
	hindered map[string]error
	applied  bool // a step
}

// newRound returns a round about the named networks of entries, or about all.
func (e *Engine) newRound(entries []store.Entry, full bool, names map[string]bool) *round {
	r := &round{Engine: e, full: full, asked: names, entries: entries, failed: map[string]error{}, hindered: map[string]error{}}
	r.all = appendNetworks(make([]netdrv.Network, 0, len(entries)), entries, true)
	r.active = r.all[:len(r.all):len(r.all)]
	r.all = appendNetworks(r.all, entries, false)
	r.choose()
	if !full && r.hasMacvtaps() { // they are found by their alias only, in a full observation
		r.full = true
		r.choose()
	}
	return r
}

// choose sets what the round is about.
func (r *round) choose() {
	stored := map[string]bool{}
	r.scope, r.gone, r.scoped = nil, nil, map[string]*store.Entry{}
	for i := range r.entries {
		entry := &r.entries[i]
		stored[entry.Network.Name] = true
		if r.full || r.asked[entry.Network.Name] {
			r.scope, r.scoped[entry.Network.Name] = append(r.scope, *entry), entry
		}
	}
	r.networks.mu.Lock()
	defer r.networks.mu.Unlock()
	for name := range r.networks.bridges {
		if !stored[name] && (r.full || r.asked[name]) {
			r.gone = append(r.gone, name)
		}
	}
}

func (r *round) about(network string) bool { return r.scoped[network] != nil }

// hasMacvtaps reports whether a network of the round has macvtaps, or may have.
func (r *round) hasMacvtaps() bool {
	r.ports.mu.Lock()
	defer r.ports.mu.Unlock()
	for _, l := range r.ports.links {
		if l.Kind == netdrv.KindMacvtap && slices.Contains(r.gone, l.Network) {
			return true
		}
	}
	return slices.ContainsFunc(r.scope, func(e store.Entry) bool { return e.Network.Mode == netdrv.DirectLink })
}

func (e *Engine) round(ctx context.Context, w work) {
	e.roundMu.Lock()
	defer e.roundMu.Unlock()
	start := time.Now()
	r := e.newRound(e.Store.List(), w.full, w.names)
	if !r.full && len(r.scope) == 0 && len(r.gone) == 0 {
		return
	}
	if err := r.run(ctx); err != nil {
		for _, entry := range r.scope {
			r.failed[entry.Network.Name] = err
		}
	}
	for _, entry := range r.scope {
		r.conclude(entry, r.failed[entry.Network.Name], r.hindered[entry.Network.Name])
	}
	for _, name := range r.gone {
		r.forget(name)
	}
	took := time.Since(start)
	e.networks.count(func(s *Stats) {
		s.Took += took
		if r.full {
			s.Full++
		} else {
			s.Named++
		}
	})
	if r.full {
		e.queue.spend(took)
	}
	e.log.Debug("round done", "full", r.full, "networks", len(r.scope), "took", took, "failed", len(r.failed))
}

// run makes the host as the networks of the round want it. A panic makes them degraded, as
// an error does, and the servers of all networks go on.
func (r *round) run(ctx context.Context) (err error) {
	defer limit.RecoverAs(r.log, limit.Guests, &err)
	mark := r.Leases.Mark()
	p, err := r.plan(ctx)
	if err != nil {
		return err
	}
	newcomers := r.record(p)
	r.setLeasePorts(p, mark)
	r.reportRepairs(netdrv.ExternalChanges(p.plans, newcomers))
	for _, plan := range p.plans {
		for _, s := range plan.Steps {
			if add, ok := s.(netdrv.ObjectAdd); ok && add.Object.Leased && !add.Back {
				r.log.Warn("a leased address moves; have the host's DHCP client use the bridge", "network", plan.Network,
					"address", add.Object.Key, "from", add.Object.Link, "to", add.To)
			}
		}
	}
	for _, entry := range r.scope {
		if !entry.Live {
			r.servers.remove(entry.Network.Name)
		}
	}
	for _, name := range r.gone {
		r.servers.remove(name)
	}
	// A bridge is removed before its rules, and added after them.
	r.apply(ctx, p.plans, netdrv.Step.Removes)
	if err := r.rules.apply(ctx, r.active); err != nil {
		// Fail closed: no bridge comes up without its rules.
		return fmt.Errorf("firewall: %w", err)
	}
	r.reportFirewallRepair()
	r.apply(ctx, p.plans, func(s netdrv.Step) bool { return !s.Removes() })
	if r.applied {
		p = r.verify(ctx, p)
	}
	if err := r.identify(ctx); err != nil {
		r.log.Warn("MACs of transient ports not read", "err", err)
	}
	r.serve(p)
	if err := r.Leases.Storing(); err != nil {
		for _, n := range r.working() {
			if slices.ContainsFunc(n.Subnets, func(s netdrv.Subnet) bool { return s.DHCP != nil && (!s.IsIPv6() || s.Stateful()) }) {
				r.fail(n.Name, fmt.Errorf("leases cannot be stored: %w; clients keep the leases that they have, and new ones get none until they can be", err))
			}
		}
	}
	r.updatePeersOf(p)
	for _, route := range p.spent {
		s := netdrv.PlaceholderDel{Route: route}
		if err := r.Kernel.Apply(ctx, s); err != nil {
			r.log.Warn("placeholder route not removed", "err", err)
			continue
		}
		r.log.Info("step applied", "step", s.String())
	}
	for i := range r.scope {
		n := &r.scope[i].Network
		if fs := netdrv.UplinkConflicts(n, p.ground); fs != nil && r.scope[i].Live && r.failed[n.Name] == nil {
			r.fail(n.Name, fs)
		}
	}
	return r.checkHost(ctx)
}

// apply applies the chosen steps. A plan ends at its first failure, and the others go on; a
// failure of the host's plan is one of all networks.
func (r *round) apply(ctx context.Context, plans []netdrv.Plan, chosen func(netdrv.Step) bool) {
	for _, p := range plans {
		if err := r.applyPlan(ctx, p, chosen); err != nil {
			r.fail(p.Network, err)
			r.moveBack(ctx, p)
		}
	}
}

func (r *round) applyPlan(ctx context.Context, p netdrv.Plan, chosen func(netdrv.Step) bool) error {
	for _, s := range p.Steps {
		if !chosen(s) {
			continue
		}
		if err := r.Kernel.Apply(ctx, s); err != nil {
			return err
		}
		r.applied = true
		r.networks.count(func(s *Stats) { s.Steps++ })
		r.log.Info("step applied", "network", p.Network, "step", s.String())
	}
	return nil
}

// moveBack undoes the creation of a bridge that failed half-way: the host's addresses are
// on the uplinks again until the next attempt.
func (r *round) moveBack(ctx context.Context, p netdrv.Plan) {
	ctx = context.WithoutCancel(ctx)
	for _, s := range p.Steps {
		add, ok := s.(netdrv.LinkAdd)
		if !ok || add.Link.Uplinks == "" {
			continue
		}
		g, err := r.Kernel.ObserveUplinks(ctx, []string{add.Link.Name})
		for _, back := range netdrv.PlanUplinkBridges(netdrv.UplinkBridges{}, g) {
			err = errors.Join(err, r.applyPlan(ctx, back, func(netdrv.Step) bool { return true }))
		}
		if err != nil {
			r.log.Error("host's addresses not moved back", "network", p.Network, "err", err)
		}
	}
}

func (r *round) fail(network string, err error) {
	if network != "" {
		r.failed[network] = errors.Join(r.failed[network], err)
		return
	}
	for _, entry := range r.scope {
		if entry.Live && entry.Network.Mode.Forwards() {
			r.fail(entry.Network.Name, err)
		}
	}
}

// verify plans again, after steps were applied: the kernel must have taken all.
func (r *round) verify(ctx context.Context, before *plan) *plan {
	p, err := r.plan(ctx)
	if err != nil {
		r.fail("", err)
		return before
	}
	r.record(p)
	for _, plan := range p.plans {
		if r.failed[plan.Network] == nil {
			r.fail(plan.Network, fmt.Errorf("the kernel did not take: %s", plan.Steps[0]))
		}
	}
	return p
}

// serve configures DHCP, DNS, boot files and proxies, once the links are up. DHCP is
// independent of the others, and each takes as long as the others to open its sockets: they
// are configured concurrently.
func (r *round) serve(p *plan) {
	networks := r.working()
	dhcp, others := make([]error, len(networks)), make([]error, len(networks))
	var both sync.WaitGroup
	both.Go(func() {
		for i, n := range networks {
			dhcp[i] = r.servers.serveDHCP(n, p.indexes[n.Bridge.Name], p.host)
		}
	})
	for i, n := range networks {
		others[i] = errors.Join(
			r.servers.serveDNS(n, p.indexes[n.Bridge.Name], r.active), r.servers.serveBoot(n), r.servers.serveForwards(n, r.rules.resolve(n)))
	}
	both.Wait()
	for i, n := range networks {
		if err := errors.Join(dhcp[i], others[i]); err != nil {
			r.fail(n.Name, err)
		}
	}
}

// updatePeersOf reconfigures the DNS of networks that list a network of this round as a peer.
func (r *round) updatePeersOf(p *plan) {
	for i := range r.entries {
		e := &r.entries[i]
		peers := slices.ContainsFunc(e.Network.DNS.Peers, func(p string) bool { return r.about(p) || slices.Contains(r.gone, p) })
		if !peers || !e.Live || r.about(e.Network.Name) {
			continue
		}
		if err := r.servers.serveDNS(&e.Network, p.indexes[e.Network.Bridge.Name], r.active); err != nil {
			r.log.Error("names of a peer not updated", "network", e.Network.Name, "err", err)
		}
	}
}

// working returns the active networks of the round that have not failed.
func (r *round) working() []*netdrv.Network {
	var out []*netdrv.Network
	for i := range r.scope {
		if e := &r.scope[i]; e.Live && r.failed[e.Network.Name] == nil {
			out = append(out, &e.Network)
		}
	}
	return out
}

// checkHost finds conflicts of active networks with the host that have appeared since they
// were started: an interface that is missing, a prefix that another program uses.
func (r *round) checkHost(ctx context.Context) error {
	host, err := r.FreshHost(ctx)
	if err != nil {
		return err
	}
	for _, n := range r.working() {
		if fs := netdrv.HostConflicts(n, host); fs != nil {
			r.fail(n.Name, fs)
		}
	}
	values := map[string]string{}
	setting := func(key string) string {
		if _, read := values[key]; !read {
			got, failed := r.Kernel.Sysctls([]string{key})
			err = errors.Join(err, failed)
			values[key] = got[key]
		}
		return values[key]
	}
	for _, n := range r.working() {
		if why := netdrv.UplinkProblems(n, host, setting); why != nil {
			r.hindered[n.Name] = why
		}
	}
	return err
}

func appendNetworks(out []netdrv.Network, entries []store.Entry, active bool) []netdrv.Network {
	for i := range entries {
		if entries[i].Live == active {
			out = append(out, entries[i].Network)
		}
	}
	return out
}
