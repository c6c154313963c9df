package reconcile

import (
	"log/slog"
	"testing"

	"github.com/vnetd/vnetd/internal/limit"
)

// Rules that follow guests do not end the daemon: the next round repairs them.
func TestPanicOfRulesThatFollowGuests(t *testing.T) {
	e := &rules{log: slog.New(slog.DiscardHandler)} // without a store
	e.asks.Store(true)
	before := limit.Panics()[limit.Guests]
	if err := e.follow(t.Context()); err == nil || limit.Panics()[limit.Guests] != before+1 {
		t.Errorf("got %v, %d panics", err, limit.Panics()[limit.Guests]-before)
	}
	if !e.mu.TryLock() {
		t.Error("the lock stays held")
	}
}

// A round does not end the daemon: its networks are degraded, and looked at again.
func TestPanicOfARound(t *testing.T) {
	e := &Engine{log: slog.New(slog.DiscardHandler)} // without a kernel
	before := limit.Panics()[limit.Guests]
	if err := (&round{Engine: e}).run(t.Context()); err == nil || limit.Panics()[limit.Guests] != before+1 {
		t.Errorf("got %v, %d panics", err, limit.Panics()[limit.Guests]-before)
	}
	if !e.roundMu.TryLock() {
		t.Error("a lock stays held")
	}
}
