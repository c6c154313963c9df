package netdrv

import (
	"encoding/hex"
	"regexp"
	"strings"
)

// Access says who may take ports of a network at the tap broker. Root and the
// administrators always may; the zero value allows no other user.
type Access struct {
	// Users and Groups are names, or numbers in decimal.
	Users, Groups []string
	// MACPrefix is how guests' MACs begin, in whole octets: 52:54:00. Empty: any.
	MACPrefix string
	// MaxPorts bounds the ports that each user has at a time; 0 is DefaultMaxPorts.
	MaxPorts int
}

// DefaultMaxPorts is what a user may have of a network if nothing else is said.
const DefaultMaxPorts = 32

// maxMaxPorts is what a bridge of Linux holds (net/bridge/br_private.h: BR_MAX_PORTS).
const maxMaxPorts = 1024

var accountRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?$`)

// Octets returns what MACPrefix says; false if it cannot be read.
func (a *Access) Octets() ([]byte, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(a.MACPrefix, ":", ""))
	return b, err == nil && len(b) < 6 && (len(b) == 0 || len(a.MACPrefix) == 3*len(b)-1)
}

// Allows reports whether a MAC begins as it should.
func (a *Access) Allows(m MAC) bool {
	b, ok := a.Octets()
	return ok && string(m[:len(b)]) == string(b)
}

func validateAccounts(fs *Findings, path string, names []string) {
	for i, name := range names {
		if !accountRE.MatchString(name) {
			fs.Add(index(path, i), "%q is neither a name nor a number", name)
		}
	}
}

func validateAccess(fs *Findings, n *Network) {
	a := n.Access
	validateAccounts(fs, "access.users", a.Users)
	validateAccounts(fs, "access.groups", a.Groups)
	b, ok := a.Octets()
	switch {
	case !ok:
		fs.Add("access.macPrefix", "%q is not the beginning of a MAC: write whole octets, such as 52:54:00", a.MACPrefix)
	case len(b) > 0 && b[0]&1 != 0:
		fs.Add("access.macPrefix", "%s begins multicast addresses; the first octet must be even", a.MACPrefix)
	}
	if a.MaxPorts < 0 || a.MaxPorts > maxMaxPorts {
		fs.Add("access.maxPorts", "%d is outside 1 to %d", a.MaxPorts, maxMaxPorts)
	}
}
