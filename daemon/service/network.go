package service

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/netdrv"
)

// Network is a network with its state.
type Network = event.Network

// A Definition is a network as a client defines it.
type Definition struct {
	netdrv.Network
	// Autostart is nil where the client leaves it to the daemon.
	Autostart *bool
	// Unread is what the protocol could not translate, by field.
	Unread netdrv.Findings
}

// Options are how a definition is to be applied.
type Options struct {
	// NoStart stores a new network without starting it.
	NoStart bool
	// DryRun checks and plans, and changes nothing.
	DryRun bool
	// AllowMissing creates a network that is to be updated and does not exist.
	AllowMissing bool
	// Revision is the stored revision that an update is based on, 0 for any.
	Revision int64
	// ConfirmWithin, if not 0, rolls a change of the host's addresses back unless it is
	// confirmed in that time.
	ConfirmWithin time.Duration
}

// Result is what a change did, or would do with Options.DryRun.
type Result struct {
	Network Network
	Before  *netdrv.Network // the definition that was replaced; nil if there was none
	Changed bool
	Plan    []string // commands, as ip(8) takes them
}

// Networks returns all networks, sorted by name, without counters.
func (s *Service) Networks() []Network {
	var out []Network
	entries, learned := s.Store.List(), s.learned()
	for i := range entries {
		out = append(out, s.viewOf(&entries[i], learned))
	}
	return out
}

// Network returns one network, without counters.
func (s *Service) Network(name string) (Network, error) {
	e, ok := s.Store.Get(name)
	if !ok {
		return Network{}, s.missing(name)
	}
	return s.view(&e), nil
}

// view is an entry with its state.
func (s *Service) view(e *store.Entry) Network { return s.viewOf(e, s.learned()) }

// learned returns the number of links of each network that vnetd did not make.
func (s *Service) learned() map[string]int {
	out := map[string]int{}
	for _, m := range s.Engine.Learned() {
		out[m.Network]++
	}
	return out
}

func (s *Service) viewOf(e *store.Entry, learned map[string]int) Network {
	name := e.Network.Name
	n := Network{
		Network: &e.Network, Revision: e.Revision, Active: e.Live, Status: s.Engine.Status(name),
		Leases: s.countLeases(name), Ports: len(s.Store.PortsOf(name)) + learned[name],
	}
	if t, waits := s.Store.Trial(name); waits {
		n.ConfirmBy = time.Now().Add(time.Until(t.Deadline)).Truncate(time.Second)
	}
	return n
}

func (s *Service) countLeases(network string) int {
	count, now := 0, time.Now()
	s.Leases.Network(network).Each(func(l *lease.Lease) bool {
		if l.Live(now) {
			count++
		}
		return true
	})
	return count
}

// ReadCounters sets the counters of ports and networks. It reads all links of the host,
// which takes 30 ms with a thousand.
func (s *Service) ReadCounters(ctx context.Context, ports []Port, networks []Network) error {
	counters, err := s.Kernel.Counters(ctx)
	if err != nil {
		return failed("read counters", err)
	}
	of := func(link string) *netdrv.Counters {
		if c, ok := counters[link]; ok {
			return &c
		}
		return nil
	}
	for i := range ports {
		ports[i].Counters = of(ports[i].Link)
	}
	for i := range networks {
		if n := &networks[i]; n.Mode.OwnsBridge() {
			n.Counters = of(n.Bridge.Name)
		}
	}
	return nil
}

// Create declares a network, and starts it unless Options.NoStart is set.
func (s *Service) Create(ctx context.Context, d Definition, o Options) (Result, error) {
	ctx, end := s.begin(ctx)
	defer end()
	if _, ok := s.Store.Get(d.Name); ok {
		return Result{}, refuse(Exists, "network %s exists already; `vnetctl network apply` changes it", d.Name)
	}
	return s.create(ctx, d, o)
}

func (s *Service) create(ctx context.Context, d Definition, o Options) (Result, error) {
	defer collectLess(&d.Network)()
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return Result{}, failed("check network "+d.Name, err)
	}
	// If the host has links of a network of that name, the definition adopts them.
	var shown *netdrv.Network
	orphans := s.Engine.Orphans()
	i := slices.IndexFunc(orphans, func(o netdrv.Orphan) bool { return o.Network == d.Name })
	if i >= 0 {
		adopted := orphans[i].Adopted()
		shown, host = &adopted, host.Without(&orphans[i])
	}
	n, err := s.check(ctx, d, shown, host)
	if err != nil {
		return Result{}, err
	}
	if i >= 0 && len(orphans[i].Guests) > 0 && (o.NoStart || n.Bridge.Name != shown.Bridge.Name) {
		return Result{}, refuse(Precondition, "network %s: the host has guests on a network of that name, which is not declared: %s; declare it with its bridge (vnetctl network adopt %s), or remove it (vnetctl network forget %s)", n.Name, &orphans[i], n.Name, n.Name)
	}
	if n.Transient && o.NoStart {
		return Result{}, refuse(Invalid, "network %s: a transient network lives only while it runs: it cannot be stored without being started", n.Name)
	}
	n.Autostart = !n.Transient && !o.NoStart
	if d.Autostart != nil {
		n.Autostart = !n.Transient && *d.Autostart
	}
	res := Result{Changed: true}
	if !o.NoStart {
		if res.Plan, err = s.Engine.Plan(ctx, &n); err != nil {
			return Result{}, failed("plan network "+n.Name, err)
		}
	}
	if o.DryRun {
		res.Network = s.view(&store.Entry{Network: n})
		return res, nil
	}
	if !o.NoStart {
		if err := s.awaitConfirmation(o.ConfirmWithin, nil, &n); err != nil {
			return Result{}, err
		}
	}
	begin := s.Store.Begin
	if i >= 0 { // its links are not removed if it fails
		begin = s.Store.Adopt
	}
	// If the daemon ends meanwhile, the pending confirmation rolls the change back.
	entry, err := s.apply(ctx, begin, n, !o.NoStart, "create network "+n.Name)
	if err != nil {
		s.endConfirmation(n.Name)
		return Result{}, err
	}
	s.startConfirmation(n.Name)
	res.Network = s.publish(event.NetworkCreated, &entry)
	return res, nil
}

// check completes a definition, and refuses one that is wrong or conflicts. old is what it
// replaces, or nil. host is what the host has besides.
func (s *Service) check(ctx context.Context, d Definition, old *netdrv.Network, host netdrv.Host) (netdrv.Network, error) {
	n, others := d.Network, s.others(d.Name)
	bridges := bridgesOf(others)
	var random [5]byte
	_, _ = rand.Read(random[:])
	n, exhausted := netdrv.Pick(n, old, s.Pools, netdrv.Taken(others, host), random)
	n = netdrv.Complete(n, old, func(link string) bool { return host.Taken(link) || bridges[link] }, [3]byte(random[:3]))
	fs := append(slices.Clip(d.Unread), exhausted...).Join(netdrv.Validate(&n))
	what := "network " + n.Name
	if fs = append(fs, s.Engine.CheckNames(&n)...); fs != nil {
		return n, findingsError(Invalid, what, fs)
	}
	fs = slices.Concat(netdrv.Conflicts(&n, others), netdrv.HostConflicts(&n, released(host, old)),
		netdrv.PortsAgainst(s.Store.PortsOf(n.Name), &n), netdrv.UnknownRemotes(&n.Filter, &n, append(others, n), s.Store.Ports()))
	return n, s.checkUse(ctx, &n, fs, what)
}

// checkUse adds to findings what on the host is in use, and refuses a network that has any.
func (s *Service) checkUse(ctx context.Context, n *netdrv.Network, fs netdrv.Findings, what string) error {
	if n.HasUplinkBridge() {
		// All addresses and routes of its uplinks have to move to the bridge.
		g, err := s.Kernel.ObserveUplinks(ctx, n.Bridge.Uplinks)
		if err != nil {
			fs.Add("bridge.uplinks", "%v", err)
		} else {
			fs = append(fs, netdrv.UplinkConflicts(n, g)...)
		}
	}
	busy, err := s.Engine.CheckForwards(n)
	if err != nil {
		return failed(what, err)
	}
	if fs = append(fs, busy...); fs != nil {
		return findingsError(Precondition, what, fs)
	}
	return nil
}

// manyReservations is where collectLess begins to matter.
const manyReservations = 10_000

// collectLess has the garbage collector run less often while a large definition is
// processed, which leaves several times its size of garbage. The function that it returns
// ends that. Changes are serialized, so that it is not nested.
func collectLess(n *netdrv.Network) func() {
	count := 0
	for _, s := range n.Subnets {
		if s.DHCP != nil {
			count += len(s.DHCP.Reservations)
		}
	}
	if count < manyReservations {
		return func() {}
	}
	usual := debug.SetGCPercent(100)
	return func() {
		debug.SetGCPercent(usual)
		go debug.FreeOSMemory()
	}
}

func bridgesOf(networks []netdrv.Network) map[string]bool {
	out := make(map[string]bool, len(networks))
	for i := range networks {
		out[networks[i].Bridge.Name] = true
	}
	return out
}

// converge reconciles an entry, and returns why it is not as declared.
func (s *Service) converge(ctx context.Context, name string) error {
	if err := s.Engine.Reconcile(ctx, name); err != nil {
		return err
	}
	return s.Engine.Status(name).Err
}

// apply stores a change and reconciles it. What cannot be both is rolled back, so that a
// change that is refused is not in force.
func (s *Service) apply(ctx context.Context, begin func(netdrv.Network, bool) (*store.Change, error), n netdrv.Network, active bool, what string) (store.Entry, error) {
	c, err := begin(n, active)
	if err != nil {
		return c.Entry, failed(what, err)
	}
	if err := errors.Join(s.converge(ctx, n.Name), c.Stored()); err != nil {
		s.rollBack(ctx, n.Name, c.Undo())
		return c.Entry, failed(what, err)
	}
	c.Keep()
	return c.Entry, nil
}

// rollBack reconciles a network that has its former definition again. It has a time limit
// of its own: the change may have used up its own.
func (s *Service) rollBack(ctx context.Context, name string, unstored error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := errors.Join(unstored, s.Engine.Reconcile(ctx, name)); err != nil {
		s.Log.Error("failed to roll a change back completely; retrying", "network", name, "err", err)
	}
}

// Update replaces the definition of a network.
func (s *Service) Update(ctx context.Context, d Definition, o Options) (Result, error) {
	ctx, end := s.begin(ctx)
	defer end()
	old, ok := s.Store.Get(d.Name)
	switch {
	case !ok && o.AllowMissing:
		return s.create(ctx, d, Options{DryRun: o.DryRun, ConfirmWithin: o.ConfirmWithin})
	case !ok:
		return Result{}, s.missing(d.Name)
	case o.Revision != 0 && o.Revision != old.Revision:
		return Result{}, refuse(Conflict, "network %s was changed meanwhile: revision %d is stored, and the change is for %d; read it again", d.Name, old.Revision, o.Revision)
	}
	return s.update(ctx, d, o, old)
}

// edit changes the definition of a network as Update does. edit replaces what it changes:
// slices and what pointers lead to are shared with the stored definition.
func (s *Service) edit(ctx context.Context, name string, edit func(*netdrv.Network) (netdrv.Findings, error)) (Network, error) {
	ctx, end := s.begin(ctx)
	defer end()
	old, ok := s.Store.Get(name)
	if !ok {
		return Network{}, s.missing(name)
	}
	d := Definition{Network: old.Network}
	var err error
	if d.Unread, err = edit(&d.Network); err != nil {
		return Network{}, err
	}
	res, err := s.update(ctx, d, Options{}, old)
	return res.Network, err
}

func (s *Service) update(ctx context.Context, d Definition, o Options, old store.Entry) (Result, error) {
	defer collectLess(&d.Network)()
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return Result{}, failed("check network "+d.Name, err)
	}
	n, err := s.check(ctx, d, &old.Network, host)
	if err != nil {
		return Result{}, err
	}
	n.Transient, n.Autostart = old.Network.Transient, old.Network.Autostart
	if d.Autostart != nil {
		n.Autostart = *d.Autostart
	}
	res := Result{Before: &old.Network, Changed: !store.Same(&old.Network, &n)}
	if old.Live {
		if res.Plan, err = s.Engine.Plan(ctx, &n); err != nil {
			return Result{}, failed("plan network "+n.Name, err)
		}
	}
	if o.DryRun || !res.Changed {
		res.Network = s.view(&store.Entry{Network: n, Revision: old.Revision, Live: old.Live})
		return res, nil
	}
	earlier, waits := s.Store.Trial(n.Name)
	if old.Live {
		if err := s.awaitConfirmation(o.ConfirmWithin, &old, &n); err != nil {
			return Result{}, err
		}
	}
	entry, err := s.apply(ctx, s.Store.Begin, n, old.Live, "change network "+n.Name)
	if err != nil {
		s.restoreConfirmation(n.Name, earlier, waits)
		return Result{}, err
	}
	if o.ConfirmWithin != 0 {
		s.startConfirmation(n.Name)
	}
	res.Network = s.publish(event.NetworkUpdated, &entry)
	return res, nil
}

// Delete deletes a network. One with guests is deleted only with force.
func (s *Service) Delete(ctx context.Context, name string, force bool) error {
	ctx, end := s.begin(ctx)
	defer end()
	entry, ok := s.Store.Get(name)
	if !ok {
		return s.missing(name)
	}
	hostsBridge := entry.Network.Mode == netdrv.ExistingBridge && len(entry.Network.Bridge.Uplinks) == 0
	if !force && !hostsBridge {
		if err := s.refuseGuests(name); err != nil {
			return err
		}
	}
	return failed("delete network "+name, s.delete(ctx, &entry))
}

func (s *Service) delete(ctx context.Context, entry *store.Entry) error {
	name := entry.Network.Name
	if err := s.Store.Delete(name); err != nil {
		return err
	}
	s.endConfirmation(name)
	for _, p := range s.Store.PortsOf(name) { // their links go with the network's
		if err := s.Store.DeletePort(p.Link); err != nil {
			return err
		}
	}
	s.publish(event.NetworkDeleted, entry)
	if err := s.Engine.Reconcile(ctx, name); err != nil {
		return err
	}
	return s.Leases.Forget(name)
}

// Start starts a network; one that is active stays so.
func (s *Service) Start(ctx context.Context, name string, confirmWithin time.Duration) (Network, error) {
	ctx, end := s.begin(ctx)
	defer end()
	entry, ok := s.Store.Get(name)
	if !ok {
		return Network{}, s.missing(name)
	}
	if entry.Live {
		return s.view(&entry), nil
	}
	if err := s.awaitConfirmation(confirmWithin, &entry, &entry.Network); err != nil {
		return Network{}, err
	}
	if err := s.start(ctx, &entry.Network); err != nil {
		s.endConfirmation(name)
		return Network{}, err
	}
	s.startConfirmation(name)
	entry.Live = true
	return s.view(&entry), nil
}

func (s *Service) start(ctx context.Context, n *netdrv.Network) error {
	what := "start network " + n.Name
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return failed(what, err)
	}
	if err := s.checkUse(ctx, n, netdrv.HostConflicts(n, host), what); err != nil {
		return err
	}
	if err := s.Store.SetLive(n.Name, true); err != nil {
		return failed(what, err)
	}
	if err := s.converge(ctx, n.Name); err != nil {
		s.rollBack(ctx, n.Name, s.Store.ForceLive(n.Name, false))
		return failed(what, err)
	}
	return nil
}

// Stop stops a network. A transient one is deleted: the Network is zero then.
func (s *Service) Stop(ctx context.Context, name string) (Network, error) {
	ctx, end := s.begin(ctx)
	defer end()
	entry, ok := s.Store.Get(name)
	if !ok {
		return Network{}, s.missing(name)
	}
	what := "stop network " + name
	if entry.Network.Transient {
		return Network{}, failed(what, s.delete(ctx, &entry))
	}
	if err := s.Store.SetLive(name, false); err != nil {
		return Network{}, failed(what, err)
	}
	s.endConfirmation(name)
	if err := s.converge(ctx, name); err != nil {
		return Network{}, failed(what, err)
	}
	entry.Live = false
	return s.view(&entry), nil
}

// publish logs and publishes a change of a definition, and returns the network.
func (s *Service) publish(k event.Kind, e *store.Entry) Network {
	n := s.view(e)
	words := map[event.Kind]string{event.NetworkCreated: "created", event.NetworkUpdated: "updated", event.NetworkDeleted: "deleted"}
	s.Log.Info("network "+words[k], "network", n.Name)
	s.Events.Publish(event.Event{Kind: k, About: n.Name, Network: &n})
	return n
}

// released returns the host as it is once a network has changed: links in its bridge may
// join another. The host itself is shared, and stays as it is.
func released(host netdrv.Host, old *netdrv.Network) netdrv.Host {
	if old == nil || !old.HasUplinkBridge() {
		return host
	}
	host.Links = maps.Clone(host.Links)
	for _, u := range old.Bridge.Uplinks {
		if l, ok := host.Links[u]; ok && l.Master == old.Bridge.Name {
			l.Master = ""
			host.Links[u] = l
		}
	}
	return host
}
