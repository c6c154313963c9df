package netdrv

import (
	"cmp"
	"slices"
)

// Learn returns whose guests' links are: what was recorded, brought up to date
// with what is there now. A link in a network's bridge is the network's. One
// that was and has no master now still is, so that it can be put back; one that
// somebody put into another bridge is not. links are those that were looked at,
// and all says whether that was all there are.
func Learn(recorded, links []Member, networks []Network, all bool) []Member {
	was := map[int]string{}
	for _, m := range recorded {
		was[m.Index] = m.Network
	}
	owner, declared := map[string]string{}, map[string]bool{}
	for i := range networks {
		n := &networks[i]
		declared[n.Name] = true
		if n.Mode.OwnsBridge() || n.Mode == ExistingBridge && owner[n.Bridge.Name] == "" {
			owner[n.Bridge.Name] = n.Name
		}
	}
	var out []Member
	seen := map[int]bool{}
	for _, m := range links {
		seen[m.Index] = true
		if m.Network = owner[m.Bridge]; m.Bridge == "" {
			m.Network = was[m.Index]
		}
		if declared[m.Network] {
			out = append(out, m)
		}
	}
	for _, m := range recorded {
		if !all && !seen[m.Index] && declared[m.Network] {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Link, b.Link), cmp.Compare(a.Index, b.Index))
	})
	return out
}
