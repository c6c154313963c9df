package wire

import "encoding/binary"

// A Reply writes an answer behind whatever its buffer already holds. Get one
// from Begin, add records, take the bytes from End.
//
// Owners of records are given as offsets from the question's name: 0 is the
// name itself, more is one of its parents, or a name in the rdata of a record
// before. They are written as compression pointers.
type Reply struct {
	buf   []byte
	start int
	q     *Query
	code  int
	an    uint16
	ns    uint16
	ar    uint16
	spare int // where in buf the additional section begins; 0 is none
}

// maxOwner is the largest offset that a compression pointer reaches.
const maxOwner = 0x3fff - HeaderLen

// Begin starts a reply to q behind buf with the given code and header flags
// (FlagAA, FlagRA, FlagAD); QR, and RD and CD as the client had them, are added.
func Begin(buf []byte, q *Query, code int, flags uint16) Reply {
	r := Reply{buf: buf, start: len(buf), q: q, code: code}
	flags |= FlagQR | q.Flags&(FlagRD|FlagCD) | uint16(code)&rcodeMask
	r.buf = appendHeader(r.buf, q.ID, flags, 1)
	r.buf = append(r.buf, q.Name...)
	r.buf = binary.BigEndian.AppendUint16(r.buf, q.Type)
	r.buf = binary.BigEndian.AppendUint16(r.buf, q.Class)
	return r
}

// Code changes the reply's code to one below 16: that of the name at the end of
// a chain of aliases (RFC 6604 §3).
func (r *Reply) Code(code int) {
	r.code = code
	r.buf[r.start+3] = r.buf[r.start+3]&^byte(rcodeMask) | byte(code)
}

// Answer adds a record to the answer section, and returns where its rdata is: a
// name that begins there can be the owner of what follows.
func (r *Reply) Answer(owner int, typ uint16, ttl uint32, rdata []byte) int {
	r.record(owner, typ, ttl, rdata)
	r.an++
	return len(r.buf) - len(rdata) - r.start - HeaderLen
}

// Authority adds a record to the authority section, after all answers.
func (r *Reply) Authority(owner int, typ uint16, ttl uint32, rdata []byte) {
	r.record(owner, typ, ttl, rdata)
	r.ns++
}

// Additional adds a record to the additional section, after all others. It is
// left out where it does not fit, without TC (RFC 2181 §9).
func (r *Reply) Additional(owner int, typ uint16, ttl uint32, rdata []byte) {
	if owner > maxOwner {
		return
	}
	if r.spare == 0 {
		r.spare = len(r.buf)
	}
	r.record(owner, typ, ttl, rdata)
	r.ar++
}

func (r *Reply) record(owner int, typ uint16, ttl uint32, rdata []byte) {
	b := binary.BigEndian.AppendUint16(r.buf, 0xc000|uint16(HeaderLen+owner))
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, ClassIN)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rdata)))
	r.buf = append(b, rdata...)
}

// End returns the buffer with the finished reply. One that is longer than the
// client can take loses all records and gets TC (RFC 2181 §9 allows to keep
// none): the client asks again over TCP.
func (r *Reply) End() []byte {
	if r.spare != 0 && len(r.buf)-r.start > r.q.room() {
		r.buf, r.ar = r.buf[:r.spare], 0
	}
	msg := r.buf[r.start:]
	binary.BigEndian.PutUint16(msg[6:], r.an)
	binary.BigEndian.PutUint16(msg[8:], r.ns)
	binary.BigEndian.PutUint16(msg[10:], r.ar)
	if len(msg) > r.q.room() {
		r.buf = r.buf[:r.start+r.q.questionEnd()]
		truncate(msg)
	}
	return appendEDNS(r.buf, r.start, r.q, r.code, nil)
}

const optLen = 11

// room is how long a reply may be without our OPT record.
func (q *Query) room() int {
	if q.EDNS {
		return q.Max - optLen
	}
	return q.Max
}

// questionEnd is where in a reply the question ends.
func (q *Query) questionEnd() int { return HeaderLen + len(q.Name) + 4 }

// truncate makes the header that of a reply that lost all its records.
func truncate(msg []byte) {
	msg[2] |= byte(FlagTC >> 8)
	clear(msg[6:HeaderLen])
}

// appendEDNS adds our OPT record, with options, when the client sent one.
func appendEDNS(buf []byte, start int, q *Query, code int, options []byte) []byte {
	if !q.EDNS {
		return buf
	}
	count := buf[start+10 : start+HeaderLen]
	binary.BigEndian.PutUint16(count, binary.BigEndian.Uint16(count)+1)
	return appendOPT(buf, code>>4, q.DO, options)
}

func appendHeader(b []byte, id, flags, questions uint16) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, questions)
	return append(b, 0, 0, 0, 0, 0, 0)
}

func appendOPT(b []byte, extended int, do bool, options []byte) []byte {
	flags := byte(0)
	if do {
		flags = 0x80
	}
	b = append(b, 0, byte(TypeOPT>>8), byte(TypeOPT),
		MaxPayload>>8, MaxPayload&0xff, byte(extended), 0, flags, 0, byte(len(options)>>8), byte(len(options)))
	return append(b, options...)
}

// AppendError appends a reply without a question: the answer to a packet of which only the
// header could be read. Of other opcodes than QUERY only the opcode is
// copied, as the meaning of their flags is unknown.
func AppendError(buf []byte, id, flags uint16, code int) []byte {
	keep := flags & (FlagRD | FlagCD)
	if opcode := flags & opcodeMask; opcode != 0 {
		keep = opcode
	}
	return appendHeader(buf, id, FlagQR|keep|uint16(code)&rcodeMask, 0)
}

// AppendQuery appends the query for a Query's Key, with recursion desired. AD
// is set, which asks for the AD bit in the reply without DO (RFC 6840 §5.7).
// Without edns the DO bit is lost.
func AppendQuery(buf []byte, id uint16, key []byte, edns bool) []byte {
	n := len(key) - 3
	flags := FlagRD | FlagAD
	if key[n+2]&keyCD != 0 {
		flags |= FlagCD
	}
	start := len(buf)
	buf = appendHeader(buf, id, flags, 1)
	buf = append(buf, key[:n+2]...)
	buf = binary.BigEndian.AppendUint16(buf, ClassIN)
	if edns {
		buf[start+11] = 1
		buf = appendOPT(buf, 0, key[n+2]&keyDO != 0, nil)
	}
	return buf
}
