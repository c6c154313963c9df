package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/internal/hostclock"
	"github.com/vnetd/vnetd/netdrv"
)

// Trial is a change that is taken back unless it is confirmed in time. It
// outlives the daemon and the boot: STATE/trials/NAME.json.
type Trial struct {
	Name string
	// Deadline is by the wall clock of when it was set. Within the daemon it has a
	// monotonic reading, and Boot and Monotonic restore that: in the same boot of the
	// host no step of the wall clock moves it.
	Deadline time.Time
	// Boot is the boot in which the deadline was set.
	Boot string `json:",omitempty"`
	// Monotonic is the deadline by CLOCK_MONOTONIC of that boot.
	Monotonic time.Duration `json:",omitempty"`
	// Within is how long there is from the change to the deadline.
	Within time.Duration
	// Before is what was stored, in YAML, or empty if there was nothing.
	Before string
	// Live: it ran before.
	Live bool
}

// Passed reports whether the time is over. A clock that was set back gives
// little more than there was at first.
func (t *Trial) Passed(now time.Time) bool {
	return !now.Before(t.Deadline) || t.Deadline.Sub(now) > t.Within+time.Minute
}

// NewTrial returns the trial of a change to a network; before is nil where there
// was none.
func NewTrial(name string, before *Entry, now time.Time, within time.Duration) (Trial, error) {
	t := Trial{Name: name, Deadline: now.Add(within), Within: within}
	if before == nil {
		return t, nil
	}
	b, err := definition.Marshal(wire.ToNetwork(&before.Network))
	t.Before, t.Live = string(b), before.Live
	return t, err
}

// Network returns what was stored before; false if there was nothing.
func (t *Trial) Network() (netdrv.Network, bool, error) {
	if t.Before == "" {
		return netdrv.Network{}, false, nil
	}
	var p vnetv1.Network
	if err := definition.Unmarshal("(before)", []byte(t.Before), &p); err != nil {
		return netdrv.Network{}, false, err
	}
	n, unread := wire.FromNetwork(&p)
	return n, true, unread.Err()
}

// resumed returns the trial with its deadline as of now, if that can be told.
func (t Trial) resumed(now hostclock.Reading) Trial {
	if t.Boot != "" && t.Boot == now.Boot {
		t.Deadline = now.Now.Add(t.Monotonic - now.Mono)
	}
	return t
}

// PutTrial notes that a change waits to be confirmed.
func (s *Store) PutTrial(t Trial) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := hostclock.Read()
	t.Boot, t.Monotonic = now.Boot, now.Mono+t.Deadline.Sub(now.Now)
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(s.statePath("trials", t.Name+".json"), b, true); err != nil {
		return fmt.Errorf("note that network %s is to be confirmed: %w", t.Name, err)
	}
	s.trials[t.Name] = t
	delete(s.brokenTrials, t.Name)
	return nil
}

// EndTrial notes that nothing is to be confirmed of a network any more.
func (s *Store) EndTrial(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.trials[name]; !ok && s.brokenTrials[name] == nil {
		return nil
	}
	if err := removeFile(s.statePath("trials", name+".json"), true); err != nil {
		return fmt.Errorf("note that network %s is confirmed: %w", name, err)
	}
	delete(s.trials, name)
	delete(s.brokenTrials, name)
	return nil
}

// Trial returns what waits to be confirmed of a network.
func (s *Store) Trial(name string) (Trial, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.trials[name]
	return t, ok
}

// Trials returns all, the next to pass first.
func (s *Store) Trials() []Trial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.trials), func(a, b Trial) int { return a.Deadline.Compare(b.Deadline) })
}

// loadTrials reads what earlier daemons left. One that cannot be read is kept as it is,
// and reported: its network stays as it was changed.
func (s *Store) loadTrials() {
	s.trials = map[string]Trial{}
	now := hostclock.Read()
	files, err := list(s.statePath("trials"), ".json")
	if err != nil {
		s.notes = append(s.notes, fmt.Sprintf("changes that wait to be confirmed cannot be read, and are not rolled back: %v", err))
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		var t Trial
		b, err := os.ReadFile(f)
		if err == nil {
			err = json.Unmarshal(b, &t)
		}
		if err == nil && t.Name != name {
			err = fmt.Errorf("it is about network %q, and the file's name says %s", t.Name, name)
		}
		if err == nil {
			_, _, err = t.Network()
		}
		if err != nil {
			s.brokenTrials[name] = fmt.Errorf("read %s: %w", f, err)
			continue
		}
		s.trials[name] = t.resumed(now)
	}
}
