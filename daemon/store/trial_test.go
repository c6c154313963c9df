package store

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// What waits to be confirmed is there for the next daemon, with what was before.
func TestTrialsOutliveTheDaemon(t *testing.T) {
	state, now := t.TempDir(), time.Now()
	s, err := Open(state, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	office := netdrv.Network{Name: "office", Mode: netdrv.ExistingBridge, Bridge: netdrv.Bridge{Name: "br0", Uplinks: []string{"eno1"}}}
	changed, err := NewTrial("office", &Entry{Network: office, Live: true}, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	created, err := NewTrial("lan", nil, now, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, trial := range []Trial{changed, created} {
		if err := s.PutTrial(trial); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()

	if s, err = Open(state, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := s.Trials()
	if len(got) != 2 || got[0].Name != "lan" || got[1].Name != "office" {
		t.Fatalf("got %+v, want lan's before office's", got)
	}
	if _, existed, err := got[0].Network(); existed || err != nil {
		t.Errorf("lan existed before: %v, %v", existed, err)
	}
	before, existed, err := got[1].Network()
	if !existed || err != nil || before.Bridge.Uplinks[0] != "eno1" || !got[1].Live {
		t.Errorf("office was %+v, %v, %v", before, existed, err)
	}
	if err := s.EndTrial("office"); err != nil {
		t.Fatal(err)
	}
	if _, waits := s.Trial("office"); waits {
		t.Error("office still waits")
	}
}

func TestTrialPasses(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	trial := Trial{Deadline: now.Add(time.Minute), Within: time.Minute}
	for _, c := range []struct {
		now  time.Time
		want bool
	}{
		{now, false},
		{now.Add(59 * time.Second), false},
		{now.Add(time.Minute), true},
		{now.Add(-time.Second), false}, // the clock was corrected
		{now.Add(-time.Hour), true},    // and was set back
	} {
		if got := trial.Passed(c.now); got != c.want {
			t.Errorf("at %s: %v", c.now, got)
		}
	}
}

// A wall clock that is set while no daemon runs neither ends a trial nor extends it.
func TestTrialOutlivesAStepOfTheClock(t *testing.T) {
	for _, step := range []time.Duration{2 * time.Hour, -2 * time.Hour, 5 * 365 * 24 * time.Hour} {
		state := t.TempDir()
		s, err := Open(state, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		trial, err := NewTrial("office", nil, time.Now(), time.Minute)
		if err == nil {
			err = s.PutTrial(trial)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		// To the next daemon the deadline is off by the step.
		path := filepath.Join(state, "trials", "office.json")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		fields["Deadline"] = trial.Deadline.Add(-step)
		if b, err = json.Marshal(fields); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(state, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		got, _ := s.Trial("office")
		if left := time.Until(got.Deadline).Round(10 * time.Second); got.Passed(time.Now()) || left != time.Minute {
			t.Errorf("after a step of %s: passed %t, %s left", step, got.Passed(time.Now()), left)
		}
		s.Close()
	}
}
