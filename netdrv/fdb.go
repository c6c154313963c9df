package netdrv

import (
	"bytes"
	"slices"
)

// FDBEntry is a MAC that a bridge has seen behind one of its ports.
type FDBEntry struct {
	Index int // of the port
	MAC   MAC
}

// WithoutMAC returns the members that are to be clean, by their networks or as ports, or
// whose networks tell guests apart, and whose guests have not been heard yet.
func WithoutMAC(members []Member, networks []Network, ports []Port) []int {
	asks, asksToo := map[string]bool{}, map[string]bool{}
	for i := range networks {
		asks[networks[i].Name] = networks[i].Filter.Preset.Clean() || networks[i].NeedsMACs()
	}
	for i := range ports {
		asksToo[ports[i].Link] = ports[i].Filter.Preset.Clean()
	}
	var out []int
	for _, m := range members {
		if (asks[m.Network] || asksToo[m.Link]) && m.MAC.IsZero() && m.Bridge != "" {
			out = append(out, m.Index)
		}
	}
	return out
}

// AssignMACs gives members their MACs: those ports in who that have none. Of
// several, one that known says to be a guest's of the network counts, else the
// lowest, so that two looks agree. Nobody gets a MAC that is a neighbour's or a
// bridge's. What was told once stays.
func AssignMACs(members []Member, who []int, heard []FDBEntry, networks []Network, known func(network string, m MAC) bool) []Member {
	taken := map[string]map[MAC]bool{}
	for i := range networks {
		taken[networks[i].Name] = map[MAC]bool{networks[i].Bridge.MAC: true}
	}
	for _, m := range members {
		if taken[m.Network] != nil {
			taken[m.Network][m.MAC] = true
		}
	}
	asked, behind := setOf(who), map[int][]FDBEntry{}
	for _, h := range heard {
		if asked[h.Index] {
			behind[h.Index] = append(behind[h.Index], h)
		}
	}
	out := slices.Clone(members)
	for i := range out {
		m := &out[i]
		if !asked[m.Index] {
			continue
		}
		m.MAC = preferredMAC(behind[m.Index], func(mac MAC) bool { return known(m.Network, mac) }, taken[m.Network])
		taken[m.Network][m.MAC] = true
	}
	return out
}

func preferredMAC(heard []FDBEntry, known func(MAC) bool, taken map[MAC]bool) MAC {
	var out MAC
	for _, h := range heard {
		if taken[h.MAC] || h.MAC.IsMulticast() {
			continue
		}
		better := known(h.MAC) && !known(out) || known(h.MAC) == known(out) && bytes.Compare(h.MAC[:], out[:]) < 0
		if out.IsZero() || better {
			out = h.MAC
		}
	}
	return out
}
