// Package reconcile keeps the host as declared, in rounds.
//
// A round observes the host and computes the plan, which changes nothing and is also what
// a dry run prints. Then it records what it has learned, and applies the plan: removals,
// the firewall in one transaction, additions, then DHCP and DNS. Then it observes again: the
// plan must be empty. A round is about named networks, or about all: at start, after a
// notification of the kernel, and periodically. Notifications carry no data, so that a
// missed one costs time and never correctness.
//
// A network's failure becomes its status, and is retried with back-off. The others are not
// affected.
package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/proxy"
)

// fullEvery is the interval of full rounds without notifications.
const fullEvery = time.Minute

// neverSeen is no count of the kernel's HostChanges.
const neverSeen = math.MaxUint64

// A Kernel is where plans come true; netdrv/kernel has the real one.
type Kernel interface {
	// Observe returns everything that is ours, and what the host has besides.
	Observe(ctx context.Context) (netdrv.State, netdrv.Host, error)
	// ObserveLinks returns what is ours of some links, with the guests' links in
	// them, and where some other guests' links are, by index.
	ObserveLinks(ctx context.Context, names []string, members []int) (netdrv.State, error)
	// ObserveUplinks returns what there is of built bridges and their uplinks, and
	// what the host has on them.
	ObserveUplinks(ctx context.Context, names []string) (netdrv.UplinkSnapshot, error)
	// Sysctls reads settings by their paths below /proc/sys; "" is one that is not there.
	Sysctls(keys []string) (map[string]string, error)
	// CountFlows counts tracked connections by the address that they are attributed to,
	// and EndFlows deletes so many of each address.
	CountFlows(netdrv.FlowOwners) (map[netip.Addr]int, error)
	EndFlows(owners netdrv.FlowOwners, excess map[netip.Addr]int) error
	// NeighbourTable returns how many entries the neighbour table of a family has, and may
	// have. BridgeNeighbours returns those on bridges, and DeleteNeighbours deletes some.
	NeighbourTable(ipv6 bool) (entries, limit int, err error)
	BridgeNeighbours(ipv6 bool, bridges map[string]bool) ([]netdrv.Neighbour, error)
	DeleteNeighbours(entries []netdrv.Neighbour) error
	// Counters returns what has passed bridges and guests' links, by name.
	Counters(ctx context.Context) (map[string]netdrv.Counters, error)
	// Apply makes one change; what is already so is no error.
	Apply(ctx context.Context, s netdrv.Step) error
	// Listeners returns the sockets of the host that hear anybody and are wanted.
	Listeners(wanted func(netdrv.Socket) bool) ([]netdrv.Socket, error)
	// MakeTap makes a tap that is gone with the last of its files; OpenTap and
	// OpenMacvtap open what is there.
	MakeTap(ctx context.Context, l netdrv.Link, vnetHeader bool) ([]*os.File, error)
	OpenTap(ctx context.Context, l netdrv.Link) ([]*os.File, error)
	OpenMacvtap(ctx context.Context, l netdrv.Link) ([]*os.File, error)
	// LearnedMACs returns the MACs that bridges have learned behind links, by index; a single
	// one is remembered for the life of the link. StoredMACs returns those, and RestoreMACs
	// adds to them what was remembered before a restart.
	LearnedMACs(ctx context.Context) (map[int][]netdrv.MAC, error)
	StoredMACs() map[int]netdrv.MAC
	RestoreMACs(seen map[int]netdrv.MAC)
	// HostChanges grows when something of the host's may have changed.
	HostChanges() uint64
	// Watch returns a function that calls wake after anything may have changed, with the
	// network of a guest's link when its MAC address did.
	Watch() (run func(ctx context.Context, wake func(network string)) error, err error)
	// FDBEntries returns which MACs bridges have learned behind their ports.
	FDBEntries(ctx context.Context) ([]netdrv.FDBEntry, error)
	// FDBGrowth grows with each new entry while WatchFDB runs. SetLearning has a port's bridge
	// learn MACs behind it, or forget those and learn none.
	FDBGrowth() uint64
	SetLearning(port int, learn bool) error
	// WatchFDB is Watch for that, with "", and for a bridge that got a port, with
	// its name.
	WatchFDB() (run func(ctx context.Context, wake func(bridge string)) error, err error)
}

// A Firewall replaces all rules at once; firewall/nft has the real one.
type Firewall interface {
	Apply(ctx context.Context, want firewall.Ruleset) error
	// Repaired describes the external change that the last Apply has found, and what it has
	// done; "" if there was none.
	Repaired() (found, done string)
	// Counted returns how many packets the rules of a chain have counted.
	Counted(ctx context.Context, chain string) (packets uint64, err error)
	// Treatments returns what the rules in force do with bridges, by their names.
	Treatments(ctx context.Context) (map[string]netdrv.Treatment, error)
	Watch(ctx context.Context, wake func()) error
}

// DHCP, DNS, Boot and Proxy serve networks by name. Set starts or changes one, Remove
// ends one; all keep their sockets through a change.
type (
	DHCP interface {
		Set(dhcpd.Config) error
		Remove(network string)
	}
	DNS interface {
		Set(dnsd.Config) error
		Remove(network string)
	}
	Boot interface {
		Set(files.Config) error
		Remove(network string)
	}
	Proxy interface {
		Set(proxy.Config) error
		Remove(network string)
		// Serves reports whether a socket of the proxy's is at an address.
		Serves(p proxy.Protocol, at netip.AddrPort) bool
	}
)

// Leases are looked up by the DNS server, bind guests to their addresses, and are
// forgotten with their network.
type Leases interface {
	Names(network string) dnsd.Names
	// Addresses are those of the leases in force, by who has them; Held those of one.
	Addresses(network string) map[netdrv.MAC][]netip.Addr
	Held(network string, mac netdrv.MAC) []netip.Addr
	// Ended are those of leases that have ended and that no other guest has got since,
	// by who had them: revoked if an administrator ended the lease.
	Ended(network string) (ended, revoked map[netdrv.MAC][]netip.Addr)
	Forget(network string) error
	// Storing returns why no lease can be given, or nil.
	Storing() error
	// SetPorts tells which links, by index, a network's guests have, as of when Mark
	// returned mark: leases by other links keep their names from no client.
	SetPorts(network string, links map[int32]bool, mark uint64)
	Mark() uint64
	// Link returns the index of the link that a MAC has its lease through, 0 if that is not
	// known; false if it has none.
	Link(network string, mac netdrv.MAC) (index int, ok bool)
	// Release ends the leases of a network that are chosen by the client's MAC and the index of
	// the link that they were obtained through.
	Release(network string, which func(mac netdrv.MAC, link int) bool) error
}

// Parts is what an Engine works with.
type Parts struct {
	Store    *store.Store
	Kernel   Kernel
	Firewall Firewall
	DHCP     DHCP
	DNS      DNS
	Boot     Boot
	Proxy    Proxy
	Leases   Leases
	Events   *event.Bus
	Hostname string // what guests may call the host
	// MayHold reports whether the user of a transient port may still have it.
	MayHold func(n *netdrv.Network, p *netdrv.Port) bool
}

// An Engine reconciles. Its methods may be called from any goroutine.
type Engine struct {
	Parts
	log      *slog.Logger
	queue    *queue
	hosts    *hostCache
	ports    *portTable
	networks *networkTable
	derived  *derivedCache
	rules    *rules
	servers  *servers

	roundMu sync.Mutex // held during a round
}

// New returns an engine that has not observed the host yet.
func New(parts Parts, log *slog.Logger) *Engine {
	e := &Engine{
		Parts: parts, log: log,
		queue:    newQueue(),
		hosts:    &hostCache{kernel: parts.Kernel, store: parts.Store, changes: neverSeen, uplinks: map[string]bool{}, held: map[string]held{}},
		ports:    &portTable{links: map[string]netdrv.Link{}, tamperings: map[string]tampering{}, members: parts.Store.Members()},
		networks: &networkTable{status: map[string]Status{}, bridges: map[string]string{}, problems: map[string]error{}},
		derived:  &derivedCache{store: parts.Store, networks: map[string]*derived{}},
	}
	e.servers = &servers{Parts: parts, derived: e.derived, dhcp: map[string]applied[dhcpd.Config]{}, dns: map[string]applied[dnsd.Config]{}}
	e.rules = &rules{
		Parts: parts, log: log, queue: e.queue, hosts: e.hosts, ports: e.ports, networks: e.networks, derived: e.derived,
		news: make(chan chan struct{}, 1), forwards: map[string][]netdrv.Forward{},
	}
	return e
}

// Run reconciles until ctx ends. The networks stay as they are.
func (e *Engine) Run(ctx context.Context) error {
	watch, err := e.Kernel.Watch()
	if err != nil {
		return fmt.Errorf("watch the kernel: %w", err)
	}
	seen := map[int]netdrv.MAC{}
	for _, m := range e.Members() {
		if !m.LearnedMAC.IsZero() {
			seen[m.Index] = m.LearnedMAC
		}
	}
	e.Kernel.RestoreMACs(seen)
	watchFDB, err := e.Kernel.WatchFDB()
	if err != nil {
		return fmt.Errorf("watch bridges: %w", err)
	}
	changed := func(network string) {
		if network == "" {
			e.Notice()
			return
		}
		// A port that takes the MAC of another guest cuts that guest off, so that its
		// network does not wait for a full round.
		e.queue.add([]string{network}, nil)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watch(ctx, changed) })
	g.Go(func() error { return watchFDB(ctx, e.rules.bridgeChanged) })
	g.Go(func() error { e.rules.run(ctx); return nil })
	g.Go(func() error { e.guardConntrack(ctx); return nil })
	g.Go(func() error { e.guardNeighbours(ctx); return nil })
	g.Go(func() error { e.guardFDB(ctx); return nil })
	g.Go(func() error { return e.Firewall.Watch(ctx, e.Notice) })
	g.Go(func() error { e.loop(ctx); return nil })
	return g.Wait()
}

func (e *Engine) loop(ctx context.Context) {
	tick := time.NewTicker(fullEvery)
	defer tick.Stop()
	defer e.queue.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.queue.wake:
		case <-tick.C:
			e.queue.add(nil, nil)
		}
		if w := e.queue.take(); w.full || w.names != nil {
			e.round(ctx, w)
			for _, done := range w.done {
				close(done)
			}
		}
	}
}

// Reconcile reconciles the named networks, or all if none is named, and returns when that
// is done; Status has the results. It returns an error only if ctx ends before.
func (e *Engine) Reconcile(ctx context.Context, names ...string) error {
	return wait(ctx, e.queue.addNotified(names))
}

// Notice requests a full round soon, at a rate that depends on what a round costs.
func (e *Engine) Notice() { e.queue.notice() }

// Alive returns nil if the loop is running, and an error if ctx ends before that is known.
func (e *Engine) Alive(ctx context.Context) error { return e.Reconcile(ctx, "") }

// Declare changes what is stored between two rounds.
func (e *Engine) Declare(change func() error) error {
	e.roundMu.Lock()
	defer e.roundMu.Unlock()
	return change()
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
