package zone

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// New builds a zone. The error is about the domain and records, with a *Problem for
// each invalid record. Invalid names of hosts, and invalid names and records of peers, are
// left out: see LeftOut.
func New(cfg Config) (*Zone, error) {
	flags := wire.FlagAA
	if cfg.Recursive {
		flags |= wire.FlagRA
	}
	z, errs := build(cfg, flags)
	for _, p := range cfg.Peers {
		peer, more := build(p, flags)
		z.peers, z.leftOut = append(z.peers, peer), append(append(z.leftOut, peer.leftOut...), more...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, zone := range append([]*Zone{z}, z.peers...) {
		for _, n := range zone.nodes {
			s := set(n.sets, wire.TypeCNAME)
			z.external = z.external || s != nil && z.find(s.records[0].target, wire.TypeA).result == notAuthoritative
		}
	}
	return z, nil
}

// LeftOut returns the errors about host names and peers.
func (z *Zone) LeftOut() []error { return z.leftOut }

// Check returns the errors in the records of cfg.
func Check(cfg Config) []*Problem {
	cfg.Peers = nil
	_, errs := build(cfg, 0)
	var out []*Problem
	for _, err := range errs {
		var p *Problem
		if errors.As(err, &p) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b *Problem) int { return a.Record - b.Record })
	return out
}

func build(cfg Config, flags uint16) (*Zone, []error) {
	b := builder{
		Zone: Zone{
			nodes: map[string]*node{}, ptr: map[netip.Addr]*rrset{},
			reverse: cfg.Reverse, live: cfg.Names, flags: flags, shared: cfg.Shared,
		},
		claimed: map[string]bool{},
	}
	b.apex(cfg)
	b.records(cfg.Records)
	for _, name := range cfg.HostNames {
		b.host(name, cfg.HostAddrs, FromHost)
	}
	for _, h := range cfg.Hosts {
		b.host(h.Name, h.Addrs, FromHosts)
	}
	b.pointers()
	b.addSingleLabels()
	z := b.Zone // without the builder's state
	return &z, b.errs
}

// A builder collects errors while it fills a Zone.
type builder struct {
	Zone
	errs    []error
	valid   []parsed                // records, in their order
	names   map[string]*nameRecords // by parsed.name
	indexes map[string]int          // of records, by parsed.key
	claimed map[string]bool         // names with A, AAAA or CNAME records
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
	b.nodes[string(domain)] = &node{top: true}
	if len(cfg.HostNames) > 0 {
		for _, name := range slices.Backward(cfg.HostNames) { // the first that can be served
			if server, err := wire.Name(name + "." + cfg.Domain); err == nil {
				b.server = server
			}
		}
	} else { // the apex is then the only name of the host
		b.addHost(domain, 0, cfg.HostAddrs, FromHost)
	}
	b.soa = soa(b.server, domain)
}

// host adds a static name. The first one of an address gets the PTR record; addresses of one
// name add up. Names with addresses from records are skipped.
func (b *builder) host(text string, addrs []netip.Addr, source Source) {
	name, err := wire.Name(text)
	if err != nil || len(name) == 1 {
		b.leftOut = append(b.leftOut, fmt.Errorf("host name %q is not a valid DNS name", text))
		return
	}
	full := name
	if _, inside := wire.Under(name, b.domain); !inside && b.domain != nil && text[len(text)-1] != '.' {
		full = append(name[:len(name)-1:len(name)-1], b.domain...)
	}
	if len(full) > wire.MaxName {
		b.leftOut = append(b.leftOut, fmt.Errorf("host name %q is too long in domain %s", text, presentation(b.domain)))
		return
	}
	if b.claimed[string(full)] {
		return
	}
	apex, inside := wire.Under(full, b.domain)
	if !inside {
		apex = 0
	}
	b.addHost(full, apex, addrs, source)
	b.between(full, apex)
	for _, a := range addrs {
		b.pointer(a, full, StaticTTL, source)
	}
}

// node returns the node of a name, and makes it if there is none.
func (b *builder) node(name []byte, apex int) *node {
	n := b.nodes[string(name)]
	if n == nil {
		n = &node{apex: apex}
		b.nodes[string(name)] = n
	}
	return n
}

func (b *builder) addHost(name []byte, apex int, addrs []netip.Addr, source Source) {
	n := b.node(name, apex)
	for _, a := range addrs {
		typ := wire.TypeA
		if a = a.Unmap(); a.Is6() {
			typ = wire.TypeAAAA
		}
		n.put(typ, StaticTTL, record{data: a.AsSlice(), source: source})
	}
}

// put adds a record to a node. The shortest TTL of a set is that of all (RFC
// 2181 §5.2).
func (n *node) put(typ uint16, ttl uint32, rec record) {
	s := set(n.sets, typ)
	if s == nil {
		n.sets = append(n.sets, rrset{typ: typ, ttl: ttl})
		s = &n.sets[len(n.sets)-1]
	}
	s.ttl, s.records = min(s.ttl, ttl), append(s.records, rec)
}

// between adds the empty non-terminals between full and the domain, which begins at apex:
// NODATA, not NXDOMAIN (RFC 8020).
func (b *builder) between(full []byte, apex int) {
	for off := 1 + int(full[0]); off < apex; off += 1 + int(full[off]) {
		b.node(full[off:], apex-off)
	}
}

// pointer adds the PTR record of an address, unless it has one.
func (b *builder) pointer(a netip.Addr, name []byte, ttl uint32, source Source) {
	if b.ptr[a] == nil {
		b.ptr[a] = &rrset{wire.TypePTR, ttl, []record{{name, name, source}}}
	}
}

// pointers adds PTR records for A and AAAA records, after those of hosts.
func (b *builder) pointers() {
	for i := range b.valid {
		p := &b.valid[i]
		if p.typ != wire.TypeA && p.typ != wire.TypeAAAA || p.owner[1] == '*' {
			continue
		}
		a, _ := netip.AddrFromSlice(p.data)
		if _, ours := covering(b.reverse, netip.PrefixFrom(a, a.BitLen())); ours {
			b.pointer(a, p.owner, p.ttl, FromRecord)
		}
	}
}

// addSingleLabels adds names right under the domain without it, except special-use names.
func (b *builder) addSingleLabels() {
	for key, n := range maps.Clone(b.nodes) {
		label := key[1 : 1+key[0]]
		if n.top || n.apex != 1+len(label) || len(n.sets) == 0 || slices.Contains([]string{"*", "localhost", "invalid", "onion", "alt", "arpa"}, label) {
			continue
		}
		if single := key[:n.apex] + "\x00"; b.nodes[single] == nil {
			b.nodes[single] = &node{sets: n.sets}
		}
	}
}

// soa returns the rdata of a SOA record. There are no zone transfers, so serial
// and timers have no meaning, except the last: the TTL of negative answers.
func soa(server, domain []byte) []byte {
	b := append([]byte(nil), server...)
	if len(domain)+11 <= wire.MaxName {
		b = append(b, "\x0ahostmaster"...)
	}
	b = append(b, domain...)
	return append(b, 0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 2, 88, 0, 1, 81, 128, 0, 0, 0, NegativeTTL)
}
