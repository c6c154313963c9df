package netdrv

import "fmt"

// Mode says how a network reaches the world. The zero value means "not set"
// and is invalid.
type Mode uint8

// The modes, from the most to the least connected.
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
)

var modeNames = map[Mode]string{NAT: "nat", Route: "route", Open: "open", Isolated: "isolated"}

// String returns the word used in files: nat, route, open, isolated.
func (m Mode) String() string {
	if s, ok := modeNames[m]; ok {
		return s
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode is the inverse of String.
func ParseMode(s string) (Mode, bool) {
	for m, name := range modeNames {
		if name == s {
			return m, true
		}
	}
	return 0, false
}

// Forwards reports whether the host forwards packets for a network of mode m.
func (m Mode) Forwards() bool { return m == NAT || m == Route || m == Open }
