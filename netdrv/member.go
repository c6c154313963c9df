package netdrv

import (
	"cmp"
	"slices"
)

// UpdateMembers returns the ports of networks: those recorded, updated by have. A link in
// a network's bridge belongs to the network. A recorded one without a master still does, so
// that it can be put back; one in another bridge does not. all reports whether have holds
// all links.
func UpdateMembers(recorded []Member, have State, networks []Network, all bool) []Member {
	was, declared := map[int]Member{}, map[string]bool{}
	for _, m := range recorded {
		was[m.Index] = m
	}
	for i := range networks {
		declared[networks[i].Name] = true
	}
	owner, uplinks := bridgeOwners(networks, have.Links), uplinksOf(networks)
	var out []Member
	seen := map[int]bool{}
	for _, m := range have.Members {
		if uplinks[m.Link] {
			continue
		}
		seen[m.Index] = true
		old := was[m.Index]
		if m.Network = owner[m.Bridge]; m.Bridge == "" {
			m.Network = old.Network
		}
		m.MAC, m.LearnedMAC = old.MAC, old.LearnedMAC
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

// bridgeOwners maps bridge names to networks. A bridge about to be renamed still belongs
// to its network.
func bridgeOwners(networks []Network, links []Link) map[string]string {
	owner := map[string]string{}
	for _, l := range links {
		if l.Kind == KindBridge {
			owner[l.Name] = l.Network
		}
	}
	for i := range networks {
		n := &networks[i]
		if n.Mode.OwnsBridge() || n.Mode == ExistingBridge && owner[n.Bridge.Name] == "" {
			owner[n.Bridge.Name] = n.Name
		}
	}
	return owner
}

// uplinksOf returns the links that bridges are built on, which are not ports of guests.
func uplinksOf(networks []Network) map[string]bool {
	out := map[string]bool{}
	for i := range networks {
		for _, u := range networks[i].Bridge.Uplinks {
			out[u] = true
		}
	}
	return out
}

// WithPortMACs returns the members with the MACs of those that are declared ports.
func WithPortMACs(members []Member, ports []Port) []Member {
	mac := map[string]MAC{}
	for i := range ports {
		mac[ports[i].Link] = ports[i].MAC
	}
	out := slices.Clone(members)
	for i := range out {
		if m := mac[out[i].Link]; !m.IsZero() {
			out[i].MAC = m
		}
	}
	return out
}
