package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// The longest time for which replies are cached, whatever their TTLs.
const (
	MaxLife         = 24 * time.Hour  // and the longest TTL that is sent (RFC 8767 §4 allows 7 days)
	MaxNegativeLife = 3 * time.Hour   // RFC 2308 §5: one to three hours work well
	FailureLife     = 1 * time.Second // RFC 9520 §3.2: at least one second, and short
)

// Errors of ParseMessage.
var (
	ErrMismatch  = errors.New("reply to another question")
	ErrMalformed = errors.New("malformed reply")
	ErrShape     = errors.New("answers out of order, or to no question") // the general codec can repair it
)

// A Message is an upstream's reply as it is cached: checked, with the offsets of
// its TTLs, and without its additional section, which is optional, and
// the usual place for spoofed records. It is immutable.
type Message struct {
	raw     []byte
	ttls    []uint16 // offsets
	life    time.Duration
	edns    bool
	private bool
	ede     []byte // an extended error, as an option of OPT
}

// Code returns the reply's code.
func (m *Message) Code() int { return int(m.raw[3]) & int(rcodeMask) }

// Truncated reports the TC bit: the message must not be cached.
func (m *Message) Truncated() bool { return m.raw[2]&byte(FlagTC>>8) != 0 }

// EDNS reports whether the reply had an OPT record.
func (m *Message) EDNS() bool { return m.edns }

// Life is how long the reply may be cached; 0 is not at all.
func (m *Message) Life() time.Duration { return m.life }

// Private reports whether the answer has an address that is valid only
// on this host or site (RFC 1918, 4193 and the like).
func (m *Message) Private() bool { return m.private }

// MayServeStale reports whether the message may be sent past its life: not an error.
func (m *Message) MayServeStale() bool { return m.Code() == Success || m.Code() == NameError }

// Size is about the memory that the message holds, bytes.
func (m *Message) Size() int { return cap(m.raw) + 2*cap(m.ttls) + cap(m.ede) + 104 }

// AppendReply appends the message as an answer to q, which must have the key
// that it was parsed for: with q's id, case, RD and CD, TTLs less age
// seconds, AD only for clients that set AD or DO (RFC 6840 §5.8), truncated to q.Max.
func (m *Message) AppendReply(buf []byte, q *Query, age uint32) []byte {
	return m.append(buf, q, m.ede, func(ttl uint32) uint32 { return ttl - min(age, ttl) })
}

// AppendStale is AppendReply for a message that is past its life: with TTLs of
// 30 seconds at most, as RFC 8767 §4 advises.
func (m *Message) AppendStale(buf []byte, q *Query) []byte {
	ede := staleAnswer
	if m.Code() == NameError {
		ede = staleName
	}
	return m.append(buf, q, ede, func(ttl uint32) uint32 { return min(ttl, staleTTL) })
}

const staleTTL = 30

func (m *Message) append(buf []byte, q *Query, ede []byte, ttl func(uint32) uint32) []byte {
	start, raw, ttls := len(buf), m.raw, m.ttls
	long := len(raw) > q.room()
	if long || len(raw)+len(ede) > q.room() {
		ede = nil
	}
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
		binary.BigEndian.PutUint32(msg[off:], ttl(binary.BigEndian.Uint32(msg[off:])))
	}
	if long {
		truncate(msg)
	}
	return appendEDNS(buf, start, q, 0, ede)
}

// ParseMessage reads a reply to the query that AppendQuery made of id and key.
// It keeps no part of pkt. A reply to something else is ErrMismatch: it may be
// a forgery, and the right one may still come.
func ParseMessage(pkt []byte, id uint16, key []byte) (*Message, error) {
	if !answers(pkt, id, key) {
		return nil, ErrMismatch
	}
	p := parser{pkt: pkt, off: HeaderLen + len(key) - 3 + 4, qtype: binary.BigEndian.Uint16(key[len(key)-3:])}
	p.chain.pkt = pkt
	p.chain.add(HeaderLen)
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

// A parser reads the records of a reply.
type parser struct {
	pkt   []byte
	off   int
	qtype uint16

	ttls     []uint16
	shortest uint32   // TTL
	positive bool     // there is an answer of the type that was asked for
	soa      int      // offset of the TTL of the authority's SOA, 0 is none
	minimum  uint32   // of that SOA: its TTL or its last field
	end      int      // of answer and authority
	private  bool     // an address or hint of the answer is
	spelled  []uint16 // offsets of uncompressed owners
	edns     bool
	chain    chain
	extended byte // upper bits of the code
	ede      []byte
}

func (p *parser) records() error {
	p.shortest = uint32(MaxLife / time.Second)
	var left [3]int
	for i := range left {
		left[i] = int(binary.BigEndian.Uint16(p.pkt[6+2*i:]))
	}
	p.ttls = make([]uint16, 0, min(left[0]+left[1], 64))
	for section, n := range left {
		for range n {
			if err := p.record(section); err != nil {
				return err
			}
		}
		if section < 2 {
			p.end = p.off
		}
	}
	return nil
}

// record reads one record of section 0 (answer), 1 (authority) or 2.
func (p *parser) record(section int) error {
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
	switch {
	case typ == TypeOPT && (section != 2 || p.edns):
		return ErrMalformed
	case typ == TypeOPT:
		p.edns, p.extended = true, fixed[4]
		p.ede = extendedError(p.pkt[p.off-size : p.off])
		return nil
	case section == 2:
		return nil
	case !p.belongs(section, owner, typ, p.off-size):
		return ErrShape
	}
	return p.note(section, owner, typ, ttl, ttlAt, size)
}

// belongs reports whether a record is about the question: in the answer about a
// name of the chain, in the authority about a zone that one is in. Proofs of
// absence (NSEC, NSEC3 and their signatures) have other names.
func (p *parser) belongs(section, owner int, typ uint16, data int) bool {
	switch {
	case section == 1 && (typ == TypeNSEC || typ == TypeNSEC3 || typ == TypeRRSIG):
		return true
	case section == 1, typ == TypeDNAME:
		return p.chain.has(owner, true)
	case typ == TypeRRSIG && data+2 <= len(p.pkt) && binary.BigEndian.Uint16(p.pkt[data:]) == TypeDNAME:
		return p.chain.has(owner, true)
	case !p.chain.has(owner, false):
		return false
	case typ == TypeCNAME && p.qtype != TypeCNAME:
		name := parser{pkt: p.pkt[:p.off], off: data} // one name, and no more
		return name.skipName() && name.off == p.off && p.chain.add(data)
	}
	return true
}

// note stores the TTL of a record, and the authority's SOA.
func (p *parser) note(section, owner int, typ uint16, ttl uint32, ttlAt, size int) error {
	if ttl > 1<<31-1 {
		ttl = 0 // RFC 2181 §8
	}
	p.ttls = append(p.ttls, uint16(ttlAt))
	if p.pkt[owner] <= MaxLabel {
		p.spelled = append(p.spelled, uint16(owner))
	}
	p.shortest = min(p.shortest, ttl)
	if section == 0 && typ == p.qtype {
		p.positive = true
	}
	if section == 0 && NamesPrivate(typ, p.pkt[p.off-size:p.off]) {
		p.private = true
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
// header; its target is not checked.
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
	m := &Message{raw: append(make([]byte, 0, p.end), p.pkt[:p.end]...), ttls: p.ttls, edns: p.edns, private: p.private, ede: p.ede}
	clear(m.raw[10:HeaderLen])
	for _, off := range p.spelled { // undoes DNS 0x20
		for i, c := range m.raw[off:] { // up to the root, or a pointer into the question
			if c == 0 || c >= 0xc0 {
				break
			}
			m.raw[int(off)+i] = lower(c)
		}
	}
	for _, off := range p.ttls {
		switch ttl := binary.BigEndian.Uint32(m.raw[off:]); {
		case ttl > 1<<31-1: // RFC 2181 §8
			clear(m.raw[off : off+4])
		case ttl > uint32(MaxLife/time.Second):
			binary.BigEndian.PutUint32(m.raw[off:], uint32(MaxLife/time.Second))
		}
	}
	if p.extended != 0 { // BADVERS and the like are about our query, not the client's
		m.raw[3] = m.raw[3]&^byte(rcodeMask) | ServerFailure
	}
	m.life = p.life(m)
	return m
}

// life returns how long a message is cached, and sets the TTL of a negative one's SOA to
// that, so that it can be counted down like any other.
func (p *parser) life(m *Message) time.Duration {
	code := m.Code()
	switch {
	case m.Truncated():
		return 0
	case code != Success && code != NameError:
		return FailureLife
	case code == Success && p.positive:
		return time.Duration(p.shortest) * time.Second
	case p.soa == 0: // RFC 2308 §5: without a SOA it should not be cached
		return 0
	}
	ttl := min(p.shortest, p.minimum, uint32(MaxNegativeLife/time.Second))
	binary.BigEndian.PutUint32(m.raw[p.soa:], ttl)
	return time.Duration(ttl) * time.Second
}

// Failure returns the reply to key when no server answered.
func Failure(key []byte) *Message { return bare(key, ServerFailure, noReachableAuthority) }

// Refusal returns the reply to key when there is no room for the question.
func Refusal(key []byte) *Message { return bare(key, Refused, notReady) }

// Blocked returns the reply to key when policy forbids the answer.
func Blocked(key []byte) *Message { return bare(key, Refused, blocked) }

func bare(key []byte, code uint16, ede []byte) *Message {
	n := len(key) - 3
	raw := appendHeader(make([]byte, 0, HeaderLen+n+4), 0, FlagQR|code, 1)
	raw = append(raw, key[:n+2]...)
	return &Message{raw: binary.BigEndian.AppendUint16(raw, ClassIN), life: FailureLife, ede: ede}
}

// maxErrorText is the most of an upstream's EXTRA-TEXT that is passed on, octets.
const maxErrorText = 64

// Extended errors of our own (RFC 8914 section 4).
var (
	staleAnswer          = ede(3, "")
	notReady             = ede(14, "")
	blocked              = ede(15, "private address (DNS rebinding)")
	staleName            = ede(19, "")
	noReachableAuthority = ede(22, "")
)

// ede returns an EDE option: its code, a length, INFO-CODE and EXTRA-TEXT.
func ede[T string | []byte](code uint16, text T) []byte {
	b := binary.BigEndian.AppendUint16(nil, optionEDE)
	b = binary.BigEndian.AppendUint16(b, uint16(2+len(text)))
	return append(binary.BigEndian.AppendUint16(b, code), text...)
}

const optionEDE = 15

// extendedError returns the first EDE option among those of an OPT record, with what
// is not printable replaced and long text cut, or nil.
func extendedError(options []byte) []byte {
	for len(options) >= 4 {
		code, size := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		options = options[4:]
		if size > len(options) {
			return nil
		}
		if code == optionEDE && size >= 2 {
			b := ede(binary.BigEndian.Uint16(options), options[2:min(size, 2+maxErrorText)])
			for i, c := range b[6:] {
				if c < ' ' || c > '~' {
					b[6+i] = '?'
				}
			}
			return b
		}
		options = options[size:]
	}
	return nil
}

// privatePrefixes are those that names of the public DNS should not have, beside those that
// netip knows.
var privatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598
	netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215: IPv4 addresses of the site, in a place that depends on the site
	netip.MustParsePrefix("fec0::/10"),      // RFC 3879: site-local
}

// embedded are the prefixes of IPv6 addresses that hold an IPv4 address, and where.
var embedded = []struct {
	prefix netip.Prefix
	at     int
	not    byte // what each octet is xored with
}{
	{netip.MustParsePrefix("::/96"), 12, 0},           // IPv4-compatible, RFC 4291 section 2.5.5.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0}, // IPv4-translated, RFC 2765
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},    // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2, 0},        // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), 4, 0},        // Teredo, RFC 4380: the server
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},    // and the client
}

// Private reports whether an address is valid only on this host or site, or is an
// IPv6 address that embeds such an IPv4 address by NAT64, 6to4, Teredo or ISATAP.
func Private(a netip.Addr) bool {
	a = a.Unmap()
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		return true
	}
	for _, p := range privatePrefixes {
		if p.Contains(a) {
			return true
		}
	}
	if a.Is4() {
		return false
	}
	b := a.As16()
	for _, e := range embedded {
		if e.prefix.Contains(a) && private4(b[e.at:], e.not) {
			return true
		}
	}
	isatap := binary.BigEndian.Uint32(b[8:])&^0x0200_0000 == 0x0000_5efe // RFC 5214 section 6.1
	return isatap && private4(b[12:], 0)
}

func private4(b []byte, not byte) bool {
	return Private(netip.AddrFrom4([4]byte{b[0] ^ not, b[1] ^ not, b[2] ^ not, b[3] ^ not}))
}

// NamesPrivate reports whether the data of a record is or has a private address: of A
// and AAAA, and in the hints of HTTPS and SVCB (RFC 9460 section 7.3).
func NamesPrivate(typ uint16, rdata []byte) bool {
	switch typ {
	case TypeA, TypeAAAA:
		a, ok := netip.AddrFromSlice(rdata)
		return ok && Private(a)
	case TypeSVCB, TypeHTTPS:
		return hintsPrivate(rdata)
	}
	return false
}

func hintsPrivate(rdata []byte) bool {
	const ipv4hint, ipv6hint = 4, 6
	off := 2 // priority
	for off < len(rdata) && rdata[off] != 0 {
		if rdata[off] > MaxLabel { // compressed, which it must not be
			off++
			break
		}
		off += 1 + int(rdata[off])
	}
	for off++; off+4 <= len(rdata); {
		key, size := binary.BigEndian.Uint16(rdata[off:]), int(binary.BigEndian.Uint16(rdata[off+2:]))
		off += 4
		value := rdata[off:min(off+size, len(rdata))]
		each := map[uint16]int{ipv4hint: 4, ipv6hint: 16}[key]
		for ; each > 0 && len(value) >= each; value = value[each:] {
			if a, _ := netip.AddrFromSlice(value[:each]); Private(a) {
				return true
			}
		}
		off += size
	}
	return false
}
