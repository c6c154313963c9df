package zone

import (
	"net/netip"
	"slices"
	"unsafe"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// TTLs in seconds.
const (
	StaticTTL   = 60
	LiveTTL     = 10
	NegativeTTL = 10
)

// maxChain is how many aliases are resolved for one query. Longer chains of
// records are an error; one across several networks ends there.
const maxChain = 8

// Names are dynamic names, such as those of leases. Both methods are called
// for every query, by many goroutines at once: they must not block.
type Names interface {
	// Addrs returns the addresses of a guest, or none. The name is one label in
	// lower case. It is valid only during the call and must not be kept; the
	// result is not modified.
	Addrs(name string) []netip.Addr

	// Name returns the name, one label, of the guest that has addr.
	Name(addr netip.Addr) (string, bool)
}

// A Host is a static name. Name is one or more labels under the network's
// domain ("web"), or a full name with a trailing dot ("www.example.com.").
type Host struct {
	Name  string
	Addrs []netip.Addr
}

// Config is the contents of a Zone. All fields are optional.
type Config struct {
	Domain    string
	HostNames []string     // of the host itself; the first is in SOA, NS and PTR
	HostAddrs []netip.Addr // of the host itself
	Hosts     []Host
	Records   []Record
	Reverse   []netip.Prefix
	Names     Names
	Peers     []Config // their names are answered, too; their Peers and Recursive are ignored
	Recursive bool     // external names are answered too: sets RA
	Shared    bool     // another server has the rest of Domain: names that are not here are not answered
}

// A Zone answers for the names of one network. It is immutable but for its
// Names, and safe for many goroutines.
type Zone struct {
	domain   []byte // wire form; nil without a domain
	nodes    map[string]*node
	ptr      map[netip.Addr]*rrset
	reverse  []netip.Prefix
	live     Names
	server   []byte // name of the host: target of NS
	soa      []byte // rdata
	flags    uint16 // of every reply
	shared   bool
	empty    bool // has no names but those with SOA and NS
	wild     bool // has wildcards
	external bool // has aliases of external names
	peers    []*Zone
	leftOut  []error
}

// A node is a name that exists. One without sets has only names below it.
type node struct {
	sets []rrset
	apex int  // where in the name the zone begins, for the SOA's owner
	top  bool // this is the zone's apex: has SOA and NS
}

// An rrset is the records of one name and type.
type rrset struct {
	typ     uint16
	ttl     uint32
	records []record
}

// A record is the data of a record.
type record struct {
	data   []byte // wire form, without compression
	target []byte // the name in the data, in lower case: of CNAME, PTR, MX, SRV
	source Source
}

func set(sets []rrset, typ uint16) *rrset {
	for i := range sets {
		if sets[i].typ == typ {
			return &sets[i]
		}
	}
	return nil
}

// Answer appends the reply to q, if the zone is authoritative for its name, and reports
// whether it is. q must be of class IN. A chain of aliases that leaves the zone is
// answered up to there; see CNAMETarget.
func (z *Zone) Answer(buf []byte, q *wire.Query) ([]byte, bool) {
	name := q.Lower()
	m := z.find(name, q.Type)
	switch {
	case m.result != notAuthoritative:
		return z.reply(buf, q, m), true
	case name[0] == 0:
		return buf, false
	case name[1+name[0]] == 0:
		return z.singleLabel(buf, q)
	}
	return z.answerReverse(buf, q)
}

// Owns reports whether the zone answers for a name, in wire form and lower case.
func (z *Zone) Owns(name []byte, typ uint16) bool {
	switch {
	case z.find(name, typ).result != notAuthoritative:
		return true
	case name[0] == 0 || ofTopLevel(typ):
		return false
	case name[1+name[0]] == 0: // one label
		return true
	}
	var rev reversed
	if !rev.parse(name) {
		return false
	}
	_, ours := covering(z.reverse, rev.prefix)
	return ours || slices.ContainsFunc(z.peers, func(p *Zone) bool { _, ours := covering(p.reverse, rev.prefix); return ours })
}

// Shares reports whether a name, in wire form and lower case, is in a shared domain.
func (z *Zone) Shares(name []byte) bool {
	if _, inside := wire.Under(name, z.domain); inside && z.shared {
		return true
	}
	return slices.ContainsFunc(z.peers, func(p *Zone) bool { return p.Shares(name) })
}

// CNAMETarget returns the external name at the end of the aliases of q's name, in wire form
// and lower case, or nil. It must not be modified.
func (z *Zone) CNAMETarget(q *wire.Query) []byte {
	if !z.external {
		return nil
	}
	m := z.find(q.Lower(), q.Type)
	for range maxChain {
		alias := m.alias(q.Type)
		if alias == nil {
			return nil
		}
		next := alias.records[0].target
		if m = z.find(next, q.Type); m.result == notAuthoritative {
			return next
		}
	}
	return nil
}

// reply answers for a name of the zone, along its aliases.
func (z *Zone) reply(buf []byte, q *wire.Query, m match) []byte {
	r := wire.Begin(buf, q, wire.Success, z.flags)
	owner := 0
	for range maxChain {
		alias := m.alias(q.Type)
		if alias == nil {
			break
		}
		owner = r.Answer(owner, wire.TypeCNAME, alias.ttl, alias.records[0].data)
		m = z.find(alias.records[0].target, q.Type)
	}
	if m.result != notAuthoritative && m.alias(q.Type) == nil {
		z.end(&r, q, m, owner)
	}
	return r.End()
}

// end answers for the name at the end of a chain of aliases.
func (z *Zone) end(r *wire.Reply, q *wire.Query, m match, owner int) {
	rrs := set(m.sets, q.Type)
	switch {
	case m.result == nxDomain:
		r.Code(wire.NameError)
	case q.Type == wire.TypeANY:
		ttl := uint32(StaticTTL)
		if m.addrs != nil {
			ttl = LiveTTL
		}
		r.Answer(owner, wire.TypeHINFO, ttl, minimal)
		return
	case rrs != nil:
		z.answers(r, q, rrs, owner)
		return
	case m.top && q.Type == wire.TypeSOA:
		r.Answer(owner, wire.TypeSOA, NegativeTTL, m.zone.soa)
		return
	case m.top && q.Type == wire.TypeNS:
		r.Answer(owner, wire.TypeNS, StaticTTL, m.zone.server)
		return
	case addresses(r, owner, q.Type, m.addrs):
		return
	}
	r.Authority(owner+m.apex, wire.TypeSOA, NegativeTTL, m.zone.soa)
}

// answers adds all records of a set. Several addresses are rotated
// by the query's id, without state.
func (z *Zone) answers(r *wire.Reply, q *wire.Query, s *rrset, owner int) {
	first, n := 0, len(s.records)
	if n > 1 && (s.typ == wire.TypeA || s.typ == wire.TypeAAAA) {
		first = int(q.ID) % n
	}
	var at [maxAdditional]int
	for i := range n {
		where := r.Answer(owner, s.typ, s.ttl, s.records[(first+i)%n].data)
		if i < len(at) {
			at[i] = where
		}
	}
	if s.typ == wire.TypeSRV || s.typ == wire.TypeMX {
		for i := range min(n, len(at)) {
			z.additional(r, &s.records[i], at[i])
		}
	}
}

// maxAdditional is for how many servers of an SRV or MX set the addresses are told.
const maxAdditional = 16

// additional adds the addresses of a server (RFC 2782, RFC 1035 §3.3.9).
func (z *Zone) additional(r *wire.Reply, rec *record, at int) {
	m := z.find(rec.target, wire.TypeA)
	at += len(rec.data) - len(rec.target)
	for i := range m.sets {
		if s := &m.sets[i]; s.typ == wire.TypeA || s.typ == wire.TypeAAAA {
			for _, a := range s.records {
				r.Additional(at, s.typ, s.ttl, a.data)
			}
		}
	}
	for _, a := range m.addrs {
		if a.Is4() {
			v4 := a.As4()
			r.Additional(at, wire.TypeA, LiveTTL, v4[:])
		} else {
			v6 := a.As16()
			r.Additional(at, wire.TypeAAAA, LiveTTL, v6[:])
		}
	}
}

// singleLabel answers for a name of one label that the zone does not have.
func (z *Zone) singleLabel(buf []byte, q *wire.Query) ([]byte, bool) {
	if ofTopLevel(q.Type) {
		return buf, false
	}
	if out, ok := Special(buf, q); ok {
		return out, true
	}
	// The SOA is that of an empty zone of this name: the root's would deny all names.
	r := wire.Begin(buf, q, wire.NameError, z.flags)
	r.Authority(0, wire.TypeSOA, NegativeTTL, specialZone.soa)
	return r.End(), true
}

// ofTopLevel reports whether a validating resolver needs a type of top-level
// domains: single-label names of guests must not hide it.
func ofTopLevel(typ uint16) bool {
	switch typ {
	case wire.TypeNS, wire.TypeSOA, wire.TypeDS, wire.TypeDNSKEY:
		return true
	}
	return false
}

// liveAddrs returns the live addresses of name's first label. The string is
// in the query itself, so that the hot path does not allocate.
func (z *Zone) liveAddrs(name []byte) []netip.Addr {
	label := name[1 : 1+name[0]]
	if z.live == nil || !wire.HostLabel(label) || reservedForGuests(unsafe.String(&label[0], len(label))) {
		return nil
	}
	return z.live.Addrs(unsafe.String(&label[0], len(label)))
}

// reservedForGuests reports whether no guest may have a name, as others trust it (CERT
// VU#598349, and RFC 6761 §6.3).
func reservedForGuests(label string) bool {
	switch label {
	case "wpad", "isatap", "localhost":
		return true
	}
	return false
}

// addresses adds those of the asked type, and reports whether there were any.
func addresses(r *wire.Reply, owner int, typ uint16, addrs []netip.Addr) bool {
	found := false
	for _, a := range addrs {
		switch {
		case typ == wire.TypeA && a.Is4():
			v4 := a.As4()
			r.Answer(owner, typ, LiveTTL, v4[:])
			found = true
		case typ == wire.TypeAAAA && a.Is6() && !a.Is4In6():
			v6 := a.As16()
			r.Answer(owner, typ, LiveTTL, v6[:])
			found = true
		}
	}
	return found
}

// minimal is the HINFO record that RFC 8482 §4.2 gives for type ANY.
var minimal = []byte("\x07RFC8482\x00")

// Any appends the minimal answer to a query of type ANY for a name that is not
// the zone's: the question invites amplification and is never forwarded.
func Any(buf []byte, q *wire.Query) []byte {
	r := wire.Begin(buf, q, wire.Success, wire.FlagRA)
	r.Answer(0, wire.TypeHINFO, StaticTTL, minimal)
	return r.End()
}
