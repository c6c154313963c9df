package option

import (
	"bytes"
	"strings"
)

// A Tag has options for the clients that match, and for those that have a
// reservation with its name.
type Tag struct {
	Name    string
	Match   Match
	Options List
}

// A Match selects the clients that match all fields that are not
// empty. An empty Match selects no client. A "*" at the end of a text matches any
// rest.
type Match struct {
	VendorClass string // options 60 and, in DHCPv6, 16
	UserClass   string // options 77 and, in DHCPv6, 15
	Hostname    string // the first label of the hostname that the client sends, case-insensitive
	MACPrefix   string // the first octets of its Ethernet address
}

// A Client has the fields that a Match is compared with.
type Client struct {
	MAC                    [6]byte
	Hostname               []byte
	VendorClass, UserClass Class
}

// A Class is the value of a class option. With a Width it
// is a list of classes, each with its length before it in so many octets; a value that is no
// such list is one class, for many clients send their one class so in IPv4 (iPXE does).
type Class struct {
	Value []byte
	Width int
}

// Fits reports whether the client matches.
func (m *Match) Fits(c *Client) bool {
	start, open := strings.CutSuffix(m.Hostname, "*")
	label, _, _ := bytes.Cut(c.Hostname, []byte{'.'})
	if open && len(label) > len(start) {
		label = label[:len(start)]
	}
	switch {
	case m.Hostname != "" && !bytes.EqualFold(label, []byte(start)):
		return false
	case *m == Match{}:
		return false
	case !strings.HasPrefix(string(c.MAC[:]), m.MACPrefix):
		return false
	case m.VendorClass != "" && !c.VendorClass.fits(m.VendorClass):
		return false
	}
	return m.UserClass == "" || c.UserClass.fits(m.UserClass)
}

func (c Class) fits(pattern string) bool {
	matches, listed := false, c.Width > 0
	for rest := c.Value; listed && len(rest) > 0; {
		var value []byte
		if value, rest, listed = c.cut(rest); listed {
			matches = matches || fits(pattern, value)
		}
	}
	if !listed {
		return fits(pattern, c.Value)
	}
	return matches
}

// cut splits the first class off a list; false if it is truncated.
func (c Class) cut(b []byte) (value, rest []byte, ok bool) {
	if len(b) < c.Width {
		return nil, nil, false
	}
	size := 0
	for _, o := range b[:c.Width] {
		size = size<<8 | int(o)
	}
	if b = b[c.Width:]; len(b) < size {
		return nil, nil, false
	}
	return b[:size], b[size:], true
}

// fits reports whether a text is the pattern, or begins with the part before
// its "*".
func fits(pattern string, text []byte) bool {
	if start, open := strings.CutSuffix(pattern, "*"); open {
		return len(text) >= len(start) && string(text[:len(start)]) == start
	}
	return string(text) == pattern
}
