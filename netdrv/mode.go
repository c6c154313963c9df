package netdrv

import "strconv"

// Mode says how a network reaches the world. The zero value means "not set"
// and is invalid.
type Mode uint8

// The modes.
const (
	// NAT hides guests behind the host's address.
	NAT Mode = iota + 1
	// Route forwards without translation: guests are reachable through routes.
	Route
	// Open gives addresses, DHCP and DNS, and not one firewall rule.
	Open
	// Isolated lets guests and host talk, and nothing in or out beyond the
	// host. Without a subnet it is "very isolated": a bridge and nothing else.
	Isolated
	// ExistingBridge attaches guests to a bridge of the host.
	ExistingBridge
	// DirectLink attaches guests to an uplink by macvtap.
	DirectLink
)

var modeNames = words[Mode]{
	NAT: "nat", Route: "route", Open: "open", Isolated: "isolated", ExistingBridge: "bridge", DirectLink: "direct",
}

// String returns the word used in files: nat, route, open, isolated, bridge,
// direct.
func (m Mode) String() string { return modeNames.of(m) }

// ParseMode is the inverse of String.
func ParseMode(s string) (Mode, bool) { return modeNames.parse(s) }

// Forwards reports whether the host forwards packets for a network of mode m.
func (m Mode) Forwards() bool { return m == NAT || m == Route || m == Open }

// OwnsBridge reports whether the bridge of a network of mode m is vnetd's.
func (m Mode) OwnsBridge() bool { return m.Forwards() || m == Isolated }

// DirectMode is how the macvtap links of one uplink talk to each other (ip-link(8)).
type DirectMode uint8

// The modes of macvtap. The zero value means DirectBridge.
const (
	// DirectBridge lets guests talk to each other at once.
	DirectBridge DirectMode = iota + 1
	// DirectVEPA sends all frames to the switch outside.
	DirectVEPA
	// DirectPrivate keeps guests from each other.
	DirectPrivate
	// DirectPassthrough gives one guest the uplink to itself.
	DirectPassthrough
)

var directNames = words[DirectMode]{
	DirectBridge: "bridge", DirectVEPA: "vepa", DirectPrivate: "private", DirectPassthrough: "passthrough",
}

// String returns ip-link's word: bridge, vepa, private, passthrough.
func (m DirectMode) String() string { return directNames.of(m) }

// ParseDirectMode is the inverse of String.
func ParseDirectMode(s string) (DirectMode, bool) { return directNames.parse(s) }

// Preference is that of a default router (RFC 4191 section 2.1), with the
// values of its wire format. The zero value is medium.
type Preference int8

// The preferences.
const (
	Medium Preference = 0
	High   Preference = 1
	Low    Preference = -1
)

var preferenceNames = words[Preference]{Medium: "medium", High: "high", Low: "low"}

// String returns low, medium or high.
func (p Preference) String() string { return preferenceNames.of(p) }

// ParsePreference is the inverse of String; an empty word is medium.
func ParsePreference(s string) (Preference, bool) {
	if s == "" {
		return Medium, true
	}
	return preferenceNames.parse(s)
}

// words are the names of an enumeration.
type words[T ~int8 | ~uint8 | ~uint16] map[T]string

func (w words[T]) of(v T) string {
	if s, ok := w[v]; ok {
		return s
	}
	return strconv.Itoa(int(v))
}

func (w words[T]) parse(s string) (T, bool) {
	for v, name := range w {
		if name == s {
			return v, true
		}
	}
	var zero T
	return zero, false
}
