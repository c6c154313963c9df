package zone

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// A Source is the origin of a record.
type Source uint8

// The sources: Config's HostNames, Hosts, Records and Names.
const (
	FromHost Source = iota
	FromHosts
	FromRecord
	FromNames
)

// A Listed is a record in presentation form.
type Listed struct {
	Name  string // in full
	Type  string
	Value string // as in a zone file, names in full
	TTL   uint32 // seconds
	From  Source
}

// List returns the records that the zone answers with, without those of its
// peers and without SOA and NS, sorted by name. Of the live names in names those are listed
// that the zone answers for.
func (z *Zone) List(names iter.Seq[string]) []Listed {
	var out []Listed
	for key, n := range z.nodes {
		if _, inside := wire.Under([]byte(key), z.domain); !inside && key[1+key[0]] == 0 && z.domain != nil {
			continue // a single label, listed with its domain
		}
		for i := range n.sets {
			out = appendSet(out, []byte(key), &n.sets[i])
		}
	}
	for a, s := range z.ptr {
		if _, ours := covering(z.reverse, netip.PrefixFrom(a, a.BitLen())); ours {
			out = appendSet(out, reverseName(a), s)
		}
	}
	for name := range names {
		out = z.appendLive(out, name)
	}
	slices.SortFunc(out, func(a, b Listed) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type), strings.Compare(a.Value, b.Value))
	})
	return out
}

// appendLive appends the records of a live name.
func (z *Zone) appendLive(out []Listed, name string) []Listed {
	if !wire.HostLabel(name) {
		return out
	}
	full := z.appendName(nil, name)
	m := z.lookup(full, wire.TypeA)
	for _, a := range m.addrs {
		typ := wire.TypeA
		if a.Is6() {
			typ = wire.TypeAAAA
		}
		out = appendSet(out, full, &rrset{typ, LiveTTL, []record{{a.AsSlice(), nil, FromNames}}})
		if _, ours := covering(z.reverse, netip.PrefixFrom(a, a.BitLen())); ours && z.ptr[a] == nil {
			out = appendSet(out, reverseName(a), &rrset{wire.TypePTR, LiveTTL, []record{{full, full, FromNames}}})
		}
	}
	return out
}

func appendSet(out []Listed, name []byte, s *rrset) []Listed {
	for _, rec := range s.records {
		out = append(out, Listed{presentation(name), dns.TypeToString[s.typ], value(s.typ, rec.data), s.ttl, rec.source})
	}
	return out
}

// value returns rdata in presentation form.
func value(typ uint16, data []byte) string {
	b := []byte{0}
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
	b = append(b, 0, 0, 0, 0)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	rr, _, err := dns.UnpackRR(b, 0)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

func reverseName(a netip.Addr) []byte {
	text, _ := dns.ReverseAddr(a.String())
	name, _ := wire.Name(text)
	return name
}

// Fits reports whether r has pattern's name, and its type and value
// where they are set. Invalid names fit nothing.
func Fits(domain string, r, pattern Record) bool {
	wired, err := wire.Name(domain)
	if err != nil || pattern.Type != "" && r.Type != pattern.Type {
		return false
	}
	like := r
	like.Name = pattern.Name
	if pattern.Value != "" {
		like.Value = pattern.Value
	}
	a, _, errA := parse(r, wired)
	b, _, errB := parse(like, wired)
	return errA == nil && errB == nil && a.key() == b.key()
}
