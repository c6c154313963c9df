package zone

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// TTLs in seconds.
const (
	StaticTTL   = 60
	LiveTTL     = 10
	NegativeTTL = 10
)

// Names are the names that come and go, as leases do. Both methods are called
// for every query, by many goroutines at once: they must not block.
type Names interface {
	// Addrs returns the addresses of a guest, or none. The name is one label in
	// small letters. It is valid only during the call and must not be kept; the
	// result is only read.
	Addrs(name string) []netip.Addr

	// Name returns the name, one label, of the guest that holds addr.
	Name(addr netip.Addr) (string, bool)
}

// A Host is a static name. Name is one or more labels under the network's
// domain ("web"), or a full name with a trailing dot ("www.example.com.").
type Host struct {
	Name  string
	Addrs []netip.Addr
}

// Config says what a Zone owns. All parts are optional.
type Config struct {
	Domain    string
	HostNames []string     // of the host itself; the first is in SOA, NS and PTR
	HostAddrs []netip.Addr // of the host itself
	Hosts     []Host
	Reverse   []netip.Prefix
	Names     Names
	Recursive bool // others' names are answered too: sets RA
	Shared    bool // the rest of Domain is somebody else's: names that are not here are not answered
}

// A Zone answers for the names of one network. It is immutable but for its
// Names, and safe for many goroutines.
type Zone struct {
	domain  []byte // wire form; nil without a domain
	nodes   map[string]*node
	ptr     map[netip.Addr][]byte
	reverse []netip.Prefix
	live    Names
	server  []byte // name of the host: target of NS
	soa     []byte // rdata
	flags   uint16 // of every reply
	shared  bool
}

// A node is a name that exists.
type node struct {
	addrs []netip.Addr
	ttl   uint32
	apex  int  // where in the name the zone begins, for the SOA's owner
	top   bool // this is the zone's apex: has SOA and NS
}

// New builds a zone. The error names every bad name.
func New(cfg Config) (*Zone, error) {
	b := builder{
		Zone: Zone{
			nodes: map[string]*node{}, ptr: map[netip.Addr][]byte{},
			reverse: cfg.Reverse, live: cfg.Names, flags: wire.FlagAA, shared: cfg.Shared,
		},
	}
	if cfg.Recursive {
		b.flags |= wire.FlagRA
	}
	b.apex(cfg)
	for _, name := range cfg.HostNames {
		b.host(name, cfg.HostAddrs)
	}
	for _, h := range cfg.Hosts {
		b.host(h.Name, h.Addrs)
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, err
	}
	return &b.Zone, nil
}

// Answer appends the reply to q, if the zone owns its name, and reports whether
// it does. q must be of class IN.
func (z *Zone) Answer(buf []byte, q *wire.Query) ([]byte, bool) {
	name := q.Lower()
	if n := z.nodes[string(name)]; n != nil && (!z.shared || len(n.addrs) > 0) {
		return z.node(buf, q, n), true
	}
	if name[0] == 0 {
		return buf, false
	}
	if name[1+name[0]] == 0 {
		return z.bare(buf, q)
	}
	if off, ok := wire.Under(name, z.domain); ok {
		return z.below(buf, q, off)
	}
	return z.backward(buf, q)
}

// node answers for a name that exists.
func (z *Zone) node(buf []byte, q *wire.Query, n *node) []byte {
	r := wire.Begin(buf, q, wire.Success, z.flags)
	switch {
	case q.Type == wire.TypeANY:
		r.Answer(0, wire.TypeHINFO, n.ttl, minimal)
		return r.End()
	case n.top && q.Type == wire.TypeSOA:
		r.Answer(0, wire.TypeSOA, NegativeTTL, z.soa)
		return r.End()
	case n.top && q.Type == wire.TypeNS:
		r.Answer(0, wire.TypeNS, StaticTTL, z.server)
		return r.End()
	}
	if !addresses(&r, q.Type, n.addrs, n.ttl) {
		r.Authority(n.apex, wire.TypeSOA, NegativeTTL, z.soa)
	}
	return r.End()
}

// bare answers for a name of one label that is not static.
func (z *Zone) bare(buf []byte, q *wire.Query) ([]byte, bool) {
	if addrs := z.lookup(q.Lower()); len(addrs) > 0 {
		return z.node(buf, q, &node{addrs: addrs, ttl: LiveTTL}), true
	}
	if out, ok := Special(buf, q); ok {
		return out, true
	}
	switch q.Type {
	case wire.TypeNS, wire.TypeSOA, wire.TypeDS, wire.TypeDNSKEY:
		return buf, false
	}
	// No SOA: its owner would have to be the root, which is not ours to speak for.
	r := wire.Begin(buf, q, wire.NameError, z.flags)
	return r.End(), true
}

// below answers for a name under the domain that is not static; the domain
// begins at off.
func (z *Zone) below(buf []byte, q *wire.Query, off int) ([]byte, bool) {
	name := q.Lower()
	if 1+int(name[0]) == off {
		if addrs := z.lookup(name); len(addrs) > 0 {
			return z.node(buf, q, &node{addrs: addrs, ttl: LiveTTL, apex: off}), true
		}
	}
	if z.shared {
		return buf, false
	}
	r := wire.Begin(buf, q, wire.NameError, z.flags)
	r.Authority(off, wire.TypeSOA, NegativeTTL, z.soa)
	return r.End(), true
}

// lookup asks for the live addresses of name's first label. The string that is
// handed out lies in the query itself, so that the hot path does not allocate:
// hence the warning at Names.
func (z *Zone) lookup(name []byte) []netip.Addr {
	label := name[1 : 1+name[0]]
	if z.live == nil || !wire.HostLabel(label) {
		return nil
	}
	switch string(label) {
	case "wpad", "isatap", "localhost":
		return nil
	}
	return z.live.Addrs(unsafe.String(&label[0], len(label)))
}

// addresses adds those of the asked type, and reports whether there were any.
func addresses(r *wire.Reply, typ uint16, addrs []netip.Addr, ttl uint32) bool {
	found := false
	for _, a := range addrs {
		switch {
		case typ == wire.TypeA && a.Is4():
			v4 := a.As4()
			r.Answer(0, typ, ttl, v4[:])
			found = true
		case typ == wire.TypeAAAA && a.Is6() && !a.Is4In6():
			v6 := a.As16()
			r.Answer(0, typ, ttl, v6[:])
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

// A builder collects errors while it fills a Zone.
type builder struct {
	Zone
	errs []error
}

func (b *builder) apex(cfg Config) {
	if cfg.Domain == "" {
		b.soa = soa([]byte("\x09localhost\x00"), []byte{0})
		return
	}
	domain, err := wire.Name(cfg.Domain)
	if err == nil && len(domain) == 1 {
		err = fmt.Errorf("name %q: the root cannot be a network's domain", cfg.Domain)
	}
	if err != nil {
		b.errs = append(b.errs, fmt.Errorf("domain: %w", err))
		return
	}
	b.domain, b.server = domain, domain
	b.nodes[string(domain)] = &node{ttl: StaticTTL, top: true}
	if len(cfg.HostNames) > 0 {
		if server, err := wire.Name(cfg.HostNames[0] + "." + cfg.Domain); err == nil {
			b.server = server
		}
	} else { // the apex is then the only name that the host has
		b.nodes[string(domain)].addrs = cfg.HostAddrs
	}
	b.soa = soa(b.server, domain)
}

// host adds a static name with and without the domain. The first to take a
// name or an address keeps it; more addresses of one name add up.
func (b *builder) host(text string, addrs []netip.Addr) {
	name, err := wire.Name(text)
	if err != nil || len(name) == 1 {
		b.errs = append(b.errs, errors.Join(fmt.Errorf("host name %q cannot be served", text), err))
		return
	}
	full := b.qualify(text, name)
	if len(full) > wire.MaxName {
		b.errs = append(b.errs, fmt.Errorf("host name %q is too long under the domain", text))
		return
	}
	apex, inside := wire.Under(full, b.domain)
	if !inside {
		apex = 0
	}
	b.add(full, apex, addrs)
	b.between(full, apex)
	if first := 1 + int(full[0]); inside && apex == first {
		b.add(append(full[:first:first], 0), 0, addrs)
	}
	for _, a := range addrs {
		if _, taken := b.ptr[a]; !taken {
			b.ptr[a] = full
		}
	}
}

// qualify puts the domain behind a relative name.
func (b *builder) qualify(text string, name []byte) []byte {
	if _, inside := wire.Under(name, b.domain); inside || b.domain == nil || text[len(text)-1] == '.' {
		return name
	}
	return append(name[:len(name)-1:len(name)-1], b.domain...)
}

func (b *builder) add(name []byte, apex int, addrs []netip.Addr) {
	n := b.nodes[string(name)]
	if n == nil {
		n = &node{ttl: StaticTTL, apex: apex}
		b.nodes[string(name)] = n
	}
	n.addrs = append(n.addrs[:len(n.addrs):len(n.addrs)], addrs...)
}

// between adds the names between full and the domain, which begins at apex.
// They exist although they have no records: NODATA, not NXDOMAIN (RFC 8020).
func (b *builder) between(full []byte, apex int) {
	for off := 1 + int(full[0]); off < apex; off += 1 + int(full[off]) {
		b.add(full[off:], apex-off, nil)
	}
}

// soa returns the rdata of a SOA record. Nobody transfers the zone, so serial
// and timers say nothing, but for the last: the TTL of negative answers.
func soa(server, domain []byte) []byte {
	b := append([]byte(nil), server...)
	if len(domain)+11 <= wire.MaxName {
		b = append(b, "\x0ahostmaster"...)
	}
	b = append(b, domain...)
	return append(b, 0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 2, 88, 0, 1, 81, 128, 0, 0, 0, NegativeTTL)
}
