package netdrv

import (
	"bytes"
	"slices"
)

// FDBEntry is a MAC that a bridge has learned behind one of its ports.
type FDBEntry struct {
	Index int // of the port
	MAC   MAC
}

// WithoutMAC returns the ports that need a MAC (clean-traffic, or per-guest shaping) and
// have none yet.
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

// AssignMACs gives a MAC to each port in who that has none. Of several, a MAC that known
// attributes to a guest of the network is preferred, then the lowest, so that two calls
// agree. A MAC of another port or of the bridge is not assigned, and an assigned one stays.
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
