package reconcile

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
)

// repairedFirewall has found a change, and repaired it.
type repairedFirewall struct{ Firewall }

func (repairedFirewall) Repaired() (found, done string) {
	return "chain inet vnetd forward is missing", "replace table inet vnetd: 3 chains, 8 elements"
}

// The event about a repair of the rules has what was found and what was done: no nft ran.
func TestEventOfFirewallRepair(t *testing.T) {
	s, err := store.Open(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bus := &event.Bus{}
	e := New(Parts{Store: s, Firewall: repairedFirewall{}, Events: bus}, slog.New(slog.DiscardHandler))
	w := bus.Watch()
	defer w.Close()
	e.reportFirewallRepair()
	got := <-w.C
	if got.Kind != event.Repaired || got.Message != "firewall: chain inet vnetd forward is missing" ||
		!slices.Equal(got.Steps, []string{"nftables: replace table inet vnetd: 3 chains, 8 elements"}) {
		t.Errorf("got event %+v", got)
	}
}
