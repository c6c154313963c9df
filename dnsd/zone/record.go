package zone

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// Bounds of what records may be. A set has to fit into one message over TCP,
// behind a question and a chain of aliases.
const (
	MaxRecords = 10_000
	MaxValue   = 4096 // characters
	MaxTTL     = 7 * 24 * time.Hour
	maxSet     = 48 << 10 // octets in a message
)

// A Record is one of a zone's own records, as a zone file has it.
type Record struct {
	// Name is relative to the Domain; "@" is the Domain itself. With a final dot
	// it is a full name, in the Domain. "*" as first label is a wildcard (RFC
	// 4592). For PTR, an address of Reverse, or its reverse name in full, too.
	Name string
	// Type is one of Types.
	Type string
	// Value is what a zone file has behind the type (RFC 1035 §5.1), in one line.
	// Names without a final dot are relative to the Domain. For TXT, a value
	// without quotes is the text as it stands.
	Value string
	// TTL is in whole seconds, at most MaxTTL; 0 is StaticTTL.
	TTL time.Duration
}

// types are those whose records may be given. NS is not among them: the zone
// delegates nothing. Nor are those that DNSSEC signs with.
var types = map[string]uint16{
	"A": dns.TypeA, "AAAA": dns.TypeAAAA, "CNAME": dns.TypeCNAME, "PTR": dns.TypePTR, "TXT": dns.TypeTXT,
	"SRV": dns.TypeSRV, "MX": dns.TypeMX, "CAA": dns.TypeCAA, "HTTPS": dns.TypeHTTPS, "SVCB": dns.TypeSVCB,
	"SSHFP": dns.TypeSSHFP, "TLSA": dns.TypeTLSA,
}

// Types returns the types that records may have, in order of their numbers.
func Types() []string {
	var names []string
	for name := range types {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(types[a]) - int(types[b]) })
	return names
}

// A Problem is what is wrong with one of a Config's Records.
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

// A parsed record is one that can be served.
type parsed struct {
	owner []byte     // wire form, small letters
	addr  netip.Addr // in place of owner: of a reverse name
	typ   uint16
	ttl   uint32
	record
}

// parse reads a record of the zone of a domain, which is given in wire form.
func parse(r Record, domain []byte) (p parsed, field string, err error) {
	typ, ok := types[r.Type]
	if !ok {
		return p, "type", fmt.Errorf("%q is not a type of records that can be given; use one of %s", r.Type, strings.Join(Types(), ", "))
	}
	p.typ, p.source = typ, FromRecord
	if p.addr = reverseOwner(r.Name, typ); !p.addr.IsValid() {
		if p.owner, err = owner(r.Name, domain); err != nil {
			return p, "name", err
		}
	}
	if p.ttl, err = seconds(r.TTL); err != nil {
		return p, "ttl", err
	}
	if p.data, err = rdata(r.Value, typ, domain); err != nil {
		return p, "value", err
	}
	if p.target, ok = target(typ, p.data); !ok {
		return p, "value", notParsed(r.Value, typ, nil)
	}
	if doubled(p.target, domain) {
		return p, "value", fmt.Errorf("%q has the domain already: end it with a dot, or leave the domain out", r.Value)
	}
	return p, "", nil
}

// name is equal for records of one name.
func (p *parsed) name() string {
	if p.addr.IsValid() {
		return p.addr.String()
	}
	return string(p.owner)
}

// key is equal for records that say the same; letters of names do not matter.
func (p *parsed) key() string {
	head := p.data[:len(p.data)-len(p.target)]
	return fmt.Sprintf("%s %d %s%s", p.name(), p.typ, head, p.target)
}

// reverseOwner reads the name of a PTR record that stands for an address.
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
		return nil, errors.New("the network has no domain that it could be in")
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

// below puts the domain behind a relative name, and wants a full one to be in it.
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

// doubled reports whether a name has the domain twice, which is what becomes of
// a full name whose final dot was forgotten.
func doubled(name, domain []byte) bool {
	off, inside := wire.Under(name, domain)
	if !inside || off == 0 {
		return false
	}
	_, again := wire.Under(append(slices.Clone(name[:off]), 0), domain)
	return again
}

func seconds(ttl time.Duration) (uint32, error) {
	switch {
	case ttl == 0:
		return StaticTTL, nil
	case ttl < 0 || ttl > MaxTTL || ttl%time.Second != 0:
		return 0, fmt.Errorf("%s is not a TTL: give whole seconds, 1s to %dh", ttl, MaxTTL/time.Hour)
	}
	return uint32(ttl / time.Second), nil
}

// rdata reads a value with the general codec, which knows all types and all of
// RFC 1035's escapes. It gets one line: neither a second record nor a directive
// of zone files, such as $GENERATE, can hide in a value.
func rdata(value string, typ uint16, domain []byte) ([]byte, error) {
	if value == "" {
		return nil, errors.New("is missing")
	}
	if len(value) > MaxValue {
		return nil, fmt.Errorf("is %d characters long; at most %d are taken", len(value), MaxValue)
	}
	if i := strings.IndexFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		return nil, fmt.Errorf("%q has a control character; write it as \\DDD, in quotes", value)
	}
	if typ == dns.TypeA || typ == dns.TypeAAAA {
		return address(value, typ)
	}
	if typ == dns.TypeTXT && !strings.Contains(value, `"`) {
		return text(value), nil
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

// layout returns the first of a value's marks of RFC 1035 §5.1 that only lay out
// a file: parentheses, and the semicolon before a comment.
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

// address reads the value of an A or AAAA record.
func address(value string, typ uint16) ([]byte, error) {
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" || a.Is4() != (typ == dns.TypeA) || a.Is4In6() {
		return nil, notParsed(value, typ, nil)
	}
	return a.AsSlice(), nil
}

// text makes character strings of at most 255 octets (RFC 1035 §3.3.14) of one
// text, which those who read SPF and DKIM records join again (RFC 7208 §3.3).
func text(value string) []byte {
	var b []byte
	for chunk := range slices.Chunk([]byte(value), 255) {
		b = append(append(b, byte(len(chunk))), chunk...)
	}
	return b
}

// shapes are what values look like, for who got one wrong.
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

// target is the name at the end of rdata that servers look up further; false if
// there has to be one, and is none.
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

// presentation writes a name in wire form as zone files do, with a final dot.
func presentation(name []byte) string {
	text, _, err := dns.UnpackDomainName(name, 0)
	if err != nil {
		return "."
	}
	return text
}
