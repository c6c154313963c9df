package option

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// An Option is a number and a value in wire format, without code and
// length. A nil Value: the option is not sent, whatever has lower precedence.
type Option struct {
	Code  uint16
	Value []byte
}

// A List is options of equal precedence. Of two with the
// same code the first counts. The methods that add a value add nothing if it is empty.
type List []Option

// Bytes adds octets as they are.
func (l *List) Bytes(code uint16, value []byte) {
	if len(value) > 0 {
		*l = append(*l, Option{code, value})
	}
}

// Omit adds that an option is not sent.
func (l *List) Omit(code uint16) { *l = append(*l, Option{Code: code}) }

// Text adds characters, without a NUL behind them (RFC 2132 §2).
func (l *List) Text(code uint16, s string) {
	l.Bytes(code, []byte(s))
}

// Addrs adds addresses, one behind the other.
func (l *List) Addrs(code uint16, addrs []netip.Addr) {
	var value []byte
	for _, a := range addrs {
		value = append(value, a.AsSlice()...)
	}
	l.Bytes(code, value)
}

// Names adds domains in the DNS's format, uncompressed (RFC 1035 §3.1): DHCPv6
// requires it (RFC 8415 §10), and RFC 3397 §2 allows it. Invalid domains are left
// out.
func (l *List) Names(code uint16, domains []string) {
	var value []byte
	for _, d := range domains {
		value, _ = AppendName(value, d)
	}
	l.Bytes(code, value)
}

// Uint16 adds a number of two octets, if it is not 0.
func (l *List) Uint16(code uint16, v int) {
	if v != 0 {
		l.Bytes(code, binary.BigEndian.AppendUint16(nil, uint16(v)))
	}
}

// Seconds adds a time of four octets, if it is not 0.
func (l *List) Seconds(code uint16, d time.Duration) {
	if d != 0 {
		l.Bytes(code, binary.BigEndian.AppendUint32(nil, uint32(d/time.Second)))
	}
}

// AppendName adds a domain in the DNS's format (RFC 1035 §3.1), and reports whether
// it is valid.
func AppendName(b []byte, domain string) ([]byte, bool) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" || len(domain) > 253 {
		return b, false
	}
	start := len(b)
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 {
			return b[:start], false
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0), true
}

// Merge returns the options of several lists, in the order of their precedence: the first of
// each code, unless that is not to be sent; sorted by code.
func Merge(lists ...List) List {
	seen := map[uint16]bool{}
	var all List
	for _, l := range lists {
		for _, o := range l {
			if !seen[o.Code] && o.Value != nil {
				all = append(all, o)
			}
			seen[o.Code] = true
		}
	}
	slices.SortFunc(all, func(a, b Option) int { return cmp.Compare(a.Code, b.Code) })
	return all
}
