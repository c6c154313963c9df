// Package reconcile is the loop that keeps the host as declared.
//
// A round takes the stored intent, compiles what the kernel should hold,
// observes what it holds, and applies the difference: first what goes, then the
// firewall in one transaction, then links and addresses, then DHCP and DNS.
// Then it looks again. A round is about the networks that somebody named, or
// about everything: at start, when the kernel says that something changed, and
// by the timer. Events carry no data, so that a missed one costs time and never
// correctness.
//
// One network's failure is its own: it becomes the network's status and is
// tried again with a back-off, and the others go on.
package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
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

// lookEvery is the belt to the notifications' braces.
const lookEvery = time.Minute

// neverSeen is no count of the kernel's HostChanges.
const neverSeen = math.MaxUint64

// A Kernel is where plans come true; netdrv/kernel has the real one.
type Kernel interface {
	// Observe returns everything that is ours, and what the host has besides.
	Observe(ctx context.Context) (netdrv.State, netdrv.Host, error)
	// ObserveLinks returns what is ours of some links, with the guests' links in
	// them, and where some other guests' links are, by index.
	ObserveLinks(ctx context.Context, names []string, members []int) (netdrv.State, error)
	// ObserveGround returns what there is of built bridges and their uplinks, and
	// what the host has on them.
	ObserveGround(ctx context.Context, names []string) (netdrv.Ground, error)
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
	// Seen returns the MACs that bridges have learned behind links, by index; a single
	// one is remembered for the life of the link. Remembered returns those, and Remember
	// adds to them what was remembered before a restart.
	Seen(ctx context.Context) (map[int][]netdrv.MAC, error)
	Remembered() map[int]netdrv.MAC
	Remember(seen map[int]netdrv.MAC)
	// HostChanges grows when something of the host's may have changed.
	HostChanges() uint64
	// Watch returns a function that calls wake after anything may have changed, with the
	// network of a guest's link when its MAC address did.
	Watch() (run func(ctx context.Context, wake func(network string)) error, err error)
	// Heard lists which MACs bridges have seen behind their ports.
	Heard(ctx context.Context) ([]netdrv.Heard, error)
	// WatchHeard is Watch for that, with "", and for a bridge that got a port, with
	// its name.
	WatchHeard() (run func(ctx context.Context, wake func(bridge string)) error, err error)
}

// A Firewall replaces all rules at once; firewall/nft has the real one.
type Firewall interface {
	Apply(ctx context.Context, want firewall.Ruleset) error
	// Mended says what the last Apply found changed by others; "" if nothing was.
	Mended() string
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

// Engine runs the loop. Its methods may be called from any goroutine.
type Engine struct {
	Parts
	log *slog.Logger

	wake chan struct{}      // of one: something is pending
	turn sync.Mutex         // held during a round
	news chan chan struct{} // something was heard of guests; closed when rules follow it

	derivedMu sync.Mutex
	derived   map[string]*derived // by network

	rules    sync.Mutex // held while rules change
	ruled    []netdrv.Network
	ruleset  firewall.Ruleset  // of those networks, as of the last round
	asks     atomic.Bool       // one of them asks something of its ports
	enforced bool              // rules were applied since the start
	tracks   atomic.Bool       // connections of one of them are attributed to it
	pressure firewall.Pressure // what is asked of packets while a table of the kernel is nearly full

	mu         sync.Mutex
	unmet      atomic.Bool // a guest of the tap door has not said its MAC
	pending    work
	look       *time.Timer // the full look that a notification asked for
	pace       pace
	status     map[string]Status
	bridges    map[string]string      // link of each network as of the last round
	members    []netdrv.Member        // guests' links as of the last round
	links      map[string]netdrv.Link // of ports, as of the last look
	host       netdrv.Host            // as of the last full look
	uplinks    map[string]bool        // links that have had a default route since the start
	seen       uint64                 // the kernel's HostChanges before that look
	retries    map[string]*retry
	tamperings map[string]*tampering // by link of a declared port; for rounds only
	held       map[string]held       // by network, as of the last look; for rounds only
	dhcp       map[string]given[dhcpd.Config]
	dns        map[string]given[dnsd.Config]
	forwards   map[string][]netdrv.Forward    // in force, by network, names resolved
	doors      map[netdrv.Door]netip.AddrPort // in force; for rounds only
	problems   map[string]error               // what is wrong with no network in particular
	orphans    []netdrv.Orphan                // as of the last full look, and so are unread:
	unread     []netdrv.Orphan                // links of networks with a definition that cannot be read
	treated    map[string]netdrv.Treatment    // by the rules that were in force at the start
	tally      Tally
}

// work is what the next round is about.
type work struct {
	full  bool
	names map[string]bool
	done  []chan struct{}
}

// New returns an engine that has not looked yet.
func New(parts Parts, log *slog.Logger) *Engine {
	return &Engine{
		Parts: parts, log: log, members: parts.Store.Members(), wake: make(chan struct{}, 1), news: make(chan chan struct{}, 1),
		status: map[string]Status{}, bridges: map[string]string{}, retries: map[string]*retry{}, held: map[string]held{}, tamperings: map[string]*tampering{},
		dhcp: map[string]given[dhcpd.Config]{}, dns: map[string]given[dnsd.Config]{},
		links: map[string]netdrv.Link{}, derived: map[string]*derived{}, uplinks: map[string]bool{},
		problems: map[string]error{}, seen: neverSeen, forwards: map[string][]netdrv.Forward{},
	}
}

// Run runs the loop until ctx ends. The networks stay as they are.
func (e *Engine) Run(ctx context.Context) error {
	watch, err := e.Kernel.Watch()
	if err != nil {
		return fmt.Errorf("watch the kernel: %w", err)
	}
	seen := map[int]netdrv.MAC{}
	for _, m := range e.Members() {
		if !m.Seen.IsZero() {
			seen[m.Index] = m.Seen
		}
	}
	e.Kernel.Remember(seen)
	heard, err := e.Kernel.WatchHeard()
	if err != nil {
		return fmt.Errorf("watch bridges: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watch(ctx, e.kernelNews) })
	g.Go(func() error { return heard(ctx, e.bridgeNews) })
	g.Go(func() error { e.followGuests(ctx); return nil })
	g.Go(func() error { e.guardConntrack(ctx); return nil })
	g.Go(func() error { e.guardNeighbours(ctx); return nil })
	g.Go(func() error { return e.Firewall.Watch(ctx, e.Notice) })
	g.Go(func() error { e.loop(ctx); return nil })
	return g.Wait()
}

func (e *Engine) loop(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer e.stopTimers()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-tick.C:
			e.enqueue(nil, nil)
		}
		if w := e.take(); w.full || w.names != nil {
			e.round(ctx, w)
			for _, done := range w.done {
				close(done)
			}
		}
	}
}

// Reconcile has the named networks looked at, all if none is named, and
// returns when that is done, whether or not it went well: see Status. It
// returns early, with its error, if ctx ends.
func (e *Engine) Reconcile(ctx context.Context, names ...string) error {
	done := make(chan struct{})
	e.enqueue(names, done)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Notice is a wake-up of unknown cause: everything is looked at soon. A storm
// of them costs a small share of the time, whatever a look costs.
func (e *Engine) Notice() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.look == nil {
		e.look = time.AfterFunc(e.pace.wait(time.Now()), func() { e.enqueue(nil, nil) })
	}
}

// kernelNews is a wake-up. A port that takes the MAC address of another guest cuts that
// guest off, so its network is looked at without delay.
func (e *Engine) kernelNews(network string) {
	if network == "" {
		e.Notice()
		return
	}
	e.enqueue([]string{network}, nil)
}

func (e *Engine) enqueue(names []string, done chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending.names == nil {
		e.pending.names = map[string]bool{}
	}
	e.pending.full = e.pending.full || len(names) == 0
	for _, n := range names {
		e.pending.names[n] = true
	}
	if done != nil {
		e.pending.done = append(e.pending.done, done)
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) take() work {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.pending
	e.pending = work{}
	if w.full && e.look != nil {
		e.look.Stop()
		e.look = nil
	}
	return w
}

func (e *Engine) stopTimers() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.look != nil {
		e.look.Stop()
	}
	for _, r := range e.retries {
		r.timer.Stop()
	}
}

// Status returns what is known about a network.
func (e *Engine) Status(name string) Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status[name]
}

// Problems returns what is wrong with no network in particular.
func (e *Engine) Problems() map[string]error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.problems)
}

// Report notes what is wrong with a part of the daemon, or with nil that nothing is.
func (e *Engine) Report(part string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if delete(e.problems, part); err != nil {
		e.problems[part] = err
	}
}

// Alive returns nil if the loop turns, and an error if it has not by the end
// of ctx. It asks for no look at anything.
func (e *Engine) Alive(ctx context.Context) error {
	return e.Reconcile(ctx, "")
}
