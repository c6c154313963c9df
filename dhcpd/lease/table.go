package lease

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	maxWaiting  = 1 << 16 // changes that may wait for the disk
	minRotation = 4 << 20 // a journal shorter than this is never compacted
)

// A Table is all leases of all networks. Its methods may be called from any
// goroutine; only [Table.Run] writes to the disk.
type Table struct {
	dir   string // "": nothing is stored
	log   *slog.Logger
	watch watchers

	onStored func()

	mu       sync.RWMutex // guards byName
	byName   map[string]*Network
	wake     chan struct{} // room for one: the writer has something to do
	gathered struct {
		sync.Mutex
		*batch
		stamp  uint64
		closed bool
		next   time.Time // the earliest end of a lease; too early does no harm
	}

	// Owned by the writer.
	journal   *journal
	compacted int64 // size of the snapshot
	rotateAt  int64 // smallest journal that is compacted
	snapshots snapshots
	failing   error // the last commit's
	complain  time.Time
}

// Open reads the leases stored in dir, which it makes if need be. It takes no
// lock: the caller sees to it that dir has one user. A torn end is cut off and
// logged; a file that is damaged otherwise, or not ours, is an error that
// names it.
func Open(dir string, log *slog.Logger) (*Table, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lease directory: %w", err)
	}
	t := newTable(dir, log)
	good, err := t.load(time.Now())
	if err != nil {
		return nil, err
	}
	if t.journal, err = openJournal(dir, good); err != nil {
		return nil, fmt.Errorf("lease journal: %w", err)
	}
	for _, n := range t.networks() {
		t.expectEnd(n)
	}
	return t, nil
}

// Memory returns an empty table that stores nothing: every Bind is done when
// it returns. Run still ends leases whose time is over.
func Memory(log *slog.Logger) *Table { return newTable("", log) }

func newTable(dir string, log *slog.Logger) *Table {
	t := &Table{
		dir: dir, log: log, rotateAt: minRotation, onStored: func() {},
		byName: map[string]*Network{},
		wake:   make(chan struct{}, 1),
		watch:  watchers{all: map[*watcher]bool{}},
	}
	t.gathered.batch = newBatch()
	t.snapshots = snapshots{t: t, done: make(chan snapshotResult, 1)}
	return t
}

// Network returns the live view of a network, which may have no leases. It is
// the same one for the life of the table.
func (t *Table) Network(name string) *Network {
	t.mu.RLock()
	n := t.byName[name]
	t.mu.RUnlock()
	if n != nil {
		return n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n = t.byName[name]; n == nil {
		n = newNetwork(name)
		t.byName[name] = n
	}
	return n
}

func (t *Table) networks() []*Network {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*Network, 0, len(t.byName))
	for _, n := range t.byName {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *Network) int { return cmp.Compare(a.name, b.name) })
	return all
}

// Leases returns the leases in force of one network, sorted by address.
func (t *Table) Leases(network string) []Lease {
	return t.Network(network).Leases(time.Now())
}

// All returns the leases in force, sorted by network and address.
func (t *Table) All() []Lease {
	var all []Lease
	now := time.Now()
	for _, n := range t.networks() {
		all = append(all, n.Leases(now)...)
	}
	return all
}

// Bind makes l the lease of its client (network and [Client]), replacing the one it
// had, and takes the address and the hostname from whoever had them. Memory
// changes at once. done is called when the lease is on stable storage, or with
// the reason why it is not. Then the lease has ended again, unless the reason
// is ErrNotExtended. done may be nil, runs on another goroutine or before Bind
// returns, and must not wait.
func (t *Table) Bind(l Lease, done func(error)) {
	n := t.Network(l.Network)
	n.mu.Lock()
	stamp, err := t.gather()
	if err != nil {
		n.mu.Unlock()
		finish(done, err)
		return
	}
	renewed, evicted := n.putLocked(l, stamp, true)
	b := t.gathered.batch
	if evicted != nil {
		b.add(op{event: Event{Kind: Released, Lease: *evicted}})
	}
	e := n.byClient[l.Client()]
	op := op{event: Event{Kind: Bound, Lease: e.Lease}, done: done, network: n, stamp: stamp, stored: e.stored}
	if renewed {
		op.event.Kind = Renewed
	}
	b.buf = appendBind(b.buf, &op.event.Lease)
	b.add(op)
	sooner := t.expectLocked(l.Expires)
	n.mu.Unlock()
	t.release(sooner)
}

// End ends an IPv4 client's lease of addr. See EndLease.
func (t *Table) End(kind Kind, network string, mac MAC, addr netip.Addr, at time.Time, done func(error)) {
	t.EndLease(kind, Lease{Network: network, MAC: mac, Address: addr}, at, done)
}

// EndLease ends the lease that l's client has of l's address at the given
// time, with the kind Released or Declined for the event. Nothing else of l
// counts. done is as with Bind; ErrNotFound says that the client holds no such
// lease. If the disk fails the lease has ended all the same, until a restart.
func (t *Table) EndLease(kind Kind, l Lease, at time.Time, done func(error)) {
	n := t.Network(l.Network)
	n.mu.Lock()
	_, err := t.gather()
	if err != nil {
		n.mu.Unlock()
		finish(done, err)
		return
	}
	was := n.endLocked(l.Client(), l.Address, at)
	if was != nil {
		b := t.gathered.batch
		b.buf = appendEnd(b.buf, was, at)
		b.add(op{event: Event{Kind: kind, Lease: *was}, done: done})
	}
	n.mu.Unlock()
	t.release(was != nil)
	if was == nil {
		finish(done, ErrNotFound)
	}
}

// Release ends the lease of an address and waits until that is stored, for
// which Run must be running. ErrNotFound: nobody holds it.
func (t *Table) Release(network string, addr netip.Addr) error {
	l, ok := t.Network(network).ByAddr(addr)
	if !ok || !l.Live(time.Now()) {
		return fmt.Errorf("release %s in network %s: %w", addr, network, ErrNotFound)
	}
	done := make(chan error, 1)
	t.EndLease(Released, l, time.Now(), func(err error) { done <- err })
	if err := <-done; err != nil {
		return fmt.Errorf("release %s in network %s: %w", addr, network, err)
	}
	return nil
}

// Forget removes all memory of a network and waits until that is stored, for
// which Run must be running. A network without leases is no error.
func (t *Table) Forget(network string) error {
	n := t.Network(network)
	done := make(chan error, 1)
	n.mu.Lock()
	_, err := t.gather()
	if err != nil {
		n.mu.Unlock()
		return fmt.Errorf("forget the leases of network %s: %w", network, err)
	}
	b := t.gathered.batch
	for _, e := range n.byClient {
		if e.live {
			b.add(op{event: Event{Kind: Released, Lease: e.Lease}})
		}
	}
	n.clear()
	b.buf = appendForget(b.buf, network)
	b.add(op{done: func(err error) { done <- err }})
	n.mu.Unlock()
	t.release(true)
	if err := <-done; err != nil {
		return fmt.Errorf("forget the leases of network %s: %w", network, err)
	}
	return nil
}

// Tell sends an event that changes no lease: an address was declined that
// nobody had leased.
func (t *Table) Tell(ev Event) { t.watch.tell(ev) }

// gather locks the batch that waits for the disk, and numbers the change.
// The caller holds its network's lock, so that memory and journal change in the
// same order, and calls release. After an error nothing is locked.
func (t *Table) gather() (stamp uint64, err error) {
	g := &t.gathered
	g.Lock()
	switch {
	case g.closed:
		err = ErrClosed
	case len(g.ops) >= maxWaiting:
		err = ErrBusy
	}
	if err != nil {
		g.Unlock()
		return 0, err
	}
	g.stamp++
	return g.stamp, nil
}

// release ends what gather began, and wakes the writer if there is need.
func (t *Table) release(wake bool) {
	if t.dir == "" {
		b := t.gathered.batch
		t.gathered.batch = newBatch()
		t.gathered.Unlock()
		b.settle()
		b.finish(&t.watch)
	} else {
		wake = wake || len(t.gathered.ops) > 0
		t.gathered.Unlock()
	}
	if wake {
		t.kick()
	}
}

func (t *Table) kick() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// expectLocked notes when a lease ends, and says whether that is sooner than all
// others. The batch is locked.
func (t *Table) expectLocked(end time.Time) bool {
	next := &t.gathered.next
	if end.IsZero() || !next.IsZero() && !end.Before(*next) {
		return false
	}
	*next = end
	return true
}

func (t *Table) expectEnd(n *Network) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if len(n.ending) > 0 {
		t.gathered.Lock()
		t.expectLocked(n.ending[0].Expires)
		t.gathered.Unlock()
	}
}

// Close ends a table whose Run never ran or has returned.
func (t *Table) Close() error {
	g := &t.gathered
	g.Lock()
	closed := g.closed
	g.closed = true
	b := g.batch
	g.batch = newBatch()
	g.Unlock()
	b.err = ErrClosed
	b.finish(&t.watch)
	if closed || t.journal == nil {
		return nil
	}
	return t.journal.close()
}

func finish(done func(error), err error) {
	if done != nil {
		done(err)
	}
}
