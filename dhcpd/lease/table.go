package lease

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/internal/hostclock"
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

	onStored  func()
	onStoring func()

	now     func() time.Time
	read    func() hostclock.Reading
	clock   atomic.Pointer[clock]
	stepped sync.Mutex // held while a step of the wall clock is dealt with

	mu       sync.RWMutex // guards byName
	byName   map[string]*Network
	wake     chan struct{} // room for one: the writer has something to do
	gathered struct {
		sync.Mutex
		*batch
		stamp  uint64
		stale  bool // the journal does not know of a step of the wall clock
		closed bool
		next   time.Time // the earliest end of a lease; too early does no harm
	}

	trouble atomic.Pointer[error] // why nothing can be stored, as of the last commit

	// Owned by the writer.
	journal   *journal
	damaged   []string // files that are to be set aside before others take their names
	compacted int64    // size of the snapshot
	rotateAt  int64    // smallest journal that is compacted
	snapshots snapshots
	nextLog   time.Time // of a failure
}

// Open reads the leases stored in dir, which it creates if necessary. It takes no
// lock: the caller ensures that dir has one user.
//
// The table serves whatever the state of dir is. A truncated tail of the journal is
// removed and logged. A file that is damaged, or cannot be read, is set aside under
// another name, and its readable part is used; see [Table.Problems]. While
// dir cannot be written, leases in force are extended and no new ones are bound, as
// with a full disk; see [Table.Storing].
func Open(dir string, log *slog.Logger) *Table { return open(dir, log, time.Now, hostclock.Read) }

func open(dir string, log *slog.Logger, now func() time.Time, read func() hostclock.Reading) *Table {
	t := newTable(dir, log)
	t.now, t.read = now, read
	l := t.load(read())
	t.damaged = l.damaged
	err := errors.New("no journal")
	if l.tail != nil {
		t.journal, err = openJournal(dir, l.tail.marker, int64(l.tail.good))
	}
	if err != nil {
		t.journal = &journal{suspect: true}
		err = t.recreate()
	}
	t.report(err)
	for _, n := range t.networks() {
		t.expectEnd(n)
	}
	return t
}

// Problems returns what an administrator should know about the files: those that were
// set aside, until they are removed.
func (t *Table) Problems() []string {
	if t.dir == "" {
		return nil
	}
	aside, _ := filepath.Glob(filepath.Join(t.dir, "*"+asideSuffix+"*"))
	var out []string
	for _, path := range aside {
		out = append(out, fmt.Sprintf("lease file was damaged and is set aside as %s: what could be read of it is in force, the rest returns when clients renew; remove the file to clear this", path))
	}
	return out
}

// Memory returns an empty table that stores nothing: every Bind is done when
// it returns. Run still ends leases that expire.
func Memory(log *slog.Logger) *Table { return newTable("", log) }

func newTable(dir string, log *slog.Logger) *Table {
	t := &Table{
		dir: dir, log: log, rotateAt: minRotation, onStored: func() {}, onStoring: func() {}, now: time.Now, read: hostclock.Read,
		byName: map[string]*Network{},
		wake:   make(chan struct{}, 1),
		watch:  watchers{all: map[*watcher]bool{}},
	}
	t.clock.Store(newClock(hostclock.Read()))
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
		n = &Network{name: name}
		n.clear()
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
	t.followWallClock()
	return t.Network(network).Leases(time.Now())
}

// All returns the leases in force, sorted by network and address.
func (t *Table) All() []Lease {
	t.followWallClock()
	var all []Lease
	now := time.Now()
	for _, n := range t.networks() {
		all = append(all, n.Leases(now)...)
	}
	return all
}

// Bind makes l the lease of its client (network and [Client]), replacing the one it
// had, and takes the address and the hostname from clients that had them. Memory
// changes at once. done is called when the lease is on stable storage, or with
// the reason why it is not. Then the lease has ended again, unless the reason
// is ErrNotExtended. done may be nil, runs on another goroutine or before Bind
// returns, and must not wait.
func (t *Table) Bind(l Lease, done func(error)) {
	c := t.clock.Load()
	l.Start, l.Expires, l.Length = c.exact(l.Start), c.exact(l.Expires), 0
	if !l.Expires.IsZero() {
		l.Length = max(0, time.Until(l.Expires).Round(time.Millisecond))
	}
	n := t.Network(l.Network)
	if err := t.change(n, func(b *batch, stamp uint64) (wake bool) {
		renewed, evicted := n.putLocked(l, stamp, true)
		if evicted != nil {
			b.add(op{event: Event{Kind: Released, Lease: *evicted}})
		}
		e := n.byClient[l.Client()]
		op := op{event: Event{Kind: Bound, Lease: e.Lease}, done: done, network: n, stamp: stamp, stored: e.stored}
		if renewed {
			op.event.Kind = Renewed
		}
		b.buf = appendBind(b.buf, &op.event.Lease, c)
		b.add(op)
		b.renamed(n.renamedLocked())
		return t.expectLocked(l.Expires)
	}); err != nil {
		finish(done, err)
	}
}

// End ends an IPv4 client's lease of addr. See EndLease.
func (t *Table) End(kind Kind, network string, mac MAC, addr netip.Addr, at time.Time, done func(error)) {
	t.EndLease(kind, Lease{Network: network, MAC: mac, Address: addr}, at, done)
}

// EndLease ends the lease that l's client has of l's address at the given
// time, with the kind Released or Declined for the event. Nothing else of l
// counts. done is as with Bind; ErrNotFound means that the client holds no such
// lease. If the disk fails the lease has ended all the same, until a restart.
func (t *Table) EndLease(kind Kind, l Lease, at time.Time, done func(error)) {
	n := t.Network(l.Network)
	var was *Lease
	err := t.change(n, func(b *batch, _ uint64) (wake bool) {
		c := t.clock.Load()
		at = c.exact(at.Add(-time.Millisecond / 2)) // rounded down: it is over
		if was = n.endLocked(l.Client(), l.Address, at); was == nil {
			return false
		}
		b.buf = appendEnd(b.buf, was, at, c)
		b.add(op{event: Event{Kind: kind, Lease: *was}, done: done})
		b.renamed(n.renamedLocked())
		return true
	})
	if err == nil && was == nil {
		err = ErrNotFound
	}
	if err != nil {
		finish(done, err)
	}
}

// Release revokes the lease of an address and waits until that is stored, for
// which Run must be running. ErrNotFound: the address is not leased.
func (t *Table) Release(network string, addr netip.Addr) error {
	l, ok := t.Network(network).ByAddr(addr)
	if !ok || !l.Live(time.Now()) {
		return fmt.Errorf("release %s in network %s: %w", addr, network, ErrNotFound)
	}
	done := make(chan error, 1)
	n := t.Network(network)
	n.mu.Lock()
	if e := n.byClient[l.Client()]; e != nil && e.Address == addr {
		e.Revoked = true
	}
	n.mu.Unlock()
	t.EndLease(Released, l, time.Now(), func(err error) { done <- err })
	if err := <-done; err != nil {
		return fmt.Errorf("release %s in network %s: %w", addr, network, err)
	}
	return nil
}

// Forget deletes all leases of a network and waits until that is stored, for
// which Run must be running. A network without leases is no error.
func (t *Table) Forget(network string) error {
	n := t.Network(network)
	done := make(chan error, 1)
	if err := t.change(n, func(b *batch, _ uint64) (wake bool) {
		for _, e := range n.byClient {
			if e.live {
				b.add(op{event: Event{Kind: Released, Lease: e.Lease}})
			}
		}
		n.clear()
		b.buf = appendString(append(b.buf, recForget), network)
		b.add(op{done: func(err error) { done <- err }})
		return true
	}); err != nil {
		return fmt.Errorf("forget the leases of network %s: %w", network, err)
	}
	if err := <-done; err != nil {
		return fmt.Errorf("forget the leases of network %s: %w", network, err)
	}
	return nil
}

// SetPorts sets the ports of a network's bridge: a lease by another port keeps
// its hostname from no client that wants it. mark is the result of Mark before the bridge
// was read.
func (t *Table) SetPorts(network string, ports map[int32]bool, mark uint64) {
	n := t.Network(network)
	n.setPorts(ports, mark)
	n.mu.Lock()
	renamed := n.renamedLocked()
	n.mu.Unlock()
	t.publishRenamed(renamed)
}

// Mark identifies the leases that are bound by now.
func (t *Table) Mark() uint64 {
	t.gathered.Lock()
	defer t.gathered.Unlock()
	return t.gathered.stamp
}

func (t *Table) publishRenamed(leases []Lease) {
	for _, l := range leases {
		t.watch.publish(Event{Kind: Renewed, Lease: l})
	}
}

// PublishNameRefused publishes that a client asked for a hostname which another has.
func (t *Table) PublishNameRefused(l Lease, name string) {
	l.Wanted = name
	t.watch.publish(Event{Kind: NameRefused, Lease: l})
}

// Publish publishes an event that changes no lease: an address without a lease was
// declined.
func (t *Table) Publish(ev Event) { t.watch.publish(ev) }

// change calls f with the network and the pending batch locked; f reports
// whether the writer is to be woken in any case. They are unlocked also when f panics.
func (t *Table) change(n *Network, f func(b *batch, stamp uint64) (wake bool)) error {
	n.mu.Lock()
	stamp, err := t.gather()
	if err != nil {
		n.mu.Unlock()
		return err
	}
	wake := false
	defer func() {
		n.mu.Unlock()
		t.release(wake)
	}()
	wake = f(t.gathered.batch, stamp)
	return nil
}

// gather locks the pending batch, and numbers the change.
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

// release unlocks what gather locked, and wakes the writer if necessary.
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

// expectLocked notes when a lease expires, and reports whether that is before all
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

// Close closes a table. Run must not be running.
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
