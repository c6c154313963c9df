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

// FlowOwners attributes tracked connections to networks.
type FlowOwners struct {
	networks []Network
	prefixes map[netip.Prefix]int // to networks
	lengths  map[int]bool         // of the prefixes
	host     map[netip.Addr]bool
}

// NewFlowOwners returns the owners among networks; host are addresses of the host.
func NewFlowOwners(networks []Network, host []netip.Addr) FlowOwners {
	o := FlowOwners{networks, map[netip.Prefix]int{}, map[int]bool{}, map[netip.Addr]bool{}}
	for i := range networks {
		n := &networks[i]
		for _, p := range n.prefixes() {
			o.prefixes[p.Masked()], o.lengths[p.Bits()] = i, true
		}
		host = append(host[:len(host):len(host)], n.Gateways()...)
	}
	for _, a := range host {
		o.host[a] = true
	}
	return o
}

// network returns the index of the network that an address is on. Guests cannot send from
// IPv4 addresses of the host, but from IPv6 ones.
func (o FlowOwners) network(a netip.Addr) (int, bool) {
	if a.Is4() && o.host[a] {
		return 0, false
	}
	for bits := range o.lengths {
		if p, err := a.Prefix(bits); err == nil {
			if i, ok := o.prefixes[p]; ok {
				return i, true
			}
		}
	}
	return 0, false
}

// Guest returns the address that a connection is attributed to: that of the guest that
// began it, or else of the guest that it was begun to from outside, which may be an
// accomplice. What the host began is its own.
func (o FlowOwners) Guest(from netip.Addr, answers func() netip.Addr) netip.Addr {
	if _, ours := o.network(from); ours || o.host[from] {
		return from
	}
	if a := answers(); a.IsValid() {
		if _, ours := o.network(a); ours {
			return a
		}
	}
	return from
}

// Excess returns which networks have more than a fair share of the tracked connections,
// of which the kernel keeps limit, and how many to end of each address to bring them back
// to it. flows are connections by the address that Guest returned; those of no network
// are not touched.
//
// Networks that have few keep them all; the others get equal parts of the rest. The same
// goes for the addresses of a network, so that a guest that floods from its own address
// ends none of its neighbours' connections.
func (o FlowOwners) Excess(flows map[netip.Addr]int, limit int) (over []string, excess map[netip.Addr]int) {
	of, totals, others := make([]map[netip.Addr]int, len(o.networks)), make([]int, len(o.networks)), 0
	for a, flows := range flows {
		at, ours := o.network(a)
		if !ours {
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
		over = append(over, o.networks[i].Name)
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
