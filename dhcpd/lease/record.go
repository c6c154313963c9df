package lease

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// The records of the journal. Each says what is so from here on.
const (
	recBind   = 1 // a whole lease
	recEnd    = 2 // the client's lease of an address ended at a time
	recForget = 3 // a network has no leases
	recCount  = 4 // the end of a snapshot, with the number of its leases
	recBind6  = 5 // a whole lease of IPv6
	recEnd6   = 6 // as recEnd, for IPv6
	recLast   = recEnd6
)

const maxString = 255

// appendBind adds a lease. Strings longer than 255 octets cannot come from
// the wire and are cut.
func appendBind(b []byte, l *Lease) []byte {
	b = appendBinding(b, recBind, l)
	b = appendTime(b, l.Start)
	b = appendTime(b, l.Expires)
	b = appendString(b, l.ClientID)
	return appendString(b, l.Hostname)
}

// appendEnd adds the end of a lease, of which only its client and its address
// are written.
func appendEnd(b []byte, l *Lease, at time.Time) []byte {
	return appendTime(appendBinding(b, recEnd, l), at)
}

// appendBinding adds a record's kind, for IPv4 or IPv6, and who has what.
func appendBinding(b []byte, kind byte, l *Lease) []byte {
	six := l.Address.Is6()
	if six {
		kind += recBind6 - recBind
	}
	b = appendString(append(b, kind), l.Network)
	b = append(b, l.MAC[:]...)
	b = appendAddr(b, l.Address)
	if six {
		b = appendString(b, l.DUID)
		b = binary.BigEndian.AppendUint32(b, l.IAID)
	}
	return b
}

func appendForget(b []byte, network string) []byte {
	return appendString(append(b, recForget), network)
}

func appendCount(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(append(b, recCount), uint64(n))
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), maxString)]
	return append(append(b, byte(len(s))), s...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	s := a.AsSlice()
	return append(append(b, byte(len(s))), s...)
}

// appendTime adds milliseconds since 1970; zero is the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

var errRecord = errors.New("unreadable record")

// record is any of the records, as read back.
type record struct {
	kind  byte
	lease Lease // recEnd and recEnd6 use Network, Client, Address and Expires
	count uint64
}

// records calls yield with each record of a frame's payload.
func records(b []byte, yield func(record) error) error {
	d := decoder{b: b}
	for len(d.b) > 0 {
		r := d.record()
		if d.bad {
			return errRecord
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// decoder reads fields off the front of b. After a field that does not
// fit, bad is set and everything reads as zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) record() record {
	r := record{kind: d.octet()}
	switch r.kind {
	case recBind, recBind6:
		r.lease = d.binding(r.kind)
		r.lease.Start, r.lease.Expires = d.time(), d.time()
		r.lease.ClientID, r.lease.Hostname = d.string(), d.string()
	case recEnd, recEnd6:
		r.lease = d.binding(r.kind)
		r.lease.Expires = d.time()
	case recForget:
		r.lease.Network = d.string()
	case recCount:
		r.count = d.uint64()
	default:
		d.bad = true
	}
	return r
}

func (d *decoder) binding(kind byte) (l Lease) {
	l.Network = d.string()
	copy(l.MAC[:], d.take(6))
	l.Address = d.addr()
	if kind == recBind6 || kind == recEnd6 {
		l.DUID, l.IAID = d.string(), d.uint32()
	}
	return l
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.b) < n {
		d.bad, d.b = true, nil
		return nil
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) octet() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) string() string { return string(d.take(int(d.octet()))) }

func (d *decoder) addr() netip.Addr {
	a, ok := netip.AddrFromSlice(d.take(int(d.octet())))
	if !ok {
		d.bad = true
	}
	return a
}

func (d *decoder) time() time.Time {
	if ms := d.uint64(); ms != 0 {
		return time.UnixMilli(int64(ms))
	}
	return time.Time{}
}
