package lease

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// A client that breaks the table leaves no lock held: others get their leases.
func TestPanicHoldsNoLock(t *testing.T) {
	table := Memory(slog.New(slog.DiscardHandler))
	l := Lease{Network: "lab", MAC: MAC{1}, Address: netip.MustParseAddr("192.0.2.1"), Start: time.Now(), Expires: time.Now().Add(time.Hour)}
	n := table.Network("lab")
	broken := n.byClient
	n.byClient = nil
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		table.Bind(l, nil)
	}()
	if !n.mu.TryLock() || !table.gathered.TryLock() {
		t.Fatal("a lock stays held")
	}
	n.byClient = broken
	n.mu.Unlock()
	table.gathered.Unlock()
	l.Network = "other"
	bound := false
	table.Bind(l, func(err error) { bound = err == nil })
	if !bound {
		t.Error("the next one is not bound")
	}
}
