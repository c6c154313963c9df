package lease

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"time"
)

// The records of the files. Each is a state, not a change. Those of version
// 1 have times by the wall clock, and are only read.
const (
	recBind1  = 1 // a whole lease
	recEnd1   = 2 // the client's lease of an address ended at a time
	recForget = 3 // a network has no leases
	recCount  = 4 // the end of a snapshot, with the number of its leases
	recBind16 = 5 // as recBind1, for IPv6
	recEnd16  = 6 // as recEnd1, for IPv6

	// With times by CLOCK_MONOTONIC of the boot that the frame names.
	recBind  = 7
	recEnd   = 8
	recBind6 = 9
	recEnd6  = 10
)

const maxString = 255

// relayBit differs from the sign of the port of a lease that a relay asked for.
const relayBit = 1 << 30

// never is the zero time.
const never = math.MinInt64

// appendBind adds a lease. Strings longer than 255 octets cannot come from
// the wire and are cut.
func appendBind(b []byte, l *Lease, c *clock) []byte {
	b = appendBinding(b, recBind, l)
	b = appendTime(b, l.Start, c)
	b = appendTime(b, l.Expires, c)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Length.Milliseconds()))
	port := uint32(l.Port)
	if l.Relay {
		port ^= relayBit
	}
	b = binary.BigEndian.AppendUint32(b, port)
	b = appendString(b, l.ClientID)
	b = appendString(b, l.Wanted)
	if l.Hostname == l.Wanted {
		return append(b, 1)
	}
	return appendString(append(b, 0), l.Hostname)
}

// appendEnd adds the end of a lease, of which only its client and its address
// are written.
func appendEnd(b []byte, l *Lease, at time.Time, c *clock) []byte {
	return appendTime(appendBinding(b, recEnd, l), at, c)
}

// appendBinding adds a record's kind, for IPv4 or IPv6, its client and its address.
func appendBinding(b []byte, kind byte, l *Lease) []byte {
	six := l.Address.Is6()
	if six {
		kind += recBind6 - recBind
	}
	b = appendString(append(b, kind), l.Network)
	b = append(b, l.MAC[:]...)
	addr := l.Address.AsSlice()
	b = append(append(b, byte(len(addr))), addr...)
	if six {
		b = appendString(b, l.DUID)
		b = binary.BigEndian.AppendUint32(b, l.IAID)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), maxString)]
	return append(append(b, byte(len(s))), s...)
}

// appendTime adds milliseconds of CLOCK_MONOTONIC.
func appendTime(b []byte, t time.Time, c *clock) []byte {
	ms := int64(never)
	if !t.IsZero() {
		ms = c.stored(t).Milliseconds()
	}
	return binary.BigEndian.AppendUint64(b, uint64(ms))
}

var errRecord = errors.New("unreadable record")

// record is any of the records, as read back. Its times count from 1970 by the
// clock that the record is written by.
type record struct {
	kind  byte
	wall  bool  // that is the wall clock
	lease Lease // recEnd and recEnd6 use Network, Client, Address and Expires
	count uint64
}

// records calls yield with each record of a frame.
func records(b []byte, yield func(record)) error {
	d := decoder{b: b}
	for len(d.b) > 0 {
		r := d.record()
		if d.bad {
			return errRecord
		}
		yield(r)
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
	case recBind1, recBind16:
		r.wall = true
		r.lease = d.binding(r.kind == recBind16)
		r.lease.Start, r.lease.Expires = d.time1(), d.time1()
		r.lease.ClientID, r.lease.Hostname = d.string(), d.string()
		r.lease.Wanted = r.lease.Hostname
		if !r.lease.Expires.IsZero() {
			r.lease.Length = max(0, r.lease.Expires.Sub(r.lease.Start))
		}
		r.kind = recBind
	case recEnd1, recEnd16:
		r.wall = true
		r.lease = d.binding(r.kind == recEnd16)
		r.lease.Expires = d.time1()
		r.kind = recEnd
	case recBind, recBind6:
		r.lease = d.binding(r.kind == recBind6)
		r.lease.Start, r.lease.Expires = d.time(), d.time()
		r.lease.Length = d.duration()
		port := d.uint32()
		if r.lease.Relay = port>>31 != port>>30&1; r.lease.Relay {
			port ^= relayBit
		}
		r.lease.Port = int32(port)
		r.lease.ClientID, r.lease.Wanted = d.string(), d.string()
		if r.lease.Hostname = r.lease.Wanted; d.octet() == 0 {
			r.lease.Hostname = d.string()
		}
		r.kind = recBind
	case recEnd, recEnd6:
		r.lease = d.binding(r.kind == recEnd6)
		r.lease.Expires = d.time()
		r.kind = recEnd
	case recForget:
		r.lease.Network = d.string()
	case recCount:
		r.count = d.uint64()
	default:
		d.bad = true
	}
	return r
}

func (d *decoder) binding(six bool) (l Lease) {
	l.Network = d.string()
	copy(l.MAC[:], d.take(6))
	var ok bool
	if l.Address, ok = netip.AddrFromSlice(d.take(int(d.octet()))); !ok || l.Address.Is6() != six {
		d.bad = true
	}
	if six {
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

// maxMillis is 200 years: more than the longest lease, 136 years, and less than the 292 that
// a time.Duration holds, so that a damaged time can be added to those of the host.
const maxMillis = 200 * 365 * 24 * int64(time.Hour/time.Millisecond)

func (d *decoder) duration() time.Duration {
	ms := int64(d.uint64())
	return time.Duration(min(max(ms, -maxMillis), maxMillis)) * time.Millisecond
}

// time1 reads a time of version 1: milliseconds of the wall clock, 0 for never.
func (d *decoder) time1() time.Time {
	if t := d.duration(); t != 0 {
		return time.Unix(0, 0).Add(t)
	}
	return time.Time{}
}

func (d *decoder) time() time.Time {
	if ms := int64(d.uint64()); ms != never {
		return time.Unix(0, 0).Add(time.Duration(min(max(ms, -maxMillis), maxMillis)) * time.Millisecond)
	}
	return time.Time{}
}
