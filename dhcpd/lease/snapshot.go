package lease

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vnetd/vnetd/internal/hostclock"
	"github.com/vnetd/vnetd/internal/owner"
)

const (
	snapshotFrame = 64 << 10
	usualRecord   = 96 // octets, with a hostname and a client identifier
)

// A loader reads the files of a table.
type loader struct {
	*Table
	now     hostclock.Reading
	boots   []bootClock // that the files are of; the first stands for files of version 1
	boot    int         // of the frame that is being read
	old     bool        // a file is of version 1
	damaged []string    // or unreadable files, to be set aside
	tail    *file       // the journal, if it can be appended to
}

// load reads the files in dir. Damaged parts are logged, and the rest is used.
func (t *Table) load(now hostclock.Reading) loader {
	l := loader{Table: t, now: now, boots: make([]bootClock, 1)}
	l.readSnapshot()
	l.readJournal("journal.old")
	l.tail = l.readJournal("journal")
	for i := range l.boots {
		if b := &l.boots[i]; (i > 0 || l.old) && !b.runs(now) {
			l.tail = nil // its times are of another clock
			last := time.Unix(0, 0).Add(b.offset + b.last)
			if b.known && now.Now.Before(last) {
				l.log.Warn("wall clock is behind that of the last boot; leases count from there", "last", last, "now", now.Now)
			}
		}
	}
	t.clock.Store(l.clock())
	for _, n := range t.networks() {
		n.settle(l.settle, t.clock.Load().base)
	}
	return l
}

// clock returns the clock that goes on with the journal's.
func (l *loader) clock() *clock {
	c := newClock(l.now)
	for i := range l.boots {
		b := &l.boots[i]
		if !b.runs(l.now) {
			continue
		}
		mono := c.wall() - b.offset
		if step := mono - c.mono; step.Abs() >= minStep {
			l.logStep(step, c.base)
			l.gathered.stale = true
		} else {
			c.mono = mono // differences that are no step do not add up
		}
	}
	return c
}

// read reads a file, and calls yield with its records.
func (l *loader) read(name, magic string, yield func(record)) (f file, found bool) {
	path := filepath.Join(l.dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false
	} else if err != nil {
		f.damage = err
		return f, true
	}
	for f = openFile(data, magic); ; {
		s, recs, ok := f.next()
		if !ok {
			return f, true
		}
		l.stamp(s, f.version)
		if err := records(recs, yield); err != nil {
			f.damaged("before offset %d: %w", f.at, err)
		}
	}
}

// stamp notes the clocks of a frame.
func (l *loader) stamp(s stamp, version int) {
	if l.boot = 0; version == 1 {
		l.old = true
		return
	}
	for l.boot = 1; l.boot < len(l.boots) && l.boots[l.boot].id != s.boot; l.boot++ {
	}
	if l.boot == len(l.boots) {
		l.boots = append(l.boots, bootClock{id: s.boot, known: true})
	}
	b := &l.boots[l.boot]
	b.offset, b.last = s.wall-s.mono, max(b.last, s.mono)
}

// setAside has a damaged file set aside.
func (l *loader) setAside(name string, why error) {
	l.damaged = append(l.damaged, name)
	l.log.Error("lease file is damaged; what can be read of it is kept, and the file is set aside", "file", filepath.Join(l.dir, name), "err", why)
}

func (l *loader) readSnapshot() {
	var seen, count uint64
	f, found := l.read("snapshot", snapshotMagic, func(r record) {
		if r.kind == recCount {
			count = r.count + 1
			return
		}
		seen++
		l.apply(r)
	})
	if !found {
		return
	}
	l.compacted = int64(len(f.data))
	if count != seen+1 {
		f.damaged("incomplete: %d records can be read", seen)
	}
	if f.damage != nil {
		l.setAside("snapshot", f.damage)
	}
}

// readJournal returns the file if it can be appended to.
func (l *loader) readJournal(name string) *file {
	f, found := l.read(name, journalMagic, l.apply)
	if !found {
		return nil
	}
	path := filepath.Join(l.dir, name)
	// Octets behind the last intact frame, but for zeros, are a frame that was written in part.
	if tail := len(bytes.TrimRight(f.data[f.good:], "\x00")); tail > 0 && f.damage == nil {
		if f.version == 1 { // which cannot tell a truncated tail from damage
			f.damaged("truncated or damaged at offset %d", f.good)
		} else {
			l.log.Warn("truncated tail of the lease journal removed", "file", path, "octets", tail)
		}
	}
	if f.damage != nil {
		l.setAside(name, f.damage)
	}
	if f.damage != nil || f.version != 2 || f.good == 0 {
		return nil
	}
	return &f
}

// apply puts a record into memory, as if its lease did not expire: that is
// known when all clocks are.
func (l *loader) apply(r record) {
	boot := l.boot
	if r.wall {
		boot = 0
	}
	n := l.Network(r.lease.Network)
	switch r.kind {
	case recBind:
		n.putLocked(r.lease, uint64(boot), true)
		n.byClient[r.lease.Client()].stored = true
	case recEnd:
		if n.endLocked(r.lease.Client(), r.lease.Address, r.lease.Expires) != nil {
			n.byClient[r.lease.Client()].stamp = uint64(boot)
		}
	case recForget:
		n.clear()
	}
}

// settle converts the times of an entry from its boot's clock to this boot's.
// Of another boot's lease the end is bounded by the lease's length, and the port
// is gone.
func (l *loader) settle(e *entry) {
	b, c := &l.boots[e.stamp], l.Table.clock.Load()
	e.stamp = 0
	same := b.runs(l.now)
	now := b.at(l.now)
	if same {
		now = c.mono
	}
	here := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return c.base.Add(t.Sub(time.Unix(0, 0).Add(now)))
	}
	e.Start, e.Expires = here(e.Start), here(e.Expires)
	if !e.live && e.Expires.After(c.base) {
		e.Expires = c.base
	}
	if same {
		return
	}
	if e.Start.After(c.base) {
		e.Start = c.base
	}
	if end := c.base.Add(e.Length); e.live && e.Length > 0 && e.Expires.After(end) {
		e.Expires = end
	}
	if e.Port != 0 {
		e.Port, e.absent = goneLink, !e.Relay
	}
}

// contents returns the contents of a snapshot file. Leases may change meanwhile:
// those changes are in the journal that follows it.
func (t *Table) contents() []byte {
	networks, c := t.networks(), t.clock.Load()
	at := c.stamp(t.now())
	size := snapshotFrame
	for _, n := range networks {
		size += n.count() * usualRecord
	}
	head, m := header(snapshotMagic)
	// In one piece: to grow by copies would take the memory of the leases again.
	b := append(make([]byte, 0, size), head...)
	start := len(b)
	begin := func() {
		start = len(b)
		b = append(b, make([]byte, frameStart)...)
	}
	begin()
	count := 0
	add := func(e *entry) {
		b = appendBind(b, &e.Lease, c)
		if !e.live {
			b = appendEnd(b, &e.Lease, e.Expires, c)
			count++
		}
		count++
		if len(b)-start > snapshotFrame {
			sealFrame(b[start:], m, at)
			begin()
		}
	}
	for _, n := range networks {
		n.eachInOrder(add)
	}
	b = binary.BigEndian.AppendUint64(append(b, recCount), uint64(count))
	sealFrame(b[start:], m, at)
	return b
}

// eachInOrder calls add with every lease, first those that ended, so that in a replay
// active ones get the hostnames.
func (n *Network) eachInOrder(add func(*entry)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range n.ended {
		for e := n.ended[i].front; e != nil; e = e.next {
			add(e)
		}
	}
	for _, e := range n.byClient {
		if e.live {
			add(e)
		}
	}
}

// writeSnapshot stores all leases. When it returns, the journals up to the
// moment of the call are not needed any more.
func (t *Table) writeSnapshot() (int64, error) {
	data := t.contents()
	if err := writeFile(t.dir, "snapshot", data); err != nil {
		return 0, fmt.Errorf("lease snapshot in %s: %w", t.dir, err)
	}
	err := os.Remove(filepath.Join(t.dir, "journal.old"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return int64(len(data)), nil
}

// rotate makes the journal journal.old and begins a new one. After an error
// the old one goes on.
func (t *Table) rotate() error {
	current, old := filepath.Join(t.dir, "journal"), filepath.Join(t.dir, "journal.old")
	if err := os.Rename(current, old); err != nil {
		return err
	}
	j, err := createJournal(t.dir)
	if err != nil {
		back := errors.Join(os.Rename(old, current), syncDir(t.dir))
		t.journal.suspect = back != nil
		return errors.Join(err, back)
	}
	_ = t.journal.close()
	t.journal = j
	return nil
}

// recreate replaces suspect files by a snapshot and an empty journal. Damaged ones are set
// aside.
func (t *Table) recreate() error {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return fmt.Errorf("lease directory: %w", err)
	}
	if err := owner.Inherit(t.dir); err != nil {
		return fmt.Errorf("lease directory: %w", err)
	}
	for len(t.damaged) > 0 {
		if err := setAside(t.dir, t.damaged[0]); err != nil {
			return fmt.Errorf("set a damaged lease file aside: %w", err)
		}
		t.damaged = t.damaged[1:]
	}
	size, err := t.writeSnapshot()
	if err != nil {
		return err
	}
	j, err := createJournal(t.dir)
	if err != nil {
		return err
	}
	_ = t.journal.close()
	t.journal, t.compacted = j, size
	return nil
}

const (
	asideSuffix = ".damaged"
	maxAside    = 8
)

// setAside gives a file a second name, so that it stays when its successor takes the
// first one. What cannot have two, a directory, is renamed.
func setAside(dir, name string) error {
	path := filepath.Join(dir, name)
	is, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	aside := path + asideSuffix
	for i := 2; i <= maxAside; i++ {
		taken, err := os.Lstat(aside)
		if err != nil {
			break
		}
		if os.SameFile(is, taken) {
			return nil // done before a crash
		}
		aside = fmt.Sprint(path, asideSuffix, ".", i)
	}
	if os.Link(path, aside) == nil {
		return nil
	}
	return os.Rename(path, aside)
}
