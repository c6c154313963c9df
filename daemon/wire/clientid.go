package wire

import (
	"regexp"
	"strings"
)

// octetsRE is a client identifier in hexadecimal; anything else is text.
var octetsRE = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})+$`)

// readClientID returns the octets of a client identifier.
func readClientID(s string) string {
	if !octetsRE.MatchString(s) {
		return s
	}
	b, _ := octets(s)
	return b
}

// writeClientID is the inverse: text if that is read back the same.
func writeClientID(id string) string {
	if !octetsRE.MatchString(id) && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return id
	}
	return colons(id)
}
