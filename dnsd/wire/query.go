package wire

import (
	"encoding/binary"
	"slices"
	"time"
)

// Sizes of RFC 1035 §2.3.4 and RFC 6891.
const (
	HeaderLen  = 12
	MaxName    = 255   // a name in wire form, with all length bytes
	MaxLabel   = 63    // one label
	MinPayload = 512   // what every UDP client can take
	MaxPayload = 1232  // what we offer and send over UDP: no fragments on any link of IPv6's minimum MTU
	MaxMessage = 65535 // over TCP
)

// Flags are the second word of a header, RFC 1035 §4.1.1 and RFC 4035 §3.
const (
	FlagQR uint16 = 1 << 15
	FlagAA uint16 = 1 << 10
	FlagTC uint16 = 1 << 9
	FlagRD uint16 = 1 << 8
	FlagRA uint16 = 1 << 7
	FlagAD uint16 = 1 << 5
	FlagCD uint16 = 1 << 4

	opcodeMask uint16 = 0x7800
	rcodeMask  uint16 = 0x000f
)

// Codes of replies.
const (
	Success        = 0
	FormatError    = 1
	ServerFailure  = 2
	NameError      = 3 // NXDOMAIN
	NotImplemented = 4
	Refused        = 5
	BadVersion     = 16 // RFC 6891 §6.1.3: its upper bits go in the OPT record
)

// Types and classes with a meaning here. All others pass through.
const (
	TypeA      uint16 = 1
	TypeNS     uint16 = 2
	TypeCNAME  uint16 = 5
	TypeSOA    uint16 = 6
	TypePTR    uint16 = 12
	TypeHINFO  uint16 = 13
	TypeMX     uint16 = 15
	TypeAAAA   uint16 = 28
	TypeSRV    uint16 = 33
	TypeOPT    uint16 = 41
	TypeDNAME  uint16 = 39
	TypeDS     uint16 = 43
	TypeRRSIG  uint16 = 46
	TypeNSEC   uint16 = 47
	TypeDNSKEY uint16 = 48
	TypeNSEC3  uint16 = 50
	TypeSVCB   uint16 = 64
	TypeHTTPS  uint16 = 65
	TypeANY    uint16 = 255

	ClassIN uint16 = 1
)

// A ParseResult is the result of Parse.
type ParseResult uint8

// The results of Parse. With all but Drop, ID and Flags are filled in.
const (
	OK          ParseResult = iota // all of the Query is
	Drop                           // no query: too short for a header, or a reply. It must not be answered
	NotQuery                       // another opcode than QUERY
	BadCount                       // not exactly one question, or a malformed one
	Unsupported                    // records behind the question that this package does not parse, or malformed
)

// A Query is one plain question: a header, a name without compression, and
// perhaps an OPT record. It is meant to be reused.
type Query struct {
	ID      uint16
	Flags   uint16 // the header's second word as the client sent it
	Type    uint16
	Class   uint16
	Name    []byte // wire form in the client's case; points into the packet
	EDNS    bool
	Version uint8 // of EDNS
	DO      bool
	Max     int // longest reply, bytes: 512 to 1232. Over TCP the caller raises it

	Hops  int       // aliases that were followed, of a query that For made
	Since time.Time // when its client asked; zero: now

	key     [MaxName + 3]byte
	scratch [MaxName]byte
}

// Lower returns the name in lower case. Valid until the Query is filled again.
func (q *Query) Lower() []byte { return q.key[:len(q.Name)] }

// Key returns the key of the cache: name in lower case, type, and
// the DO and CD bits, which change what an upstream answers. Valid until the
// Query is filled again.
func (q *Query) Key() []byte { return q.key[:len(q.Name)+3] }

// Clone returns a copy that shares no memory with q or its packet.
func (q *Query) Clone() *Query {
	c := *q
	c.Name = slices.Clone(q.Name)
	return &c
}

// For returns the same query for another name, in wire form, that takes a reply
// of any length. It shares no memory with q.
func (q *Query) For(name []byte) *Query {
	c := *q
	c.Name, c.Max = slices.Clone(name), MaxMessage
	c.Hops++
	c.fillKey()
	return &c
}

const (
	keyDO = 1 << iota
	keyCD
)

// Parse reads a packet into q. Of the options in an OPT record only the lengths are
// checked.
func Parse(pkt []byte, q *Query) ParseResult {
	if len(pkt) < HeaderLen || pkt[2]&0x80 != 0 {
		return Drop
	}
	q.ID = binary.BigEndian.Uint16(pkt)
	q.Flags = binary.BigEndian.Uint16(pkt[2:])
	q.EDNS, q.DO, q.Version, q.Max = false, false, 0, MinPayload
	q.Hops, q.Since = 0, time.Time{}
	if q.Flags&opcodeMask != 0 {
		return NotQuery
	}
	if binary.BigEndian.Uint16(pkt[4:]) != 1 {
		return BadCount
	}
	end, ok := q.question(pkt)
	if !ok { // short, or a compression pointer, which has no valid target
		return BadCount
	}
	if binary.BigEndian.Uint32(pkt[6:]) != 0 || // answers and authority
		!q.additional(pkt[end:], binary.BigEndian.Uint16(pkt[10:])) {
		return Unsupported
	}
	q.fillKey()
	return OK
}

func (q *Query) question(pkt []byte) (end int, ok bool) {
	off := HeaderLen
	for {
		if off >= len(pkt) || pkt[off] > MaxLabel {
			return 0, false // short, or a compression pointer
		}
		n := int(pkt[off])
		off += 1 + n
		if n == 0 {
			break
		}
	}
	if off-HeaderLen > MaxName || off+4 > len(pkt) {
		return 0, false
	}
	q.Name = pkt[HeaderLen:off:off]
	q.Type = binary.BigEndian.Uint16(pkt[off:])
	q.Class = binary.BigEndian.Uint16(pkt[off+2:])
	return off + 4, true
}

// additional reads what follows the question: nothing, or one OPT record.
func (q *Query) additional(b []byte, count uint16) bool {
	if count == 0 {
		return len(b) == 0
	}
	const fixed = 11 // root name, type, class, TTL, length
	if count > 1 || len(b) < fixed || b[0] != 0 || binary.BigEndian.Uint16(b[1:]) != TypeOPT {
		return false
	}
	if int(binary.BigEndian.Uint16(b[9:])) != len(b)-fixed {
		return false
	}
	options := b[fixed:]
	for len(options) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(options[2:]))
		if n > len(options) {
			return false
		}
		options = options[n:]
	}
	if len(options) != 0 {
		return false
	}
	q.EDNS = true
	q.Max = min(max(int(binary.BigEndian.Uint16(b[3:])), MinPayload), MaxPayload)
	q.Version = b[6]
	q.DO = b[7]&0x80 != 0
	return true
}

func (q *Query) fillKey() {
	n := len(q.Name)
	for i, c := range q.Name { // length bytes are below 64, and so no letters
		q.key[i] = lower(c)
	}
	binary.BigEndian.PutUint16(q.key[n:], q.Type)
	q.key[n+2] = 0
	if q.DO {
		q.key[n+2] |= keyDO
	}
	if q.Flags&FlagCD != 0 {
		q.key[n+2] |= keyCD
	}
}
