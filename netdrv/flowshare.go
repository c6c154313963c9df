package netdrv

import (
	"math"
	"net/netip"
	"slices"
)

// Parts of the kernel's table of tracked connections.
const (
	// flowShare is for the guests of all networks, less what others have.
	flowShare = 0.5
	// minFlowShare is for them whatever others have.
	minFlowShare = 0.25
)

// ExcessFlows returns which networks have more than a fair share of the tracked
// connections, of which the kernel keeps limit, and how many to end of each source to
// bring them back to it. sources are connections by the address that began them; those
// of no network, and the host's IPv4 addresses, are not touched.
//
// Networks that have few keep them all; the others get equal parts of the rest. The same
// goes for the addresses of a network, so that a guest that floods from its own address
// ends none of its neighbours' connections.
func ExcessFlows(sources map[netip.Addr]int, limit int, networks []Network) (over []string, excess map[netip.Addr]int) {
	owner, gateways, lengths := map[netip.Prefix]int{}, map[netip.Addr]bool{}, map[int]bool{}
	for i := range networks {
		n := &networks[i]
		for _, p := range n.prefixes() {
			owner[p.Masked()], lengths[p.Bits()] = i, true
		}
		for _, a := range n.Gateways() { // a guest can send from the IPv6 ones
			gateways[a] = a.Is4()
		}
	}
	of, totals, others := make([]map[netip.Addr]int, len(networks)), make([]int, len(networks)), 0
	for a, flows := range sources {
		at := -1
		for bits := range lengths {
			p, err := a.Prefix(bits)
			if i, ok := owner[p]; ok && err == nil && !gateways[a] {
				at = i
			}
		}
		if at < 0 {
			others += flows
			continue
		}
		if of[at] == nil {
			of[at] = map[netip.Addr]int{}
		}
		of[at][a] = flows
		totals[at] += flows
	}
	budget := max(int(flowShare*float64(limit))-others, int(minFlowShare*float64(limit)))
	share := level(slices.Clone(totals), budget)
	excess = map[netip.Addr]int{}
	for i, total := range totals {
		if total <= share {
			continue
		}
		over = append(over, networks[i].Name)
		counts := make([]int, 0, len(of[i]))
		for _, flows := range of[i] {
			counts = append(counts, flows)
		}
		each, room := level(counts, share), share
		for a, flows := range of[i] {
			keep := min(flows, max(each, 1), room) // one each while there is room, if there are too many addresses
			room -= keep
			if flows > keep {
				excess[a] = flows - keep
			}
		}
	}
	return over, excess
}

// level returns the greatest number to which counts can be cut for their sum to be at
// most total. It sorts counts.
func level(counts []int, total int) int {
	slices.Sort(counts)
	for i, c := range counts {
		left := len(counts) - i
		if c*left > total {
			return total / left
		}
		total -= c
	}
	return math.MaxInt
}
