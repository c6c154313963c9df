package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/vnetd/vnetd/api/definition"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// A Change is a network that is being stored. Its Entry counts from Begin on. When
// Stored has returned nil, the change is ended by Keep or by Undo; until then no other
// change of the network may begin.
type Change struct {
	Entry Entry

	s      *Store
	was    Entry
	had    bool
	broken error
	file   *pendingFile
	adopt  bool
	backup bool // the file as it was is kept, under another name
	done   chan error
	failed bool
}

// Begin changes a network, or creates it, if there is room for its file, which is put
// on stable storage meanwhile. An error leaves all as it was. If the daemon ends before a
// new network is stored, its pending file counts as a deletion at the next start, so that
// no link of it stays.
func (s *Store) Begin(n netdrv.Network, live bool) (*Change, error) { return s.begin(n, live, false) }

// Adopt is Begin for a network of which the host holds links already: whatever happens,
// they are not marked as removed.
func (s *Store) Adopt(n netdrv.Network, live bool) (*Change, error) { return s.begin(n, live, true) }

func (s *Store) begin(n netdrv.Network, live, adopt bool) (*Change, error) {
	s.mu.Lock()
	c := &Change{s: s, broken: s.broken[n.Name], adopt: adopt, done: make(chan error, 1)}
	c.was, c.had = s.entries[n.Name]
	delete(s.interrupted, n.Name) // its pending file is this change's now
	c.Entry = Entry{Network: n, Revision: s.revision + 1, Live: live}
	s.mu.Unlock()
	if err := c.write(); err != nil {
		return c, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.set(n.Name, c.Entry)
	delete(s.broken, n.Name)
	go func() { c.done <- c.file.replace(lasting(!n.Transient)) }()
	return c, nil
}

// Stored waits until the change is stored. If it is not, the network is again as it was,
// here and in its file.
func (c *Change) Stored() error {
	err := <-c.done
	if err != nil {
		c.failed = true
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.restore()
		err = errors.Join(err, c.s.markLive(c.Entry.Network.Name, c.had && c.was.Live), c.markRemoved())
		c.file.drop()
		c.dropBackup()
	}
	return err
}

// Keep ends a change that is to last.
func (c *Change) Keep() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.unstored, c.Entry.Network.Name)
	c.dropBackup()
	// A mark that stays is harmless: what is declared is not removed.
	_ = c.s.unmarkRemoved(c.s.removed.Networks, "networks", c.Entry.Network.Name)
}

// Undo ends a change that is not to last. The network is as it was, whatever is
// returned: an error says that its file is not, see StoreAgain. That takes no room on
// the disk.
func (c *Change) Undo() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.failed {
		return nil // Stored has
	}
	c.restore()
	name, path := c.Entry.Network.Name, c.s.path(c.Entry.Network)
	err := c.s.markLive(name, c.had && c.was.Live)
	switch {
	case c.backup:
		if back := os.Rename(backupOf(path), path); back != nil {
			err = errors.Join(err, back)
		} else {
			err = errors.Join(err, lasting(!c.Entry.Network.Transient).syncDir(filepath.Dir(path)))
		}
	case c.had:
		err = errors.Join(err, c.s.write(c.was))
	default:
		err = errors.Join(err, c.markRemoved(), removeFile(path, lasting(!c.Entry.Network.Transient)))
	}
	if err != nil {
		err = fmt.Errorf("restore %s: %w", path, err)
		c.s.unstored[name] = err
	}
	return err
}

// restore makes the network be as it was in memory; the lock is the caller's.
func (c *Change) restore() {
	name := c.Entry.Network.Name
	c.s.unset(name)
	if c.had {
		c.s.set(name, c.was)
	}
	if c.broken != nil {
		c.s.broken[name] = c.broken
	}
}

// markRemoved has the links of a new network that is not to last removed, by this daemon or
// the next. What was adopted stays.
func (c *Change) markRemoved() error {
	if c.had || c.adopt {
		return nil
	}
	return c.s.markRemoved(c.s.removed.Networks, "networks", c.Entry.Network.Name)
}

// write writes all that takes room, and puts nothing in the place of the file.
func (c *Change) write() error {
	name, path := c.Entry.Network.Name, c.s.path(c.Entry.Network)
	data, err := marshal(c.Entry)
	if err != nil {
		return err
	}
	if c.adopt {
		c.file, err = newFile(path, data)
	} else {
		c.file, err = newFileAt(pendingOf(path), path, data)
	}
	if err != nil {
		return err
	}
	err = os.Link(path, backupOf(path))
	if errors.Is(err, fs.ErrExist) {
		_ = os.Remove(backupOf(path))
		err = os.Link(path, backupOf(path))
	}
	if c.backup = err == nil; errors.Is(err, fs.ErrNotExist) || c.had {
		err = nil // there is nothing to keep, or it can be written again
	}
	if err == nil {
		err = c.s.markLive(name, c.Entry.Live)
	}
	if err != nil {
		c.file.drop()
		c.dropBackup()
		return fmt.Errorf("write network %s: %w", name, err)
	}
	return nil
}

func (c *Change) dropBackup() {
	if c.backup {
		_ = os.Remove(backupOf(c.s.path(c.Entry.Network))) // else the next start does
	}
}

// pendingOf is where the file of a network is written before it replaces the old one.
func pendingOf(path string) string {
	return filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path)+"~")
}

// backupOf is where the file of a network is kept while it changes.
func backupOf(path string) string {
	return filepath.Join(filepath.Dir(path), ".old-"+filepath.Base(path)+"~")
}

func marshal(e Entry) ([]byte, error) {
	p := wire.ToNetwork(&e.Network)
	p.Revision = e.Revision
	b, err := definition.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write network %s: %w", e.Network.Name, err)
	}
	return b, nil
}

// write stores the definition of an entry.
func (s *Store) write(e Entry) error {
	b, err := marshal(e)
	if err != nil {
		return err
	}
	return writeFile(s.path(e.Network), b, lasting(!e.Network.Transient))
}

// Revert makes a network be as it was before, or not be if before is nil, whatever is
// returned: an error says that this is not stored, see StoreAgain.
func (s *Store) Revert(name string, before *netdrv.Network, live bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, had := s.entries[name]
	s.unset(name)
	var err error
	if before == nil {
		if had {
			err = errors.Join(s.markRemoved(s.removed.Networks, "networks", name), removeFile(s.path(e.Network), lasting(!e.Network.Transient)))
		}
		err = errors.Join(err, s.markLive(name, false))
	} else {
		s.revision++
		e = Entry{Network: *before, Revision: s.revision, Live: live}
		s.set(name, e)
		err = errors.Join(s.markLive(name, live), s.write(e))
	}
	if delete(s.unstored, name); err != nil {
		s.unstored[name] = err
	}
	return err
}

// StoreAgain stores what is in force for networks with files that differ from it.
func (s *Store) StoreAgain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.unstored)) {
		if s.broken[name] != nil {
			continue
		}
		e, ok := s.entries[name]
		err := s.markLive(name, ok && e.Live)
		if ok {
			err = errors.Join(err, s.write(e))
		} else {
			err = errors.Join(err, removeFile(s.statePath("networks", name+".yaml"), true), removeFile(s.runtimePath("networks", name+".yaml"), false))
		}
		if delete(s.unstored, name); err != nil {
			s.unstored[name] = err
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Unstored reports whether what is in force of a network is not what its file has.
func (s *Store) Unstored(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unstored[name] != nil
}
