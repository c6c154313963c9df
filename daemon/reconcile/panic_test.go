package reconcile

import (
	"log/slog"
	"testing"

	"github.com/vnetd/vnetd/internal/limit"
)

// Rules that follow guests do not end the daemon: the next round repairs them.
func TestPanicOfRulesThatFollowGuests(t *testing.T) {
	e := &Engine{log: slog.New(slog.DiscardHandler)} // without a store
	e.asks.Store(true)
	before := limit.Panics()[limit.Guests]
	if err := e.followOnce(t.Context()); err == nil || limit.Panics()[limit.Guests] != before+1 {
		t.Errorf("got %v, %d panics", err, limit.Panics()[limit.Guests]-before)
	}
	if !e.rules.TryLock() {
		t.Error("the lock stays held")
	}
}
