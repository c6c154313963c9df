package option

import (
	"bytes"
	"strings"
)

// A Tag is options for the clients that it fits, and for those whose
// reservation names it.
type Tag struct {
	Name    string
	Match   Match
	Options List
}

// A Match says whom a tag fits: the client that all fields fit that are not
// empty. An empty Match fits nobody. A "*" at the end of a text stands for
// anything.
type Match struct {
	VendorClass string // options 60 and, in DHCPv6, 16
	UserClass   string // options 77 and, in DHCPv6, 15
	Hostname    string // what the client calls itself, its first label, in any case
	MACPrefix   string // the first octets of its Ethernet address
}

// A Client is what a Match looks at.
type Client struct {
	MAC                    [6]byte
	Hostname               []byte
	VendorClass, UserClass Class
}

// A Class is the value of an option that says what a client is. With a Width it
// is a list of classes, each with its length before it in so many octets; what
// turns out not to be one is a class as a whole, for many clients send their one
// class so in IPv4 (iPXE does).
type Class struct {
	Value []byte
	Width int
}

// Fits says whether the client is one of those that are meant.
func (m *Match) Fits(c *Client) bool {
	switch {
	case *m == Match{}:
		return false
	case !strings.HasPrefix(string(c.MAC[:]), m.MACPrefix):
		return false
	case m.Hostname != "" && !hostFits(m.Hostname, c.Hostname):
		return false
	case m.VendorClass != "" && !c.VendorClass.fits(m.VendorClass):
		return false
	}
	return m.UserClass == "" || c.UserClass.fits(m.UserClass)
}

func hostFits(pattern string, name []byte) bool {
	label, _, _ := bytes.Cut(name, []byte{'.'})
	start, open := strings.CutSuffix(pattern, "*")
	if open && len(label) > len(start) {
		label = label[:len(start)]
	}
	return bytes.EqualFold(label, []byte(start))
}

func (c Class) fits(pattern string) bool {
	if !c.listed() {
		return fits(pattern, c.Value)
	}
	for rest := c.Value; len(rest) > 0; {
		var value []byte
		value, rest, _ = c.cut(rest)
		if fits(pattern, value) {
			return true
		}
	}
	return false
}

// listed says whether the value is a list that ends where its last class ends.
func (c Class) listed() bool {
	if c.Width == 0 {
		return false
	}
	ok := true
	for rest := c.Value; ok && len(rest) > 0; {
		_, rest, ok = c.cut(rest)
	}
	return ok
}

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

// fits says whether a text is the pattern, or begins with what stands before
// its "*".
func fits(pattern string, text []byte) bool {
	if start, open := strings.CutSuffix(pattern, "*"); open {
		return len(text) >= len(start) && string(text[:len(start)]) == start
	}
	return string(text) == pattern
}
