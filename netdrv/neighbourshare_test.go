package netdrv

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// A bridge with a flood keeps its share and its known and confirmed entries; one with few
// entries keeps them all, however the flood is spread.
func TestSurplusNeighboursAreThoseOfTheFlood(t *testing.T) {
	entry := func(bridge, prefix string, i int, state NeighbourState) Neighbour {
		return Neighbour{Bridge: bridge, Address: netip.MustParseAddr(fmt.Sprintf("%s.%d.%d", prefix, i/200, 1+i%200)), State: state}
	}
	var entries []Neighbour
	for i := range 300 {
		state := Unconfirmed
		if i < 5 {
			state = Confirmed
		}
		entries = append(entries, entry("flood0", "10.1", i, Unconfirmed), entry("flood1", "10.2", i, state), entry("big", "10.3", i, Unresolved))
	}
	for i := range 20 {
		entries = append(entries, entry("few", "10.4", i, Unresolved))
	}
	known := func(bridge string, _ netip.Addr) bool { return bridge == "big" }
	over, surplus := SurplusNeighbours(entries, known, nil, 400)
	if want := []string{"flood0", "flood1"}; !slices.Equal(over, want) {
		t.Errorf("over their share: %v, want %v", over, want)
	}
	left := map[string]int{"flood0": 300, "flood1": 300}
	for _, n := range surplus {
		left[n.Bridge]--
		if n.State == Confirmed {
			t.Errorf("%s is confirmed, and deleted before unconfirmed ones", n.Address)
		}
	}
	if left["flood0"] != 40 || left["flood1"] != 40 || len(left) != 2 {
		t.Errorf("entries left: %v", left)
	}
	// Confirmed entries are no way around the share: a guest can answer for what it invents.
	for i := range entries {
		entries[i].State = Confirmed
	}
	if _, surplus := SurplusNeighbours(entries, known, nil, 400); len(surplus) != 520 {
		t.Errorf("%d confirmed entries are surplus, want 520", len(surplus))
	}
	// Unresolved ones hold packets: a flood keeps few of them, also below its share.
	for i := range entries {
		entries[i].State = Unresolved
	}
	few := map[string]bool{"few": true}
	if over, surplus := SurplusNeighbours(entries[900:], known, few, 400); !slices.Equal(over, []string{"few"}) || len(surplus) != 12 {
		t.Errorf("%d unresolved entries of %v are surplus, want 12 of few", len(surplus), over)
	}
	if _, surplus := SurplusNeighbours(entries[900:], known, nil, 400); len(surplus) > 0 {
		t.Errorf("%d entries are surplus without a flood", len(surplus))
	}
}
