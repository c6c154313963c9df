package netdrv

import (
	"cmp"
	"net/netip"
	"slices"
)

const (
	// neighbourShare is the part of the kernel's neighbour table for entries of addresses that
	// no guest is known to have, of all networks together, once the table is half full.
	neighbourShare = 0.25
	// unresolvedShare is the part for such entries of one flooding network that have no MAC.
	// Packets wait in them, and use up the send buffers of the host's sockets, such as the
	// one that the kernel answers ICMP with.
	unresolvedShare = 0.02
)

// Neighbour is an entry of the neighbour table that the kernel made.
type Neighbour struct {
	Bridge  string
	Link    int // the bridge's index
	Address netip.Addr
	State   NeighbourState
}

// NeighbourState is how much the kernel knows of a neighbour.
type NeighbourState int

// The states, in the order in which entries are deleted.
const (
	Unresolved NeighbourState = iota // no MAC is known (NUD_INCOMPLETE, NUD_FAILED)
	Unconfirmed
	Confirmed // the neighbour answered within the last seconds (NUD_REACHABLE)
)

// SurplusNeighbours returns the bridges that have more than a fair share of the entries, and
// which entries to delete to bring them back to it. Entries of addresses that are known are
// not counted and stay. Bridges that have few entries keep them all. flooded are bridges that
// had more than their share of late, and limit is the size of the table.
func SurplusNeighbours(entries []Neighbour, known func(bridge string, a netip.Addr) bool, flooded map[string]bool, limit int) (over []string, surplus []Neighbour) {
	of := map[string][]Neighbour{}
	for _, n := range entries {
		if !known(n.Bridge, n.Address) {
			of[n.Bridge] = append(of[n.Bridge], n)
		}
	}
	counts := make([]int, 0, len(of))
	for _, unknown := range of {
		counts = append(counts, len(unknown))
	}
	share := level(counts, int(neighbourShare*float64(limit)))
	for bridge, unknown := range of {
		slices.SortStableFunc(unknown, func(a, b Neighbour) int { return cmp.Compare(a.State, b.State) })
		excess := max(len(unknown)-share, 0)
		if excess > 0 || flooded[bridge] {
			unresolved, _ := slices.BinarySearchFunc(unknown, Unconfirmed, func(n Neighbour, s NeighbourState) int { return cmp.Compare(n.State, s) })
			excess = max(excess, unresolved-int(unresolvedShare*float64(limit)))
		}
		if excess > 0 {
			over = append(over, bridge)
			surplus = append(surplus, unknown[:excess]...)
		}
	}
	slices.Sort(over)
	return over, surplus
}
