package lease

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	logEvery      = time.Minute // while the disk fails
	retryRotation = 10 * time.Second
	retryRenewal  = time.Second
	retryStoring  = 2 * time.Second  // while the disk fails and nothing changes
	clockEvery    = 10 * time.Second // between two checks of the wall clock
)

// A batch is the changes of one commit.
type batch struct {
	buf []byte // a frame without its header
	ops []op
	err error
}

// op is what is to be published of a change once it is stored.
type op struct {
	event   Event
	done    func(error)
	network *Network // of a Bind
	stamp   uint64
	stored  bool // the lease was on the disk before
}

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, frameStart, 4096)} }}

func newBatch() *batch { return batches.Get().(*batch) }

func (b *batch) add(o op) { b.ops = append(b.ops, o) }

// renamed adds leases that got a hostname by the changes before. They are not written:
// the journal has the hostnames that they want.
func (b *batch) renamed(leases []Lease) {
	for _, l := range leases {
		b.add(op{event: Event{Kind: Renewed, Lease: l}})
	}
}

// settle marks the new leases as stored, as bound or extended since, or rolls them back: a
// lease that could not be stored ends, unless it was bound again since, which a later batch
// settles.
func (b *batch) settle() {
	for i := range b.ops {
		o := &b.ops[i]
		n, l := o.network, &o.event.Lease
		if n == nil || o.stored {
			continue
		}
		n.mu.Lock()
		switch e := n.byClient[l.Client()]; {
		case e == nil:
		case b.err == nil:
			e.stored = e.stored || e.live && e.Address == l.Address && e.stamp >= o.stamp
		case e.stamp == o.stamp && !e.stored:
			n.endLocked(l.Client(), l.Address, l.Start)
		}
		n.mu.Unlock()
	}
}

// OnStored has f called whenever leases were stored, before the callers of Bind learn of it:
// the firewall admits a guest before the guest knows its address. f delays all of them, and
// has to be quick. Call it before Run, once.
func (t *Table) OnStored(f func()) { t.onStored = f }

// finish calls back the callers, publishes the changes that were made, and recycles the
// batch. Callers come first: a client waits for them.
func (b *batch) finish(ws *watchers) {
	for i := range b.ops {
		o := &b.ops[i]
		err := b.err
		if err != nil && o.stored {
			err = fmt.Errorf("%w: %w", ErrNotExtended, err)
		}
		finish(o.done, err)
	}
	for i := range b.ops {
		if o := &b.ops[i]; o.event.Kind != 0 && (b.err == nil || o.network == nil || o.stored) {
			ws.publish(o.event)
		}
	}
	clear(b.ops)
	b.buf, b.ops, b.err = b.buf[:frameStart], b.ops[:0], nil
	batches.Put(b)
}

// Run writes changes to the disk, and ends leases that expire, until ctx ends; then it
// stores the pending changes and closes the table. While it writes, the next changes
// are gathered; another goroutine calls back, so that callers do not delay the disk. Run it
// once.
func (t *Table) Run(ctx context.Context) error {
	stored := make(chan *batch, 4)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for b := range stored {
			t.onStored()
			b.finish(&t.watch)
		}
	}()
	t.write(ctx, stored)

	t.gathered.Lock()
	t.gathered.closed = true
	t.gathered.stale = true // the next boot is to know the time of the shutdown
	t.gathered.Unlock()
	t.commit(stored)
	close(stored)
	<-finished
	if t.journal == nil {
		return nil
	}
	return t.journal.close()
}

// write is the loop of the one goroutine that owns the journal.
func (t *Table) write(ctx context.Context, stored chan<- *batch) {
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	if t.dir != "" && t.snapshots.pending() { // a crash interrupted it
		t.snapshots.start()
	}
	defer t.snapshots.wait()
	for {
		t.resetTimer(end)
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			t.followWallClock()
			t.expire(time.Now())
			t.commit(stored) // there may be space again
		case r := <-t.snapshots.done:
			t.snapshots.finished(r)
		case <-t.wake:
			t.followWallClock()
			t.commit(stored)
			t.snapshots.rotate()
		}
	}
}

func (t *Table) resetTimer(end *time.Timer) {
	t.gathered.Lock()
	next := t.gathered.next
	t.gathered.Unlock()
	wait := clockEvery
	if t.Storing() != nil {
		wait = retryStoring
	}
	if !next.IsZero() {
		wait = min(wait, max(0, time.Until(next)))
	}
	end.Reset(wait)
}

// followWallClock detects steps of the wall clock: leases then keep
// their lengths and get other dates.
func (t *Table) followWallClock() {
	if t.clock.Load().step(t.now()).Abs() < minStep {
		return
	}
	t.stepped.Lock()
	defer t.stepped.Unlock()
	was, r := t.clock.Load(), t.read()
	step := was.step(r.Now)
	if step.Abs() < minStep {
		return // another call handled it, or the thread was interrupted
	}
	t.logStep(step, r.Now)
	c := newClock(r)
	c.mono = was.stored(c.base)
	t.clock.Store(c)
	for _, n := range t.networks() {
		n.mu.Lock()
		for _, e := range n.byClient {
			e.Start, e.Expires = c.exact(e.Start), c.exact(e.Expires)
		}
		n.byName.refresh()
		n.mu.Unlock()
	}
	t.gathered.Lock()
	t.gathered.stale = true // the next boot is to know of it
	t.gathered.Unlock()
	t.kick()
}

// logStep logs that the wall clock differs from what it should be now.
func (t *Table) logStep(step time.Duration, now time.Time) {
	t.log.Warn("wall clock was stepped, or the host was suspended; leases keep their remaining time",
		"expected", now.Add(-step).Round(0), "now", now.Round(0), "step", step.Round(time.Second))
}

// expire ends the leases of every network that have expired.
func (t *Table) expire(now time.Time) {
	t.gathered.Lock()
	t.gathered.next = time.Time{}
	t.gathered.Unlock()
	for _, n := range t.networks() {
		n.mu.Lock()
		n.expireLocked(now)
		expired, renamed := n.unpublished, n.renamedLocked()
		n.unpublished = nil
		n.mu.Unlock()
		for _, l := range expired {
			t.watch.publish(Event{Kind: Expired, Lease: l})
		}
		t.publishRenamed(renamed)
		t.expectEnd(n)
	}
}

// commit stores the gathered changes, and passes the batch on to be published. While the disk
// fails it also tries without a change.
func (t *Table) commit(stored chan<- *batch) {
	fresh := newBatch()
	t.gathered.Lock()
	b := t.gathered.batch
	t.gathered.batch = fresh
	stale := t.gathered.stale
	t.gathered.stale = false
	t.gathered.Unlock()
	if t.dir != "" && (len(b.buf) > frameStart || stale || t.Storing() != nil) {
		b.err = t.store(b.buf)
		t.report(b.err)
	}
	b.settle()
	stored <- b
}

func (t *Table) store(frame []byte) error {
	if t.journal.suspect {
		if failing := t.Storing(); failing != nil && time.Now().Before(t.snapshots.retry) {
			return failing
		}
		t.snapshots.wait() // it writes the same file
		if err := t.recreate(); err != nil {
			t.snapshots.retry = time.Now().Add(retryRenewal)
			return err
		}
	}
	err := t.journal.append(frame, t.clock.Load().stamp(t.now()))
	if errors.Is(err, errRemoved) { // no lease is lost: memory has them all
		t.snapshots.wait()
		if err = t.recreate(); err == nil {
			err = t.journal.append(frame, t.clock.Load().stamp(t.now()))
		}
	}
	return err
}

// Storing returns why leases cannot be stored, as of the last attempt, or nil.
// Then clients with a lease keep it, and others get none: one that is in memory
// only would be lost at the next start, and its address given to another client.
func (t *Table) Storing() error {
	if err := t.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// OnStoring has f called when the result of Storing has changed. f must not wait.
// Call it before Run, once.
func (t *Table) OnStoring(f func()) { t.onStoring = f }

// report notes and logs that the disk begins to fail, once a minute that it still
// does, and that it works again.
func (t *Table) report(err error) {
	was, now := t.Storing(), time.Now()
	switch {
	case err != nil:
		t.trouble.Store(&err)
		if was == nil || now.After(t.nextLog) {
			t.log.Error("leases cannot be stored; new clients get no address until they can", "dir", t.dir, "err", err)
			t.nextLog = now.Add(logEvery)
		}
	case was != nil:
		t.trouble.Store(nil)
		t.log.Info("leases can be stored again", "dir", t.dir)
	}
	if (err == nil) != (was == nil) || err != nil && err.Error() != was.Error() {
		t.onStoring()
	}
}

// snapshots writes snapshots in the background, one at a time.
type snapshots struct {
	t       *Table
	done    chan snapshotResult
	running bool
	retry   time.Time // not before
}

type snapshotResult struct {
	size int64
	err  error
}

// pending reports whether a rotated journal has no snapshot yet.
func (s *snapshots) pending() bool {
	_, err := os.Lstat(filepath.Join(s.t.dir, "journal.old"))
	return err == nil
}

func (s *snapshots) start() {
	s.running = true
	go func() {
		size, err := s.t.writeSnapshot()
		s.done <- snapshotResult{size, err}
	}()
}

func (s *snapshots) wait() {
	if s.running {
		s.finished(<-s.done)
	}
}

func (s *snapshots) finished(r snapshotResult) {
	s.running = false
	if r.err != nil {
		s.t.log.Warn("leases could not be compacted", "dir", s.t.dir, "err", r.err)
		s.retry = time.Now().Add(retryRotation)
		return
	}
	s.t.compacted = r.size
}

// rotate starts a snapshot if the journal has outgrown the last one.
func (s *snapshots) rotate() {
	t := s.t
	if t.dir == "" || s.running || t.journal.suspect || t.journal.size < max(t.rotateAt, 2*t.compacted) {
		return
	}
	if time.Now().Before(s.retry) {
		return
	}
	if !s.pending() {
		if err := t.rotate(); err != nil {
			s.finished(snapshotResult{err: err})
			return
		}
	}
	s.start()
}
