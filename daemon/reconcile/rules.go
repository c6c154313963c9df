package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

const (
	// followEvery is the least time between two changes of rules that follow guests: a storm
	// of MACs costs little.
	followEvery = 5 * time.Millisecond
	// admitWithin is how long a lease may wait for its rules.
	admitWithin = 200 * time.Millisecond
)

// rules keeps the firewall's rules as declared, and follows guests with them between rounds.
type rules struct {
	Parts
	log      *slog.Logger
	queue    *queue
	hosts    *hostCache
	ports    *portTable
	networks *networkTable
	derived  *derivedCache

	news   chan chan struct{} // a guest was learned; closed when the rules follow it
	asks   atomic.Bool        // the rules depend on guests' MACs
	tracks atomic.Bool        // connections of a network are attributed to it

	mu        sync.Mutex // held while rules change
	filtered  []netdrv.Network
	ruleset   firewall.Ruleset // of those networks
	enforced  bool             // rules were applied since the start
	pressure  firewall.Pressure
	published map[netdrv.PublishedPort]netip.AddrPort // published ports in force

	forwardsMu sync.Mutex
	forwards   map[string][]netdrv.Forward // in force, by network, with addresses for names
}

// GuestNews notifies that a lease came or went, or that a bridge has learned a MAC.
func (e *Engine) GuestNews() { e.rules.notify() }

// Admit returns when the rules admit guests with the leases that they have now, or after
// admitWithin: a guest that learns of its lease then loses no packet.
func (e *Engine) Admit() { e.rules.admit() }

func (f *rules) notify() {
	select {
	case f.news <- nil:
	default:
	}
}

func (f *rules) admit() {
	if !f.asks.Load() {
		return
	}
	done, late := make(chan struct{}), time.After(admitWithin)
	select {
	case f.news <- done:
	case <-late:
		return
	}
	select {
	case <-done:
	case <-late:
	}
}

// bridgeChanged follows a change of a bridge's forwarding database, or with a name a bridge
// that got a port. A filtered port is blocked until a round knows it.
func (f *rules) bridgeChanged(bridge string) {
	if bridge == "" {
		f.notify()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.filtered {
		if n := &f.filtered[i]; n.Bridge.Name == bridge && f.hasPortRules(n) {
			f.queue.add([]string{n.Name}, nil)
		}
	}
}

// run follows guests until ctx ends, without rounds: only what bridges have learned is read, and
// a few elements change.
func (f *rules) run(ctx context.Context) {
	for {
		var done chan struct{}
		select {
		case <-ctx.Done():
			return
		case done = <-f.news:
		}
		if err := f.follow(ctx); err != nil && ctx.Err() == nil {
			f.log.Warn("rules do not follow a guest; the next round will", "err", err)
			f.queue.notice()
		}
		if done != nil {
			close(done)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(followEvery):
		}
	}
}

func (f *rules) follow(ctx context.Context) (err error) {
	defer limit.RecoverAs(f.log, limit.Guests, &err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.asks.Load() {
		return nil
	}
	if err := f.learnMACs(ctx, f.filtered); err != nil {
		return err
	}
	return f.refresh(ctx)
}

// refresh applies the rules of the last round with the present guests and pressure; the
// caller holds f.mu.
func (f *rules) refresh(ctx context.Context) error {
	want := f.ruleset.WithPorts(f.filtered, f.filterPorts(f.filtered)...)
	return f.Firewall.Apply(ctx, want.UnderPressure(f.filtered, f.pressure))
}

// apply applies the rules of the active networks, and ends connections through published ports
// that lead elsewhere now.
func (f *rules) apply(ctx context.Context, active []netdrv.Network) error {
	networks := active
	publishes := func(n netdrv.Network) bool { return len(n.Forwards) > 0 }
	if slices.ContainsFunc(active, publishes) {
		networks = slices.Clone(active)
		for i := range networks {
			if n := &active[i]; publishes(*n) {
				networks[i] = netdrv.Resolved(*n, f.resolve(n))
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enforce(ctx, networks); err != nil {
		return err
	}
	f.forwardsMu.Lock()
	clear(f.forwards)
	for _, n := range networks {
		if n.Forwards != nil {
			f.forwards[n.Name] = n.Forwards
		}
	}
	f.forwardsMu.Unlock()
	doors := netdrv.PublishedPorts(networks)
	moved := netdrv.PortChanges(f.published, doors)
	if len(moved) == 0 {
		return nil
	}
	step := netdrv.FlowDel{Changes: moved}
	if err := f.Kernel.Apply(ctx, step); err != nil {
		f.log.Error("connections to published ports not ended", "err", err) // they last until they are closed
		return nil
	}
	f.log.Info("step applied", "step", step.String())
	f.published = doors
	return nil
}

func (f *rules) enforce(ctx context.Context, networks []netdrv.Network) error {
	closed, leave, err := f.hosts.closed(ctx, f.Firewall, len(networks) > 0, f.enforced)
	if err != nil || leave {
		return err
	}
	networks = slices.Concat(networks, closed)
	if err := f.learnMACs(ctx, networks); err != nil {
		return err
	}
	want := firewall.Compile(networks, f.filterPorts(networks)...)
	if err := f.Firewall.Apply(ctx, want.UnderPressure(networks, f.pressure)); err != nil {
		return err
	}
	f.filtered, f.ruleset, f.enforced = networks, want, true
	f.asks.Store(slices.ContainsFunc(networks, func(n netdrv.Network) bool { return f.hasPortRules(&n) || n.NeedsMACs() }))
	f.tracks.Store(slices.ContainsFunc(networks, func(n netdrv.Network) bool { return firewall.Tracked(&n) }))
	return nil
}

// limitConnections restricts new connections: with strict to such from addresses of their
// networks, and to none of the closed networks.
func (f *rules) limitConnections(ctx context.Context, strict bool, closed []string) error {
	changed, err := f.restrict(ctx, func(p *firewall.Pressure) { p.Strict, p.Closed = strict, closed })
	if err != nil || !changed {
		return err
	}
	var problem error
	if len(closed) > 0 {
		problem = errors.New("too many tracked connections: closed for new ones: network " + strings.Join(closed, ", "))
	}
	f.networks.report("conntrack", problem)
	return nil
}

// restrict applies a change of the pressure.
func (f *rules) restrict(ctx context.Context, change func(*firewall.Pressure)) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.pressure
	change(&f.pressure)
	if f.pressure.Equal(was) || !f.enforced {
		f.pressure = was
		return false, nil
	}
	if err := f.refresh(ctx); err != nil {
		f.pressure = was
		return false, err
	}
	return true, nil
}

// list returns the networks that rules are in force for and that are chosen.
func (f *rules) list(chosen func(*netdrv.Network) bool) []netdrv.Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.filtered), func(n netdrv.Network) bool { return !chosen(&n) })
}

// hasPortRules reports whether there are rules about a network's ports.
func (f *rules) hasPortRules(n *netdrv.Network) bool {
	return n.Mode == netdrv.ExistingBridge || n.Filter.Asks() || slices.ContainsFunc(f.Store.PortsOf(n.Name), func(p netdrv.Port) bool { return p.Filter.Asks() })
}

// learnMACs reads the forwarding databases for ports with a MAC that is neither declared nor learned.
func (f *rules) learnMACs(ctx context.Context, networks []netdrv.Network) error {
	members, ports := f.ports.list(), f.Store.Ports()
	now := netdrv.WithPortMACs(members, ports)
	if without := netdrv.WithoutMAC(now, networks, ports); len(without) > 0 {
		learned, err := f.Kernel.FDBEntries(ctx)
		if err != nil {
			return err
		}
		known := func(network string, m netdrv.MAC) bool { return len(f.Leases.Held(network, m)) > 0 }
		now = netdrv.AssignMACs(now, without, learned, networks, known)
	}
	if slices.Equal(members, now) {
		return nil
	}
	now = f.ports.setMACs(now)
	// Networks that shape each guest by its MAC are reconciled.
	for _, m := range now {
		if n, ok := f.Store.Get(m.Network); ok && n.Live && n.Network.NeedsMACs() {
			f.queue.add([]string{m.Network}, nil)
		}
	}
	return f.Store.PutMembers(now)
}

// filterPorts returns the ports of networks that have rules about theirs.
func (f *rules) filterPorts(networks []netdrv.Network) []firewall.Port {
	host := f.hosts.get()
	around := netdrv.Resolver{Networks: networks, Ports: f.Store.Ports(), Leased: f.Leases.Held, Host: host.Addresses(), Names: func(n *netdrv.Network) *netdrv.Names { return f.derived.of(n).declared() }}
	members := map[string][]netdrv.Member{}
	for _, m := range f.ports.list() {
		members[m.Network] = append(members[m.Network], m)
	}
	var out []firewall.Port
	for i := range networks {
		if n := &networks[i]; f.hasPortRules(n) || n.Access.MACPrefix != "" {
			ports := f.Store.PortsOf(n.Name)
			ended, revoked := f.Leases.Ended(n.Name)
			with := f.derived.of(n).with
			now := portsOf(with, members[n.Name], f.Leases.Addresses(n.Name))
			keepLast(now, with, ended, revoked)
			out = append(append(out, ruled(now, n, ports, &around)...), pinned(n, ports)...)
		}
	}
	return out
}

// resolve returns a function that resolves the guest of a forward now; ports have names, too.
func (f *rules) resolve(n *netdrv.Network) func(*netdrv.Forward) []netip.Addr {
	names, leased := f.derived.of(n).names(), f.leased(n)
	return func(fw *netdrv.Forward) []netip.Addr {
		out, _ := names.Published(fw, leased)
		return out
	}
}

func (f *rules) leased(n *netdrv.Network) netdrv.Leased {
	return netdrv.Leased{
		Named: f.Leases.Names(n.Name).Addrs,
		Held:  func(m netdrv.MAC) []netip.Addr { return f.Leases.Held(n.Name, m) },
	}
}

// Targets returns the addresses that a forward of a network leads to now. If it leads to none
// because a guest chose its name itself, chosen is that name.
func (e *Engine) Targets(n *netdrv.Network, f *netdrv.Forward) (targets []netip.Addr, chosen string) {
	if targets = netdrv.Targets(n, f, e.rules.resolve(n)); len(targets) == 0 && !f.Target().IsValid() {
		_, chosen = e.derived.of(n).names().Published(f, e.rules.leased(n))
	}
	return targets, chosen
}

// ReservedMAC returns the MAC for which the address of a forward's guest is reserved.
func (e *Engine) ReservedMAC(n *netdrv.Network, f *netdrv.Forward, a netip.Addr) netdrv.MAC {
	return e.derived.of(n).names().MAC(f.Guest, a)
}

// LeaseChanged reconciles a network if a lease changes where one of its forwards leads.
func (e *Engine) LeaseChanged(network string) {
	entry, ok := e.Store.Get(network)
	if !ok || !entry.Live || len(entry.Network.Forwards) == 0 {
		return
	}
	now := netdrv.Resolved(entry.Network, e.rules.resolve(&entry.Network)).Forwards
	e.rules.forwardsMu.Lock()
	same := slices.EqualFunc(now, e.rules.forwards[network], netdrv.Forward.Equal)
	e.rules.forwardsMu.Unlock()
	if !same {
		e.queue.add([]string{network}, nil)
	}
}

// CheckForwards returns the published ports of a network that another program uses.
func (e *Engine) CheckForwards(n *netdrv.Network) (netdrv.Findings, error) {
	if len(n.Forwards) == 0 {
		return nil, nil
	}
	sockets, err := e.Kernel.Listeners(func(s netdrv.Socket) bool {
		return n.Publishes(s) && !e.Proxy.Serves(protocols[s.Protocol], s.Local)
	})
	return netdrv.SocketConflicts(n, sockets), err
}
