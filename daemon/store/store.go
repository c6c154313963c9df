// Package store keeps what users declared: one YAML file a network, which a
// person can read, back up and, while the daemon is down, edit.
//
//	STATE/format               "1": what this layout is called
//	STATE/lock                 held by the one daemon that owns STATE
//	STATE/networks/NAME.yaml   a definition, with its revision
//	RUNTIME/networks/NAME.yaml a transient definition; volatile
//	RUNTIME/live/NAME          the network is meant to run; volatile
//	STATE/trials/NAME.json     a change that waits to be confirmed
//	STATE/ports/LINK.yaml      a port
//	RUNTIME/ports/LINK.yaml    a port of the tap broker's; volatile
//	RUNTIME/members.json       guests' links and their networks; cleared at boot
//	STATE/networks/.new-NAME.yaml~  a definition that is being stored
//	RUNTIME/removed/           deletions that may not have reached the host; volatile
//
// Every write is whole, and what is to outlive the boot is on stable storage, before
// the call returns. A file that cannot be read is kept as it is and reported; the
// others count.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/internal/owner"
	"github.com/vnetd/vnetd/netdrv"
)

const format = "1\n"

// Entry is a stored network.
type Entry struct {
	Network netdrv.Network
	// Revision grows with every change to any network of the store.
	Revision int64
	// Live: the network is meant to run now.
	Live bool
}

// Store is safe for use by several goroutines. Entries that it returns are the
// caller's own, but their slices are shared and are not changed: a Network is replaced
// whole, never changed in place.
type Store struct {
	state, runtime string
	lock           *os.File
	fresh, booted  bool

	mu       sync.Mutex
	entries  map[string]Entry
	sorted   []Entry          // the entries by name, if they were listed since a change
	broken   map[string]error // by network name
	revision int64
	trials   map[string]Trial

	ports        map[string]netdrv.Port   // by link
	portsOf      map[string][]netdrv.Port // by network, if they were listed since a change
	portRevision map[string]int64         // by network
	brokenPorts  map[string]error
	removed      Removed
	interrupted  map[string]bool // networks with a pending file that the last daemon left

	brokenTrials map[string]error
	notes        []string         // what Open set aside, for status
	unstored     map[string]error // networks that are otherwise in their files, and why
}

// Open takes the state directory, making it if need be, and reads it. It
// refuses one that another daemon holds or that a newer version wrote.
func Open(state, runtime string) (*Store, error) {
	s := &Store{
		state: state, runtime: runtime, entries: map[string]Entry{}, broken: map[string]error{},
		brokenTrials: map[string]error{}, unstored: map[string]error{}, interrupted: map[string]bool{},
		ports: map[string]netdrv.Port{}, brokenPorts: map[string]error{}, portRevision: map[string]int64{},
	}
	_, err := os.Stat(s.runtimePath("live"))
	s.booted = errors.Is(err, fs.ErrNotExist)
	for _, dir := range []string{state, runtime} {
		if err := s.makeDir(dir); err != nil {
			return nil, err
		}
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	for _, dir := range s.dirs() {
		if err := s.makeDir(dir); err != nil {
			return err
		}
		s.removeLeftovers(dir)
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	for _, dir := range []string{s.statePath("networks"), s.runtimePath("networks")} {
		if err := s.load(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{s.statePath("ports"), s.runtimePath("ports")} {
		if err := s.loadPorts(dir); err != nil {
			return err
		}
	}
	if err := s.loadRemoved(); err != nil {
		return err
	}
	s.loadTrials()
	return nil
}

func (s *Store) statePath(elem ...string) string {
	return filepath.Join(append([]string{s.state}, elem...)...)
}

func (s *Store) runtimePath(elem ...string) string {
	return filepath.Join(append([]string{s.runtime}, elem...)...)
}

func (s *Store) takeLock() error {
	f, err := os.OpenFile(s.statePath("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		f, err = os.Open(s.statePath("lock")) // that is enough for flock(2)
	}
	if err != nil {
		return fmt.Errorf("lock state directory: %w", err)
	}
	_ = owner.Inherit(f.Name()) // the lock is of use as it is
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("state directory %s is held by another vnetd; stop it, or give this one another --state-dir and --runtime-dir", s.state)
	}
	s.lock = f
	return nil
}

// Close gives the state directory free.
func (s *Store) Close() { s.lock.Close() }

func (s *Store) checkFormat() error {
	path := s.statePath("format")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.fresh = true
		return writeFile(path, []byte(format), true)
	case err != nil:
		return fmt.Errorf("read state format: %w", err)
	case string(b) != format:
		return fmt.Errorf("%s says format %q, and this vnetd knows %q: it was written by another version", path, strings.TrimSpace(string(b)), strings.TrimSpace(format))
	}
	return nil
}

// Fresh reports whether Open made the state: nothing was declared yet.
func (s *Store) Fresh() bool { return s.fresh }

// Booted reports whether this is the first daemon since the host booted: no
// network is live yet, and those with autostart are to be.
func (s *Store) Booted() bool { return s.booted }

func (s *Store) load(dir string) error {
	files, err := list(dir, ".yaml")
	if err != nil {
		return fmt.Errorf("read definitions: %w", err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		e, err := s.read(path, name)
		if err != nil {
			s.broken[name] = err
			continue
		}
		s.entries[name] = e
		s.revision = max(s.revision, e.Revision)
	}
	return nil
}

func (s *Store) read(path, name string) (Entry, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Entry{}, err
	}
	var p vnetv1.Network
	if err := definition.Unmarshal(path, b, &p); err != nil {
		return Entry{}, err
	}
	n, unread := wire.FromNetwork(&p)
	if err := unread.Join(netdrv.Validate(&n)).Err(); err != nil {
		return Entry{}, fmt.Errorf("%s: %w", path, err)
	}
	if n.Name != name {
		return Entry{}, fmt.Errorf("%s: name: is %s, and the file's name says %s", path, n.Name, name)
	}
	// A mark that cannot be read stops no network.
	_, err = os.Stat(s.runtimePath("live", name))
	return Entry{Network: n, Revision: p.GetRevision(), Live: !errors.Is(err, fs.ErrNotExist)}, nil
}

// Broken returns the networks with files that cannot be read, with the reasons.
func (s *Store) Broken() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.broken)
}

// List returns all networks, sorted by name. The slice is shared: no caller
// changes it.
func (s *Store) List() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sorted == nil {
		s.sorted = make([]Entry, 0, len(s.entries))
		for _, name := range slices.Sorted(maps.Keys(s.entries)) {
			s.sorted = append(s.sorted, s.entries[name])
		}
	}
	return s.sorted
}

// Get returns one network.
func (s *Store) Get(name string) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[name]
	return e, ok
}

// Put stores a network under a new revision. It replaces a file that could not
// be read, too: that repairs it.
func (s *Store) Put(n netdrv.Network, live bool) (Entry, error) {
	c, err := s.Begin(n, live)
	if err == nil {
		err = c.Stored()
	}
	if err == nil {
		c.Keep()
	}
	return c.Entry, err
}

// set and unset change an entry in memory; the lock is the caller's.
func (s *Store) set(name string, e Entry) { s.entries[name], s.sorted = e, nil }
func (s *Store) unset(name string)        { delete(s.entries, name); s.sorted = nil }

func (s *Store) path(n netdrv.Network) string {
	if n.Transient {
		return s.runtimePath("networks", n.Name+".yaml")
	}
	return s.statePath("networks", n.Name+".yaml")
}

// SetLive notes that a network is meant to run, or not; its revision stays.
func (s *Store) SetLive(name string, live bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[name]
	if !ok || e.Live == live {
		return nil
	}
	if err := s.markLive(name, live); err != nil {
		return err
	}
	e.Live = live
	s.set(name, e)
	return nil
}

// ForceLive is SetLive, and counts whatever is returned: an error says that it is not
// stored.
func (s *Store) ForceLive(name string, live bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[name]
	if !ok || e.Live == live {
		return nil
	}
	e.Live = live
	s.set(name, e)
	err := s.markLive(name, live)
	if err != nil {
		s.unstored[name] = err
	}
	return err
}

func (s *Store) markLive(name string, live bool) error {
	path := s.runtimePath("live", name)
	if !live {
		return removeFile(path, false)
	}
	return mark(path)
}

// Delete forgets a network; what the host holds of it is to be removed. One that is
// not there is no error.
func (s *Store) Delete(name string) error {
	if _, ok := s.Get(name); !ok {
		return nil
	}
	if err := s.Remove([]string{name}, nil); err != nil {
		return fmt.Errorf("delete network %s: %w", name, err)
	}
	err := s.Disown(name)
	if err != nil {
		err = errors.Join(err, s.keepDeclared(name))
	}
	return err
}

// Disown forgets a network, and leaves what the host holds of it alone. One that is
// not there is no error.
func (s *Store) Disown(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[name]
	if !ok {
		return nil
	}
	if err := removeFile(s.path(e.Network), lasting(!e.Network.Transient)); err != nil {
		return fmt.Errorf("delete network %s: %w", name, err)
	}
	s.unset(name)
	delete(s.unstored, name)
	// It is deleted, whatever becomes of the mark: a new network of its name writes its own.
	_ = s.markLive(name, false)
	return nil
}

// Same reports whether two networks have the same definition.
func Same(a, b *netdrv.Network) bool {
	return len(definition.Diff(wire.ToNetwork(a), wire.ToNetwork(b))) == 0
}

// Parse reads the definition of one network from a file's data.
func Parse(file string, data []byte) (netdrv.Network, error) {
	networks, err := definition.Parse(file, data)
	if err != nil {
		return netdrv.Network{}, err
	}
	n, unread := wire.FromNetwork(networks[0])
	return n, unread.Err()
}
