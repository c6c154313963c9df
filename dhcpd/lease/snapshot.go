package lease

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	snapshotFrame = 64 << 10
	usualRecord   = 96 // octets, with a hostname and a client identifier
)

// load reads what Open finds in dir and returns how much of the journal is
// good.
func (t *Table) load(now time.Time) (good int64, err error) {
	if err := t.loadSnapshot(now); err != nil {
		return 0, err
	}
	if _, err := t.loadJournal("journal.old", now); err != nil {
		return 0, err
	}
	good, err = t.loadJournal("journal", now)
	if err != nil {
		return 0, err
	}
	for _, n := range t.networks() {
		n.expire(now)
		n.settleLocked()
	}
	return good, nil
}

func (t *Table) loadSnapshot(now time.Time) error {
	path := filepath.Join(t.dir, "snapshot")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var seen, count uint64
	good, err := replay(data, snapshotMagic, func(r record) error {
		if r.kind == recCount {
			count = r.count + 1
			return nil
		}
		seen++
		return t.apply(r, now)
	})
	if err == nil && (good != len(data) || count != seen+1) {
		err = errors.New("it is incomplete")
	}
	if err != nil {
		return fmt.Errorf("lease snapshot %s: %w", path, err)
	}
	t.compacted = int64(len(data))
	return nil
}

func (t *Table) loadJournal(name string, now time.Time) (int64, error) {
	path := filepath.Join(t.dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	good, err := replay(data, journalMagic, func(r record) error { return t.apply(r, now) })
	if err != nil {
		return 0, fmt.Errorf("lease journal %s: %w (move it away to start without it)", path, err)
	}
	if torn := bytes.TrimRight(data[good:], "\x00"); len(torn) > 0 {
		t.log.Warn("torn end of the lease journal was cut off", "file", path, "octets", len(torn))
	}
	return int64(good), nil
}

// apply puts a record that was read into memory.
func (t *Table) apply(r record, now time.Time) error {
	n := t.Network(r.lease.Network)
	switch r.kind {
	case recBind, recBind6:
		n.putLocked(r.lease, 0, r.lease.Live(now))
		n.byClient[r.lease.Client()].stored = true
	case recEnd, recEnd6:
		n.endLocked(r.lease.Client(), r.lease.Address, r.lease.Expires)
	case recForget:
		n.clear()
	default:
		return errRecord
	}
	return nil
}

// snapshot returns the contents of a snapshot file. Leases may change while it
// is made: those changes are in the journal that follows it.
func (t *Table) snapshot() []byte {
	networks := t.networks()
	size := snapshotFrame
	for _, n := range networks {
		size += n.count() * usualRecord
	}
	// In one piece: to grow by copies would take the memory of the leases again.
	b := append(make([]byte, 0, size), snapshotMagic...)
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	count := 0
	add := func(l *Lease) {
		b = appendBind(b, l)
		count++
		if len(b)-start > snapshotFrame {
			sealFrame(b[start:])
			start = len(b)
			b = append(b, make([]byte, frameHeader)...)
		}
	}
	for _, n := range networks {
		n.eachInOrder(add)
	}
	b = appendCount(b, count)
	sealFrame(b[start:])
	return b
}

// eachInOrder calls add with every lease, first those that ended: a replay
// that takes one of them for live (the clock was set back) then lets the
// live ones have their hostnames.
func (n *Network) eachInOrder(add func(*Lease)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range n.ended {
		for e := n.ended[i].front; e != nil; e = e.next {
			add(&e.Lease)
		}
	}
	for _, e := range n.byClient {
		if e.live {
			add(&e.Lease)
		}
	}
}

// writeSnapshot stores the memory. When it returns, the journals up to the
// moment of the call are not needed any more.
func (t *Table) writeSnapshot() (int64, error) {
	data := t.snapshot()
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
	j, err := openJournal(t.dir, 0)
	if err != nil {
		back := errors.Join(os.Rename(old, current), syncDir(t.dir))
		t.journal.suspect = back != nil
		return errors.Join(err, back)
	}
	_ = t.journal.close()
	t.journal = j
	return nil
}

// renew replaces a journal whose contents are in doubt by a snapshot and an
// empty journal.
func (t *Table) renew() error {
	size, err := t.writeSnapshot()
	if err != nil {
		return err
	}
	if err := writeFile(t.dir, "journal", []byte(journalMagic)); err != nil {
		return err
	}
	j, err := openJournal(t.dir, int64(len(journalMagic)))
	if err != nil {
		return err
	}
	t.journal.f.Close()
	t.journal, t.compacted = j, size
	return nil
}
