package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"
)

// How long replies may be kept at most, whatever their TTLs say.
const (
	MaxLife         = 24 * time.Hour
	MaxNegativeLife = 3 * time.Hour   // RFC 2308 §5: one to three hours work well
	FailureLife     = 1 * time.Second // RFC 9520 §3.2: at least one second, and short
)

// Errors of ParseMessage.
var (
	ErrMismatch  = errors.New("reply to another question")
	ErrMalformed = errors.New("malformed reply")
	ErrShape     = errors.New("OPT record is not the last one") // the general codec can put it right
)

// A Message is an upstream's reply as it is kept: checked, without its OPT
// record, and with the places of its TTLs known. It never changes.
type Message struct {
	raw  []byte
	ttls []uint16 // offsets
	life time.Duration
	edns bool
}

// Code returns the reply's code.
func (m *Message) Code() int { return int(m.raw[3]) & int(rcodeMask) }

// Truncated reports the TC bit: the message is not whole and must not be kept.
func (m *Message) Truncated() bool { return m.raw[2]&byte(FlagTC>>8) != 0 }

// EDNS reports whether the reply had an OPT record.
func (m *Message) EDNS() bool { return m.edns }

// Life is how long the reply may be kept; 0 is not at all.
func (m *Message) Life() time.Duration { return m.life }

// Size is about the memory that the message holds, bytes.
func (m *Message) Size() int { return cap(m.raw) + 2*cap(m.ttls) + 80 }

// AppendReply appends the message as an answer to q, which must have the key
// that it was parsed for: with q's id, letters, RD and CD, TTLs less age
// seconds, AD only for those who asked (RFC 6840 §5.8), truncated if q wants.
func (m *Message) AppendReply(buf []byte, q *Query, age uint32) []byte {
	start, raw, ttls := len(buf), m.raw, m.ttls
	long := len(raw) > q.room()
	if long {
		raw, ttls = raw[:q.questionEnd()], nil
	}
	buf = append(buf, raw...)
	msg := buf[start:]
	flags := binary.BigEndian.Uint16(msg[2:])&(rcodeMask|FlagAD) | FlagQR | FlagRA | q.Flags&(FlagRD|FlagCD)
	if !q.DO && q.Flags&FlagAD == 0 {
		flags &^= FlagAD
	}
	binary.BigEndian.PutUint16(msg, q.ID)
	binary.BigEndian.PutUint16(msg[2:], flags)
	copy(msg[HeaderLen:], q.Name)
	for _, off := range ttls {
		ttl := binary.BigEndian.Uint32(msg[off:])
		binary.BigEndian.PutUint32(msg[off:], ttl-min(age, ttl))
	}
	if long {
		truncate(msg)
	}
	return appendEDNS(buf, start, q, 0)
}

// ParseMessage reads a reply to the query that AppendQuery made of id and key.
// It keeps no part of pkt. A reply to something else is ErrMismatch: it may be
// a forgery, and the right one may still come.
func ParseMessage(pkt []byte, id uint16, key []byte) (*Message, error) {
	if !answers(pkt, id, key) {
		return nil, ErrMismatch
	}
	p := parser{pkt: pkt, off: HeaderLen + len(key) - 3 + 4, qtype: binary.BigEndian.Uint16(key[len(key)-3:])}
	if err := p.records(); err != nil {
		return nil, err
	}
	return p.message(), nil
}

// answers reports whether pkt carries our id and repeats our question.
func answers(pkt []byte, id uint16, key []byte) bool {
	n := len(key) - 3
	if len(pkt) < HeaderLen+n+4 || binary.BigEndian.Uint16(pkt) != id {
		return false
	}
	flags := binary.BigEndian.Uint16(pkt[2:])
	if flags&FlagQR == 0 || flags&opcodeMask != 0 || binary.BigEndian.Uint16(pkt[4:]) != 1 {
		return false
	}
	question := pkt[HeaderLen:]
	return equalFold(question[:n], key[:n]) &&
		bytes.Equal(question[n:n+2], key[n:n+2]) &&
		binary.BigEndian.Uint16(question[n+2:]) == ClassIN
}

func equalFold(a, lower []byte) bool {
	for i, c := range a {
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// A parser walks over the records of a reply.
type parser struct {
	pkt   []byte
	off   int
	qtype uint16

	ttls     []uint16
	shortest uint32 // TTL
	positive bool   // an answer of the type that was asked for
	soa      int    // offset of the TTL of the authority's SOA, 0 is none
	minimum  uint32 // of that SOA: its TTL or its last field
	opt      int    // offset of the OPT record, 0 is none
	extended byte   // upper bits of the code
}

func (p *parser) records() error {
	p.shortest = uint32(MaxLife / time.Second)
	var left [3]int
	for i := range left {
		left[i] = int(binary.BigEndian.Uint16(p.pkt[6+2*i:]))
	}
	p.ttls = make([]uint16, 0, min(left[0]+left[1]+left[2], 64))
	for section, n := range left {
		for range n {
			if err := p.record(section); err != nil {
				return err
			}
		}
	}
	return nil
}

// record reads one record of section 0 (answer), 1 (authority) or 2.
func (p *parser) record(section int) error {
	if p.opt != 0 {
		return ErrShape
	}
	owner := p.off
	if !p.skipName() || p.off+10 > len(p.pkt) {
		return ErrMalformed
	}
	fixed := p.pkt[p.off:]
	typ, ttl := binary.BigEndian.Uint16(fixed), binary.BigEndian.Uint32(fixed[4:])
	ttlAt, size := p.off+4, int(binary.BigEndian.Uint16(fixed[8:]))
	p.off += 10 + size
	if p.off > len(p.pkt) {
		return ErrMalformed
	}
	if typ == TypeOPT {
		if section != 2 {
			return ErrMalformed
		}
		p.opt, p.extended = owner, fixed[4]
		return nil
	}
	return p.note(section, typ, ttl, ttlAt, size)
}

// note keeps what matters of a record: its TTL, and the authority's SOA.
func (p *parser) note(section int, typ uint16, ttl uint32, ttlAt, size int) error {
	if ttl > 1<<31-1 {
		ttl = 0 // RFC 2181 §8
	}
	p.ttls = append(p.ttls, uint16(ttlAt))
	p.shortest = min(p.shortest, ttl)
	if section == 0 && typ == p.qtype {
		p.positive = true
	}
	if section == 1 && typ == TypeSOA {
		if size < 22 {
			return ErrMalformed
		}
		p.soa, p.minimum = ttlAt, min(ttl, binary.BigEndian.Uint32(p.pkt[p.off-4:]))
	}
	return nil
}

// skipName passes over a name. A pointer must lead back, but not into the
// header; whether there is a name is left to the client, who has to look anyway.
func (p *parser) skipName() bool {
	start := p.off
	for p.off < len(p.pkt) {
		c := p.pkt[p.off]
		switch {
		case c == 0:
			p.off++
			return true
		case c >= 0xc0:
			if p.off+2 > len(p.pkt) {
				return false
			}
			to := int(binary.BigEndian.Uint16(p.pkt[p.off:]) & 0x3fff)
			p.off += 2
			return HeaderLen <= to && to < start
		case c > MaxLabel:
			return false
		}
		p.off += 1 + int(c)
	}
	return false
}

func (p *parser) message() *Message {
	end := p.off
	if p.opt != 0 {
		end = p.opt
	}
	m := &Message{raw: append(make([]byte, 0, end), p.pkt[:end]...), ttls: p.ttls, edns: p.opt != 0}
	if p.opt != 0 {
		binary.BigEndian.PutUint16(m.raw[10:], binary.BigEndian.Uint16(m.raw[10:])-1)
	}
	for _, off := range p.ttls {
		if m.raw[off]&0x80 != 0 {
			clear(m.raw[off : off+4])
		}
	}
	if p.extended != 0 { // no client of ours can be told; BADVERS and the like are between upstream and us
		m.raw[3] = m.raw[3]&^byte(rcodeMask) | ServerFailure
	}
	m.life = p.life(m)
	return m
}

// life decides how long a message is kept, and gives a negative one's SOA the
// TTL that counts, so that it can be counted down like any other.
func (p *parser) life(m *Message) time.Duration {
	code := m.Code()
	switch {
	case m.Truncated():
		return 0
	case code != Success && code != NameError:
		return FailureLife
	case code == Success && p.positive:
		return time.Duration(p.shortest) * time.Second
	case p.soa == 0: // RFC 2308 §5: without a SOA it should not be kept
		return 0
	}
	ttl := min(p.shortest, p.minimum, uint32(MaxNegativeLife/time.Second))
	binary.BigEndian.PutUint32(m.raw[p.soa:], ttl)
	return time.Duration(ttl) * time.Second
}

// Failure returns the reply that says that nobody could be asked for key.
func Failure(key []byte) *Message {
	n := len(key) - 3
	raw := appendHeader(make([]byte, 0, HeaderLen+n+4), 0, FlagQR|ServerFailure, 1)
	raw = append(raw, key[:n+2]...)
	return &Message{raw: binary.BigEndian.AppendUint16(raw, ClassIN), life: FailureLife}
}
