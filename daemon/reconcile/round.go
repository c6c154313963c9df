package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

// round is one turn of the loop. It keeps what the turn is about.
type round struct {
	*Engine
	full    bool
	asked   map[string]bool  // networks that somebody named
	entries []store.Entry    // all of them
	all     []netdrv.Network // of the entries, those that are meant to run first
	live    []netdrv.Network // those
	scope   []store.Entry    // those that this round is about
	scoped  map[string]bool  // their names
	gone    []string         // named, or known from before, and no longer stored
	failed  map[string]error
	// hindered are networks that are as declared, and do not work because of something
	// that is the host's.
	hindered map[string]error
	applied  bool
	ground   netdrv.Ground  // of built bridges
	indexes  map[string]int // of our links, by name, at the last look
}

func (e *Engine) round(ctx context.Context, w work) {
	e.turn.Lock()
	defer e.turn.Unlock()
	start := time.Now()
	r := &round{Engine: e, full: w.full, asked: w.names, entries: e.Store.List(), failed: map[string]error{}, hindered: map[string]error{}}
	r.all = make([]netdrv.Network, 0, len(r.entries))
	r.all = appendNetworks(r.all, r.entries, true)
	r.live = r.all[:len(r.all):len(r.all)]
	r.all = appendNetworks(r.all, r.entries, false)
	r.pick(w.names)
	if !r.full && r.aboutMacvtaps() {
		// They are found by their alias only.
		r.full = true
		r.pick(nil)
	}
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
	r.remember()
	took := time.Since(start)
	e.count(func(t *Tally) {
		t.Took += took
		if !r.full {
			t.Named++
			return
		}
		t.Full++
		e.pace.spend(took, time.Now())
	})
	e.log.Debug("round done", "full", r.full, "networks", len(r.scope), "took", took, "failed", len(r.failed))
}

// pick finds what the round is about.
func (r *round) pick(names map[string]bool) {
	stored := map[string]bool{}
	r.scope, r.gone, r.scoped = nil, nil, map[string]bool{}
	for _, entry := range r.entries {
		stored[entry.Network.Name] = true
		if r.full || names[entry.Network.Name] {
			r.scope, r.scoped[entry.Network.Name] = append(r.scope, entry), true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.bridges {
		if !stored[name] && (r.full || names[name]) {
			r.gone = append(r.gone, name)
		}
	}
}

// aboutMacvtaps reports whether a network in question has macvtaps, or may.
func (r *round) aboutMacvtaps() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.scope, func(e store.Entry) bool { return e.Network.Mode == netdrv.DirectLink }) ||
		slices.ContainsFunc(slices.Collect(maps.Values(r.links)), func(l netdrv.Link) bool {
			return l.Kind == netdrv.KindMacvtap && slices.Contains(r.gone, l.Network)
		})
}

// run makes the host as the networks of the round want it. A panic makes them degraded, as
// an error does, and the servers of all networks go on.
func (r *round) run(ctx context.Context) (err error) {
	defer limit.RecoverAs(r.log, limit.Guests, &err)
	was, mark := r.Members(), r.Leases.Mark()
	plans, err := r.plan(ctx)
	if err != nil {
		return err
	}
	r.tellLeases(mark)
	r.repairs(netdrv.Unasked(plans, netdrv.Newcomers(was, r.Members())))
	r.warnLeases(plans)
	r.withdraw()
	r.apply(ctx, plans, removals)
	if err := r.secure(ctx); err != nil {
		// Fail closed: no bridge comes up without its rules.
		return fmt.Errorf("firewall: %w", err)
	}
	if found := r.Firewall.Mended(); found != "" {
		r.repaired("", "firewall: "+found, []string{"nft -f: our tables, whole"})
	}
	r.apply(ctx, plans, additions)
	if r.applied {
		r.lookAgain(ctx)
	}
	if err := r.meetGuests(ctx); err != nil {
		r.log.Warn("guests of the tap broker are not known", "err", err)
	}
	r.serve()
	r.checkLeases()
	r.serveNamers()
	r.sweep(ctx)
	r.checkGround()
	return r.checkHost(ctx)
}

// plan observes and compares.
func (r *round) plan(ctx context.Context) ([]netdrv.Plan, error) {
	have, host, err := r.observe(ctx)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	r.indexes = map[string]int{}
	for _, l := range have.Links {
		r.indexes[l.Name] = l.Index
	}
	ports, suspended := r.ports(have) // which asks for the links of those that are gone
	members := r.learn(have)
	r.note(have)
	in := netdrv.Intent{Live: live(r.scope), Stopped: stopped(r.scope), Members: members, Ports: ports, Suspended: suspended}
	want := netdrv.Compile(in, host)
	if have, err = r.withSettings(have, want); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	plans := netdrv.Diff(want, have)
	if r.full { // else the host is as of an earlier look
		plans = append(netdrv.RaiseUplinks(in.Live, host), plans...)
	}
	return r.withBuilt(ctx, plans, members, have)
}

// observe looks at what the round is about. What the host has besides is known
// as of the last full look: its changes ask for another one.
func (r *round) observe(ctx context.Context) (netdrv.State, netdrv.Host, error) {
	if !r.full {
		have, err := r.Kernel.ObserveLinks(ctx, append(r.bridgesOf(), r.portLinks()...), r.guests())
		have, _ = netdrv.SplitOrphans(have, r.known())
		return r.inScope(have), r.Host(), err
	}
	have, host, err := r.lookAtAll(ctx)
	if err == nil {
		r.forgetRemoved(have)
	}
	return r.inScope(have), host, err
}

// guests are the indexes of the guests' links of the networks in scope.
func (r *round) guests() []int {
	var out []int
	for _, m := range r.Members() {
		if r.about(m.Network) {
			out = append(out, m.Index)
		}
	}
	return out
}

// inScope leaves out what the round is not about, and the links of networks
// whose definition cannot be read: nothing is removed on half an intent.
func (r *round) inScope(s netdrv.State) netdrv.State {
	broken := r.Store.Broken()
	mine := map[string]bool{}
	for _, link := range append(r.bridgesOf(), r.portLinks()...) {
		mine[link] = true
	}
	brokenPorts := r.Store.BrokenPorts()
	keep := func(link, network string) bool {
		return broken[network] == nil && brokenPorts[link] == nil && (r.full || link == "" || mine[link])
	}
	// Ifbs are looked for only with the link that they belong to.
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

// portLinks are the links of the ports that networks in scope have or had.
func (r *round) portLinks() []string {
	out := map[string]bool{}
	for _, p := range r.Store.Ports() {
		if r.about(p.Network) {
			out[p.Link] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, l := range r.links {
		if r.about(l.Network) || slices.Contains(r.gone, l.Network) {
			out[name] = true
		}
	}
	return slices.Collect(maps.Keys(out))
}

// bridgesOf are the bridges that the networks in scope have or had.
func (r *round) bridgesOf() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, entry := range r.scope {
		if name := entry.Network.Bridge.Name; name != "" {
			out = append(out, name)
		}
		if had := r.bridges[entry.Network.Name]; had != "" && had != entry.Network.Bridge.Name {
			out = append(out, had)
		}
	}
	for _, name := range r.gone {
		out = append(out, r.bridges[name])
	}
	return out
}

// removals and additions are the two halves of a plan, with the firewall
// between them: a bridge goes before its rules do, and comes after.
func removals(s netdrv.Step) bool  { return netdrv.Withdraws(s) }
func additions(s netdrv.Step) bool { return !removals(s) }

// apply runs the chosen steps. A plan ends at its first failure, other plans
// go on; a failure of the host's plan is everybody's.
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
		r.count(func(t *Tally) { t.Steps++ })
		r.log.Info("step applied", "network", p.Network, "step", s.String())
	}
	return nil
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

// lookAgain asks the kernel whether it took what was applied.
func (r *round) lookAgain(ctx context.Context) {
	plans, err := r.plan(ctx)
	if err != nil {
		r.fail("", err)
		return
	}
	for _, p := range plans {
		if r.failed[p.Network] == nil {
			r.fail(p.Network, fmt.Errorf("the kernel did not take: %s", p.Steps[0]))
		}
	}
}

// withdraw ends the services of what is not to run.
func (r *round) withdraw() {
	for _, entry := range r.scope {
		if !entry.Live {
			r.unserve(entry.Network.Name)
		}
	}
	for _, name := range r.gone {
		r.unserve(name)
	}
}

func (r *round) unserve(name string) {
	r.DHCP.Remove(name)
	delete(r.dhcp, name)
	r.DNS.Remove(name)
	delete(r.dns, name)
	r.Boot.Remove(name)
	r.Proxy.Remove(name)
}

// serve gives DHCP, DNS and boot files their configuration, once the links stand.
// DHCP and DNS know nothing of each other, and each takes as long as the other to
// open its sockets: they do it side by side.
func (r *round) serve() {
	networks := r.standing()
	dhcp, others := make([]error, len(networks)), make([]error, len(networks))
	var both sync.WaitGroup
	both.Go(func() {
		for i, n := range networks {
			dhcp[i] = r.serveDHCP(n)
		}
	})
	for i, n := range networks {
		others[i] = errors.Join(r.serveDNS(n), r.serveBoot(n), r.serveForwards(n))
	}
	both.Wait()
	for i, n := range networks {
		if err := errors.Join(dhcp[i], others[i]); err != nil {
			r.fail(n.Name, err)
		}
	}
}

// standing are the networks of the round that are up without a failure.
func (r *round) standing() []*netdrv.Network {
	var out []*netdrv.Network
	for i := range r.scope {
		if e := &r.scope[i]; e.Live && r.failed[e.Network.Name] == nil {
			out = append(out, &e.Network)
		}
	}
	return out
}

// checkHost finds what has come between a live network and its host: a link that
// is missing, a prefix that somebody else uses by now.
func (r *round) checkHost(ctx context.Context) error {
	host, err := r.FreshHost(ctx)
	if err != nil {
		return err
	}
	for _, n := range r.standing() {
		if fs := netdrv.HostConflicts(n, host); fs != nil {
			r.fail(n.Name, fs)
		}
	}
	return r.checkUplinks(host)
}

// remember keeps the links' names for the round in which a network is gone.
func (r *round) remember() {
	for _, name := range r.gone {
		r.forget(name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range r.scope {
		r.bridges[entry.Network.Name] = entry.Network.Bridge.Name
	}
}

func live(entries []store.Entry) []netdrv.Network    { return appendNetworks(nil, entries, true) }
func stopped(entries []store.Entry) []netdrv.Network { return appendNetworks(nil, entries, false) }

func appendNetworks(out []netdrv.Network, entries []store.Entry, live bool) []netdrv.Network {
	for i := range entries {
		if entries[i].Live == live {
			out = append(out, entries[i].Network)
		}
	}
	return out
}
