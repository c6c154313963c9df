package zone

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// Bounds of records. A set has to fit into one message over TCP,
// behind a question and a chain of aliases.
const (
	MaxRecords = 10_000
	MaxValue   = 4096 // characters
	MaxTTL     = 7 * 24 * time.Hour
	maxSet     = 48 << 10 // octets in a message
)

// A Record is a record of the administrator, as in a zone file.
type Record struct {
	// Name is relative to the Domain; "@" is the Domain itself. With a final dot
	// it is a full name, in the Domain. "*" as first label is a wildcard (RFC
	// 4592). For PTR, an address of Reverse, or its reverse name in full, too.
	Name string
	// Type is one of Types.
	Type string
	// Value is the data in presentation form (RFC 1035 §5.1), in one line.
	// Names without a final dot are relative to the Domain. For TXT, a value
	// without quotes is one text.
	Value string
	// TTL is in whole seconds, at most MaxTTL; 0 is StaticTTL.
	TTL time.Duration
}

// types are the supported types. NS is not, as the zone has no delegations; nor are those of
// DNSSEC.
var types = map[string]uint16{
	"A": dns.TypeA, "AAAA": dns.TypeAAAA, "CNAME": dns.TypeCNAME, "PTR": dns.TypePTR, "TXT": dns.TypeTXT,
	"SRV": dns.TypeSRV, "MX": dns.TypeMX, "CAA": dns.TypeCAA, "HTTPS": dns.TypeHTTPS, "SVCB": dns.TypeSVCB,
	"SSHFP": dns.TypeSSHFP, "TLSA": dns.TypeTLSA,
}

// Types returns the supported types, in order of their numbers.
func Types() []string {
	var names []string
	for name := range types {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(types[a]) - int(types[b]) })
	return names
}

// A Problem is an error in one of a Config's Records.
type Problem struct {
	Record int
	Field  string // name, type, value or ttl; "" is the whole record
	Why    string
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("record %d: %s", p.Record, p.Why)
	}
	return fmt.Sprintf("record %d: %s: %s", p.Record, p.Field, p.Why)
}

// A parsed record is one in wire form.
type parsed struct {
	owner []byte     // wire form, lower case
	addr  netip.Addr // in place of owner: of a reverse name
	typ   uint16
	ttl   uint32
	record
}

// parse parses a record of the zone of a domain, which is in wire form.
func parse(r Record, domain []byte) (p parsed, field string, err error) {
	typ, ok := types[r.Type]
	if !ok {
		return p, "type", fmt.Errorf("unsupported record type %q; supported: %s", r.Type, strings.Join(slices.Sorted(maps.Keys(types)), ", "))
	}
	p.typ, p.source = typ, FromRecord
	if p.addr = reverseOwner(r.Name, typ); !p.addr.IsValid() {
		if p.owner, err = owner(r.Name, domain); err != nil {
			return p, "name", err
		}
	}
	switch p.ttl = uint32(r.TTL / time.Second); {
	case r.TTL == 0:
		p.ttl = StaticTTL
	case r.TTL < 0 || r.TTL > MaxTTL || r.TTL%time.Second != 0:
		return p, "ttl", fmt.Errorf("%s is not a TTL: use whole seconds, 1s to %dh", r.TTL, MaxTTL/time.Hour)
	}
	if p.data, err = rdata(r.Value, typ, domain); err != nil {
		return p, "value", err
	}
	if p.target, ok = target(typ, p.data); !ok {
		return p, "value", notParsed(r.Value, typ, nil)
	}
	if off, inside := wire.Under(p.target, domain); inside && off > 0 { // the domain twice: a full name without its final dot
		if _, twice := wire.Under(append(slices.Clone(p.target[:off]), 0), domain); twice {
			return p, "value", fmt.Errorf("%q has the domain already: end it with a dot, or leave the domain out", r.Value)
		}
	}
	return p, "", nil
}

// name is the key of records of one name.
func (p *parsed) name() string {
	if p.addr.IsValid() {
		return p.addr.String()
	}
	return string(p.owner)
}

// key is the same for equal records; the case of names does not matter.
func (p *parsed) key() string {
	head := p.data[:len(p.data)-len(p.target)]
	return fmt.Sprintf("%s %d %s%s", p.name(), p.typ, head, p.target)
}

// reverseOwner parses the name of a PTR record of an address.
func reverseOwner(name string, typ uint16) netip.Addr {
	if typ != dns.TypePTR {
		return netip.Addr{}
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().WithZone("")
	}
	full, err := wire.Name(name)
	var rev reversed
	if err == nil && strings.HasSuffix(name, ".") && rev.parse(full) && rev.exact && rev.prefix.IsSingleIP() {
		return rev.prefix.Addr()
	}
	return netip.Addr{}
}

// owner reads the name of a record.
func owner(text string, domain []byte) ([]byte, error) {
	if domain == nil {
		return nil, errors.New("the network has no domain")
	}
	if text == "@" {
		return domain, nil
	}
	rest, wild := strings.CutPrefix(text, "*.")
	if text == "*" {
		rest, wild = "@", true
	}
	name := domain
	if rest != "@" || !wild {
		var err error
		if name, err = below(rest, domain); err != nil {
			return nil, err
		}
	}
	if wild {
		name = append([]byte{1, '*'}, name...)
	}
	if len(name) > wire.MaxName {
		return nil, fmt.Errorf("%q is too long in its domain: a name has at most 253 letters", text)
	}
	return name, nil
}

// below appends the domain to a relative name, and checks that a full one is in it.
func below(text string, domain []byte) ([]byte, error) {
	name, err := wire.Name(text)
	switch _, inside := wire.Under(name, domain); {
	case err != nil:
		return nil, err
	case text == "":
		return nil, errors.New("is missing; @ is the domain itself")
	case strings.HasSuffix(text, ".") && !inside:
		return nil, fmt.Errorf("%q is outside the network's domain %s", text, presentation(domain))
	case strings.HasSuffix(text, "."):
		return name, nil
	case inside:
		return nil, fmt.Errorf("%q has the domain already: end it with a dot, or leave the domain out", text)
	}
	return append(name[:len(name)-1:len(name)-1], domain...), nil
}

// rdata parses a value with the general codec, which supports all types and
// RFC 1035's escapes. It gets one line: a value cannot have a second record, nor a directive
// of zone files such as $GENERATE.
func rdata(value string, typ uint16, domain []byte) ([]byte, error) {
	if value == "" {
		return nil, errors.New("is missing")
	}
	if len(value) > MaxValue {
		return nil, fmt.Errorf("is %d characters long; at most %d are allowed", len(value), MaxValue)
	}
	if i := strings.IndexFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		return nil, fmt.Errorf("%q has a control character; write it as \\DDD, in quotes", value)
	}
	if typ == dns.TypeA || typ == dns.TypeAAAA {
		a, err := netip.ParseAddr(value)
		if err != nil || a.Zone() != "" || a.Is4() != (typ == dns.TypeA) || a.Is4In6() {
			return nil, notParsed(value, typ, nil)
		}
		return a.AsSlice(), nil
	}
	if typ == dns.TypeTXT && !strings.Contains(value, `"`) {
		// Character strings of at most 255 octets (RFC 1035 §3.3.14), which readers of SPF and
		// DKIM records join again (RFC 7208 §3.3).
		var b []byte
		for chunk := range slices.Chunk([]byte(value), 255) {
			b = append(append(b, byte(len(chunk))), chunk...)
		}
		return b, nil
	}
	if c, ok := layout(value); ok {
		return nil, fmt.Errorf("%q has a %q, which is for zone files of many lines; leave it out, or put it in quotes", value, c)
	}
	z := dns.NewZoneParser(strings.NewReader(". 60 IN "+dns.TypeToString[typ]+" "+value), presentation(domain), "")
	rr, ok := z.Next()
	if !ok {
		return nil, notParsed(value, typ, z.Err())
	}
	packed := make([]byte, dns.Len(rr))
	end, err := dns.PackRR(rr, packed, 0, nil, false)
	const fixed = 11 // the root as owner, type, class, TTL, length
	if err != nil || end <= fixed {
		return nil, notParsed(value, typ, err)
	}
	return slices.Clone(packed[fixed:end]), nil
}

// layout returns the first special character of RFC 1035 §5.1 that only zone files need:
// parentheses, and the semicolon before a comment.
func layout(value string) (mark byte, found bool) {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '(' || c == ')' || c == ';'):
			return c, true
		}
	}
	return 0, false
}

// shapes describe the values of types, for errors.
var shapes = map[uint16]string{
	dns.TypeA: "an IPv4 address, such as 10.20.0.10", dns.TypeAAAA: "an IPv6 address, such as fd00:20::10",
	dns.TypeCNAME: "a name, such as www or www.example.com.", dns.TypePTR: "a name, such as www or www.example.com.",
	dns.TypeTXT: `a text, or texts in quotes, such as "v=spf1 -all"`, dns.TypeSRV: "priority, weight, port and name, such as 0 5 389 dc1",
	dns.TypeMX: "preference and name, such as 10 mail", dns.TypeCAA: `flags, tag and value, such as 0 issue "ca.example"`,
	dns.TypeHTTPS: "priority, name and parameters, such as 1 . alpn=h2", dns.TypeSVCB: "priority, name and parameters, such as 1 . port=8443",
	dns.TypeSSHFP: "algorithm, kind and fingerprint, such as 4 2 0123ab…", dns.TypeTLSA: "usage, selector, kind and data, such as 3 1 1 0123ab…",
}

func notParsed(value string, typ uint16, err error) error {
	why := fmt.Errorf("%q is not %s", value, shapes[typ])
	var syntax *dns.ParseError
	if err != nil && !errors.As(err, &syntax) {
		return fmt.Errorf("%w: %w", why, err)
	}
	return why
}

// target returns the name at the end of rdata that additional records are looked up for;
// false if the type needs one and there is none.
func target(typ uint16, data []byte) (name []byte, ok bool) {
	off, leads := map[uint16]int{dns.TypeCNAME: 0, dns.TypePTR: 0, dns.TypeMX: 2, dns.TypeSRV: 6}[typ]
	if !leads {
		return nil, true
	}
	if _, end, err := dns.UnpackDomainName(data, off); err != nil || end != len(data) {
		return nil, false
	}
	name = slices.Clone(data[off:])
	for i, c := range name { // octets, not characters; length octets are below 64, and no letters
		if c-'A' < 26 {
			name[i] = c | 0x20
		}
	}
	return name, true
}

// presentation returns a name in presentation form, with a final dot.
func presentation(name []byte) string {
	text, _, err := dns.UnpackDomainName(name, 0)
	if err != nil {
		return "."
	}
	return text
}

// nameRecords are the records of a name so far.
type nameRecords struct {
	alias, other int            // index of one CNAME, and of one other record; -1 is none
	octets       map[uint16]int // in a message, by type
}

// records adds the valid records, and an error for each of the others.
func (b *builder) records(list []Record) {
	if len(list) > MaxRecords {
		b.wrong(MaxRecords, "", "is one too many: a network has at most %d", MaxRecords)
		return
	}
	b.names, b.indexes = map[string]*nameRecords{}, map[string]int{}
	index := make([]int, 0, len(list))
	for i, r := range list {
		p, field, err := parse(r, b.domain)
		if err != nil {
			b.wrong(i, field, "%s", err)
			continue
		}
		if field, why := b.conflict(i, &p); why != "" {
			b.wrong(i, field, "%s", why)
			continue
		}
		b.valid, index = append(b.valid, p), append(index, i)
		b.add(&p)
	}
	for i := range b.valid {
		b.checkChain(index[i], &b.valid[i])
	}
}

// conflict returns the reason why a record is not allowed beside those of its name, or at its
// name, or "".
func (b *builder) conflict(i int, p *parsed) (field, why string) {
	if j, known := b.indexes[p.key()]; known {
		return "", fmt.Sprintf("is a duplicate of records[%d]", j)
	}
	b.indexes[p.key()] = i
	h := b.names[p.name()]
	if h == nil {
		h = &nameRecords{alias: -1, other: -1, octets: map[uint16]int{}}
		b.names[p.name()] = h
	}
	beside := h.alias
	if p.typ == wire.TypeCNAME {
		beside, h.alias = max(h.alias, h.other), i
	} else {
		h.other = i
	}
	const fixed = 12 // a pointer to the owner, type, class, TTL, length
	h.octets[p.typ] += fixed + len(p.data)
	_, ours := covering(b.reverse, netip.PrefixFrom(p.addr, p.addr.BitLen()))
	switch {
	case beside >= 0:
		return "name", fmt.Sprintf("%s is in records[%d], too, and a CNAME must be the only record of its name (RFC 1034 section 3.6.2)", presentation(p.owner), beside)
	case h.octets[p.typ] > maxSet:
		return "value", fmt.Sprintf("makes the name's records of this type larger than %d KiB, the limit of one answer", maxSet>>10)
	case p.addr.IsValid() && !ours:
		return "name", fmt.Sprintf("%s is in none of the network's subnets", p.addr)
	case p.typ == wire.TypeCNAME && string(p.owner) == string(b.domain):
		return "name", "is the domain itself, which has SOA and NS records and cannot be an alias; give it addresses"
	}
	return "", ""
}

// add adds a record to its node.
func (b *builder) add(p *parsed) {
	if p.addr.IsValid() {
		s := b.ptr[p.addr]
		if s == nil {
			s = &rrset{typ: p.typ, ttl: p.ttl}
			b.ptr[p.addr] = s
		}
		s.ttl, s.records = min(s.ttl, p.ttl), append(s.records, p.record)
		return
	}
	apex, _ := wire.Under(p.owner, b.domain)
	b.node(p.owner, apex).put(p.typ, p.ttl, p.record)
	b.between(p.owner, apex)
	b.wild = b.wild || p.owner[1] == '*'
	switch p.typ {
	case wire.TypeA, wire.TypeAAAA, wire.TypeCNAME:
		b.claimed[string(p.owner)] = true
	}
}

// checkChain adds an error for an alias in a loop, or of too long a chain.
// Live names, which are not known here, can only end a chain.
func (b *builder) checkChain(i int, p *parsed) {
	if p.typ != wire.TypeCNAME {
		return
	}
	static := b.Zone
	static.live = nil
	chain := []string{presentation(p.owner)}
	for next := p.target; ; {
		chain = append(chain, presentation(next))
		m := static.lookup(next, wire.TypeA)
		alias := m.alias(wire.TypeA)
		switch {
		case alias == nil:
			return
		case slices.Contains(chain[:len(chain)-1], chain[len(chain)-1]):
			b.wrong(i, "value", "CNAME loop: %s", strings.Join(chain, " → "))
			return
		case len(chain) > maxChain:
			b.wrong(i, "value", "CNAME chain of more than %d names: %s", maxChain, strings.Join(chain, " → "))
			return
		}
		next = alias.records[0].target
	}
}

func (b *builder) wrong(i int, field, format string, args ...any) {
	b.errs = append(b.errs, &Problem{i, field, fmt.Sprintf(format, args...)})
}
