package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Name converts a host or domain name from presentation form into wire form and lower case.
// A trailing dot is optional; "" and "." are the root. Labels are letters, digits, hyphens
// and underscores.
func Name(text string) ([]byte, error) {
	text = strings.TrimSuffix(text, ".")
	if text == "" {
		return []byte{0}, nil
	}
	name := make([]byte, 0, len(text)+2)
	for label := range strings.SplitSeq(text, ".") {
		switch i := strings.IndexFunc(label, func(c rune) bool { return c > 0x7f || !hostByte(byte(c)) }); {
		case label == "":
			return nil, fmt.Errorf("name %q: an empty label", text)
		case len(label) > MaxLabel:
			return nil, fmt.Errorf("name %q: label %q is longer than 63 letters", text, label)
		case i >= 0:
			return nil, fmt.Errorf("name %q: label %q has %q: only letters, digits, '-' and '_' may be in it", text, label, label[i])
		}
		name = append(name, byte(len(label)))
		name = append(name, strings.ToLower(label)...)
	}
	name = append(name, 0)
	if len(name) > MaxName {
		return nil, fmt.Errorf("name %q: longer than 253 letters", text)
	}
	return name, nil
}

func hostByte(c byte) bool {
	return c-'a' < 26 || c-'A' < 26 || c-'0' < 10 || c == '-' || c == '_'
}

// HostLabel reports whether label can be one label of what Name accepts.
func HostLabel[T []byte | string](label T) bool {
	for i := range len(label) {
		if !hostByte(label[i]) {
			return false
		}
	}
	return 0 < len(label) && len(label) <= MaxLabel
}

// Text returns a name in wire form as text for logs. Bytes that are not allowed in host
// names are replaced with question marks.
func Text(name []byte) string {
	var b strings.Builder
	for ; len(name) > 0 && name[0] != 0 && 1+int(name[0]) < len(name); name = name[1+name[0]:] {
		for _, c := range name[1 : 1+name[0]] {
			if !hostByte(c) {
				c = '?'
			}
			b.WriteByte(c)
		}
		b.WriteByte('.')
	}
	return b.String()
}

// Under returns where in name the labels of zone begin, and whether name is
// zone or below it. Both are in wire form and lower case. Labels are
// compared, not bytes: a label may hold any byte.
func Under(name, zone []byte) (off int, ok bool) {
	want := len(name) - len(zone)
	for off < want && name[off] != 0 {
		off += 1 + int(name[off])
	}
	return off, off == want && bytes.Equal(name[off:], zone)
}

// A Case is the random case of the letters of a question's name: more bits
// that a forged reply has to guess (DNS 0x20, draft-vixie-dnsext-dns0x20). Bit i, modulo
// 64, is that of byte i. The zero Case is lower case, for servers that do not preserve it.
type Case uint64

// RandomCase returns an unpredictable one: the runtime's generator is ChaCha8,
// seeded by the kernel.
func RandomCase() Case { return Case(rand.Uint64()) }

// Apply changes the case of a name, which is in lower case.
func (l Case) Apply(name []byte) {
	for i, c := range name {
		name[i] = l.letter(i, c)
	}
}

func (l Case) letter(i int, c byte) byte {
	if c-'a' < 26 && l>>(i%64)&1 != 0 {
		return c &^ 0x20
	}
	return c
}

// HasCase reports whether the reply repeats the question in this case. The zero Case
// matches any.
func (m *Message) HasCase(l Case) bool {
	if l == 0 {
		return true
	}
	for i, c := range m.raw[HeaderLen:] {
		if c == 0 {
			return true
		}
		if l.letter(i, lower(c)) != c {
			return false
		}
	}
	return false
}

// MaxChain is the longest chain of aliases.
const MaxChain = 16

// maxHops is how many compression pointers may precede a label. Encoders use one.
const maxHops = 8

// A chain holds the offsets of the names that a reply may have records of: the
// question's, and the targets of its aliases.
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

// has reports whether the name at an offset is in the chain, or with parents, whether it is
// a parent of one that is. The walk over the labels is bounded: pointers may form a circle.
func (c *chain) has(at int, parents bool) bool {
	for _, name := range c.names[:c.n] {
		off := int(name)
		for range MaxName / 2 {
			if sameName(c.pkt, at, off) {
				return true
			}
			l, ok := labelAt(c.pkt, off)
			if !ok || l.size == 0 || !parents {
				break
			}
			off = l.next()
		}
	}
	return false
}

// A label is the offset behind its length byte, and its length.
type label struct{ at, size int }

func (l label) next() int { return l.at + l.size }

// labelAt follows compression pointers to a label.
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

// sameName compares two names of a message, regardless of case.
func sameName(pkt []byte, a, b int) bool {
	for range MaxName / 2 {
		x, okX := labelAt(pkt, a)
		y, okY := labelAt(pkt, b)
		switch {
		case !okX || !okY || x.size != y.size:
			return false
		case x == y || x.size == 0:
			return true
		case !equalFold(pkt[x.at:x.next()], pkt[y.at:y.next()]):
			return false
		}
		a, b = x.next(), y.next()
	}
	return false
}

// equalFold compares names of equal length, regardless of case.
func equalFold(a, b []byte) bool {
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// FindAlias looks among the answers of a reply to q for the first CNAME record with a
// target that stop accepts. It returns the number of records up to that one, and the
// target in wire form and lower case, valid until the next call; 0 if there is none.
// It allocates nothing.
func (q *Query) FindAlias(msg []byte, stop func(target []byte) bool) (n int, target []byte) {
	if len(msg) < HeaderLen {
		return 0, nil
	}
	p := parser{pkt: msg, off: HeaderLen}
	for range binary.BigEndian.Uint16(msg[4:]) {
		if !p.skipName() {
			return 0, nil
		}
		p.off += 4
	}
	for i := range int(binary.BigEndian.Uint16(msg[6:])) {
		if !p.skipName() || p.off+10 > len(msg) {
			return 0, nil
		}
		typ, data := binary.BigEndian.Uint16(msg[p.off:]), p.off+10
		p.off = data + int(binary.BigEndian.Uint16(msg[p.off+8:]))
		if p.off > len(msg) {
			return 0, nil
		}
		if typ != TypeCNAME {
			continue
		}
		if target, ok := nameAt(msg, data, q.scratch[:0]); ok && stop(target) {
			return i + 1, target
		}
	}
	return 0, nil
}

// nameAt appends the name at an offset of a message, without compression and in lower
// case.
func nameAt(msg []byte, off int, buf []byte) ([]byte, bool) {
	for {
		l, ok := labelAt(msg, off)
		if !ok || len(buf)+1+l.size >= MaxName && l.size > 0 {
			return nil, false
		}
		buf = append(buf, byte(l.size))
		if l.size == 0 {
			return buf, true
		}
		for _, c := range msg[l.at:l.next()] {
			buf = append(buf, lower(c))
		}
		off = l.next()
	}
}
