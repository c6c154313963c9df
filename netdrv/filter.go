package netdrv

// Filter is what guests of a network may send and be sent. The zero Filter lets
// everything pass.
type Filter struct {
	Preset Preset
	// Isolated: guests of the network do not reach each other, whatever they say.
	Isolated bool
}

// Preset is a choice of rules that needs no words.
type Preset uint8

// The presets.
const (
	// Unfiltered: a guest says what it likes.
	Unfiltered Preset = iota
	// CleanTraffic: a guest speaks as itself only, and neither as DHCP server nor
	// as router.
	CleanTraffic
)

var presetNames = words[Preset]{Unfiltered: "none", CleanTraffic: "clean-traffic"}

// String returns none or clean-traffic.
func (p Preset) String() string { return presetNames.of(p) }

// ParsePreset is the inverse of String; an empty word is none.
func ParsePreset(s string) (Preset, bool) {
	if s == "" {
		return Unfiltered, true
	}
	return presetNames.parse(s)
}

// Clean reports whether a guest may speak as itself only.
func (p Preset) Clean() bool { return p == CleanTraffic }

func validateFilter(fs *Findings, n *Network) {
	switch {
	case n.Filter == Filter{}:
	case n.Mode.OwnsBridge() && n.Filter.Preset.Clean() && len(n.Subnets) == 0:
		fs.Add("filter.preset", "%s needs a subnet: on a network without, nobody says which addresses are guests'", n.Filter.Preset)
	case !n.Mode.OwnsBridge():
		fs.Add("filter", "is for modes nat, route, open and isolated, whose bridge is vnetd's; this network's mode is %s", n.Mode)
	}
}
