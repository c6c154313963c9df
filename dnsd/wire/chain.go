package wire

import "encoding/binary"

// MaxChain names may lead from the question to the answer, as aliases.
const MaxChain = 16

// maxHops pointers may lead from one label to the next. Encoders need one.
const maxHops = 8

// A chain holds the places of the names that a reply may speak of: the
// question's, and those that its aliases lead to.
type chain struct {
	pkt   []byte
	names [MaxChain]uint16
	n     int
}

func (c *chain) add(at int) bool {
	if c.n == MaxChain {
		return false
	}
	c.names[c.n] = uint16(at)
	c.n++
	return true
}

// has reports whether the name at a place is in the chain.
func (c *chain) has(at int) bool {
	for _, name := range c.names[:c.n] {
		if sameName(c.pkt, at, int(name)) {
			return true
		}
	}
	return false
}

// above reports whether the name at a place is in the chain or a parent of one
// that is. A name whose pointers lead round has no more labels than any.
func (c *chain) above(at int) bool {
	for _, name := range c.names[:c.n] {
		off := int(name)
		for range MaxName / 2 {
			if sameName(c.pkt, at, off) {
				return true
			}
			l, ok := labelAt(c.pkt, off)
			if !ok || l.size == 0 {
				break
			}
			off = l.next()
		}
	}
	return false
}

// A label lies behind its length byte.
type label struct{ at, size int }

func (l label) next() int { return l.at + l.size }

// labelAt follows pointers to a label.
func labelAt(pkt []byte, off int) (label, bool) {
	for range maxHops {
		if off >= len(pkt) {
			return label{}, false
		}
		c := int(pkt[off])
		switch {
		case c <= MaxLabel && off+1+c <= len(pkt):
			return label{off + 1, c}, true
		case c < 0xc0 || off+2 > len(pkt):
			return label{}, false
		}
		off = int(binary.BigEndian.Uint16(pkt[off:]) & 0x3fff)
	}
	return label{}, false
}

// sameName compares two names of a message, whatever their letters.
func sameName(pkt []byte, a, b int) bool {
	for range MaxName / 2 {
		x, okX := labelAt(pkt, a)
		y, okY := labelAt(pkt, b)
		switch {
		case !okX || !okY || x.size != y.size:
			return false
		case x == y || x.size == 0:
			return true
		case !sameLetters(pkt[x.at:x.next()], pkt[y.at:y.next()]):
			return false
		}
		a, b = x.next(), y.next()
	}
	return false
}

func sameLetters(a, b []byte) bool {
	for i, c := range a {
		if small(c) != small(b[i]) {
			return false
		}
	}
	return true
}

func small(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}
