package dnsd

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestStatements sends octets and compares the reply with what an RFC says. A reply is
// its code and flags, and then the types of the answer, authority and additional
// sections.
func TestStatements(t *testing.T) {
	up := newUpstream(t, "127.0.0.1:0")
	up.answer(answerZZ)
	cfg := Config{
		Network: "lab", Interface: "lo", Listen: []netip.Addr{addr("127.0.0.17")}, Port: 5399, Domain: "lab.test", Forward: true,
		Forwarders: []Forwarder{{Address: mustAddrPort(up.addr)}}, HostNames: []string{"host"},
		Reverse: []netip.Prefix{netip.MustParsePrefix("10.70.0.0/24")},
		Records: []Record{
			{Name: "www", Type: "A", Value: "10.70.0.20"},
			{Name: "a.b", Type: "A", Value: "10.70.0.21"},
			{Name: "ftp", Type: "CNAME", Value: "www"},
			{Name: "dead", Type: "CNAME", Value: "nope"},
			{Name: "out", Type: "CNAME", Value: "www.zz."},
			{Name: "*.apps", Type: "CNAME", Value: "www"},
			{Name: "_s._tcp", Type: "SRV", Value: "0 0 80 www"},
		},
	}
	start(t, resolvConf(t), cfg)

	q := func(name string, qtype uint16, change ...func(*dns.Msg)) []byte {
		m := question(name, qtype)
		m.Id = 0x4711
		for _, f := range change {
			f(m)
		}
		return pack(t, m)
	}
	do := func(m *dns.Msg) { m.SetEdns0(1232, true) }
	with := func(b []byte, at int, octets ...byte) []byte { copy(b[at:], octets); return b }
	plain := func() []byte { return q("www.lab.test.", dns.TypeA) }
	edns := func() []byte { return q("www.lab.test.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) }) }
	opt := edns()[len(edns())-11:]
	opcode := func(op byte) []byte { return with(plain(), 2, op<<3|1, 0x10) }
	header := plain()[:12]
	raw := func(question string) []byte { return append(append([]byte(nil), header...), question...) }

	for _, s := range []struct {
		rfc, what string
		octets    []byte
		want      string
	}{
		{"RFC 1034 3.6.2", "a query for CNAME is not followed", q("ftp.lab.test.", dns.TypeCNAME), "NOERROR qr aa rd ra; CNAME; ; "},
		{"RFC 1034 4.3.2", "an alias comes with its target", q("ftp.lab.test.", dns.TypeA), "NOERROR qr aa rd ra; CNAME A; ; "},
		{"RFC 1034 5.2.2", "an alias of an outside name is followed", q("out.lab.test.", dns.TypeA), "NOERROR qr aa rd ra; CNAME A; ; "},
		{"RFC 1035 3.1", "a name of 256 octets", raw(strings.Repeat("\x3f"+strings.Repeat("a", 63), 3) + "\x3e" + strings.Repeat("a", 62) + "\x00\x00\x01\x00\x01"), "FORMERR qr rd"},
		{"RFC 1035 3.1", "a name of 255 octets", raw(strings.Repeat("\x3f"+strings.Repeat("a", 63), 3) + "\x3d" + strings.Repeat("a", 61) + "\x00\x00\x01\x00\x01"), "NXDOMAIN qr rd ra; ; SOA; "},
		{"RFC 1035 4.1.1", "own data is authoritative", plain(), "NOERROR qr aa rd ra; A; ; "},
		{"RFC 1035 4.1.1", "RD is copied, and own data needs none", with(plain(), 2, 0), "NOERROR qr aa ra; A; ; "},
		{"RFC 1035 4.1.1", "the Z bit is zero in a reply", with(plain(), 3, 0x40), "NOERROR qr aa rd ra; A; ; "},
		{"RFC 1035 4.1.1", "an unknown opcode: its flags are not copied", opcode(7), "NOTIMP qr opcode7"},
		{"RFC 3425 3", "IQUERY", opcode(1), "NOTIMP qr opcode1"},
		{"RFC 1996 3", "NOTIFY", opcode(4), "NOTIMP qr opcode4"},
		{"RFC 2136 3", "UPDATE", opcode(5), "NOTIMP qr opcode5"},
		{"RFC 8490 5", "DSO", opcode(6), "NOTIMP qr opcode6"},
		{"RFC 1035 4.1.1", "a question without its class", plain()[:len(plain())-2], "FORMERR qr rd"},
		{"RFC 1035 4.1.1", "a question without its type", plain()[:len(plain())-4], "FORMERR qr rd"},
		{"RFC 1035 4.1.1", "a question without an end", plain()[:16], "FORMERR qr rd"},
		{"RFC 1035 4.1.1", "a record that is promised and missing", with(plain(), 11, 1), "FORMERR qr rd"},
		{"RFC 1035 4.1.4", "a name that points to itself", raw("\xc0\x0c\x00\x01\x00\x01"), "FORMERR qr rd"},
		{"RFC 6891 5", "a label of type 01", raw("\x41" + strings.Repeat("a", 65) + "\x00\x00\x01\x00\x01"), "FORMERR qr rd"},
		{"RFC 1035 7.3", "a reply is not answered", with(plain(), 2, 0x81), "silence"},
		{"RFC 1035 7.3", "less than a header is not answered", header[:11], "silence"},
		{"RFC 9619 4", "no question", with(raw(""), 5, 0), "FORMERR qr rd"},
		{"RFC 9619 4", "two questions", with(append(plain(), plain()[12:]...), 5, 2), "FORMERR qr rd"},
		{"RFC 1035 3.2.4", "class CHAOS", with(plain(), len(plain())-1, 3), "REFUSED qr rd ra; ; ; "},
		{"RFC 6895 3.1", "type 0", with(plain(), len(plain())-3, 0), "REFUSED qr rd ra; ; ; "},
		{"RFC 6895 3.1", "type OPT", with(plain(), len(plain())-3, 41), "REFUSED qr rd ra; ; ; "},
		{"RFC 5936 4.2", "AXFR", with(plain(), len(plain())-3, 252), "REFUSED qr rd ra; ; ; "},
		{"RFC 2308 2.1", "NXDOMAIN has its SOA", q("nope.lab.test.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 2308 2.2", "NODATA has its SOA", q("www.lab.test.", dns.TypeTXT), "NOERROR qr aa rd ra; ; SOA; "},
		{"RFC 2308 2.1", "an alias of a name that does not exist", q("dead.lab.test.", dns.TypeA), "NXDOMAIN qr aa rd ra; CNAME; SOA; "},
		{"RFC 2308 2.2", "an alias of a name without the type", q("ftp.lab.test.", dns.TypeTXT), "NOERROR qr aa rd ra; CNAME; SOA; "},
		{"RFC 2308 3", "NXDOMAIN for one label has a SOA", q("wpad.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 8020 2", "an empty non-terminal exists", q("b.lab.test.", dns.TypeA), "NOERROR qr aa rd ra; ; SOA; "},
		{"RFC 4592 3.3.1", "a wildcard", q("x.y.apps.lab.test.", dns.TypeA), "NOERROR qr aa rd ra; CNAME A; ; "},
		{"RFC 2782", "SRV comes with addresses", q("_s._tcp.lab.test.", dns.TypeSRV), "NOERROR qr aa rd ra; SRV; ; A"},
		{"RFC 8482 4.2", "ANY is small", q("www.lab.test.", dns.TypeANY), "NOERROR qr aa rd ra; HINFO; ; "},
		{"RFC 8482 4", "ANY for a name that does not exist", q("nope.lab.test.", dns.TypeANY), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 1035 6.1", "the domain has SOA", q("lab.test.", dns.TypeSOA), "NOERROR qr aa rd ra; SOA; ; "},
		{"RFC 1035 6.1", "the domain has NS", q("lab.test.", dns.TypeNS), "NOERROR qr aa rd ra; NS; ; "},
		{"RFC 4035 3.1.4.1", "DS of the domain is NODATA", q("lab.test.", dns.TypeDS, do), "NOERROR qr aa rd ra do; ; SOA; OPT"},
		{"RFC 6840 5.7", "own data is not authenticated", q("www.lab.test.", dns.TypeA, func(m *dns.Msg) { m.AuthenticatedData = true }), "NOERROR qr aa rd ra; A; ; "},
		{"RFC 3225 3", "DO is copied", q("www.lab.test.", dns.TypeA, do), "NOERROR qr aa rd ra do; A; ; OPT"},
		{"RFC 4035 3.2.2", "CD is copied", with(plain(), 3, 0x10), "NOERROR qr aa rd ra cd; A; ; "},

		{"RFC 6891 6.1.1", "OPT only for OPT", edns(), "NOERROR qr aa rd ra; A; ; OPT"},
		{"RFC 6891 6.1.1", "two OPT records", with(append(edns(), opt...), 11, 2), "FORMERR qr rd"},
		{"RFC 6891 6.1.2", "an OPT record that is not the root's", append(with(plain(), 11, 1), append([]byte("\x01x\x00"), opt[1:]...)...), "FORMERR qr rd"},
		{"RFC 6891 6.1.1", "an OPT record among the answers", append(with(plain(), 7, 1), opt...), "FORMERR qr rd"},
		{"RFC 6891 6.1.2", "an OPT record that is longer than the message", with(edns(), len(edns())-1, 5), "FORMERR qr rd"},
		{"RFC 6891 6.1.2", "an option that is longer than its record", append(with(edns(), len(edns())-1, 5), 0, 10, 0, 9, 1), "FORMERR qr rd"},
		{"RFC 6891 6.1.2", "an option that is not known", append(with(edns(), len(edns())-1, 7), 0xfd, 0xe9, 0, 3, 1, 2, 3), "NOERROR qr aa rd ra; A; ; OPT"},
		{"RFC 6891 6.1.3", "version 1", with(edns(), len(edns())-5, 1), "BADVERS qr rd ra; ; ; OPT"},
		{"RFC 6891 6.1.4", "Z bits are zero in a reply", with(edns(), len(edns())-4, 0x7f, 0xff), "NOERROR qr aa rd ra; A; ; OPT"},
		{"RFC 7828 3.2.1", "keepalive over UDP is ignored", append(with(edns(), len(edns())-1, 4), 0, 11, 0, 0), "NOERROR qr aa rd ra; A; ; OPT"},

		{"RFC 6303 3", "an empty zone has SOA", q("10.in-addr.arpa.", dns.TypeSOA), "NOERROR qr aa rd ra; SOA; ; "},
		{"RFC 6303 3", "an empty zone has NS", q("168.192.in-addr.arpa.", dns.TypeNS), "NOERROR qr aa rd ra; NS; ; "},
		{"RFC 6303 4.1", "a private address", q("1.0.16.172.in-addr.arpa.", dns.TypePTR), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 6303 4.4", "a part of a local IPv6 address", q("1.0.d.f.ip6.arpa.", dns.TypePTR), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 6761 6.2", "test", q("foo.test.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 6761 6.3", "localhost", q("x.localhost.", dns.TypeA), "NOERROR qr aa rd ra; A; ; "},
		{"RFC 6761 6.4", "invalid", q("x.invalid.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 6762 22.1", "local", q("printer.local.", dns.TypeAAAA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 7686 2", "onion", q("x.onion.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 8375 4", "home.arpa", q("nas.home.arpa.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 8375 4", "home.arpa itself", q("home.arpa.", dns.TypeA), "NOERROR qr aa rd ra; ; SOA; "},
		{"RFC 8375 4", "DS of home.arpa is asked of others", q("home.arpa.", dns.TypeDS), "NOERROR qr rd ra; ; SOA; "},
		{"RFC 9462 6.4", "resolver.arpa", q("_dns.resolver.arpa.", 64), "NOERROR qr aa rd ra; ; SOA; "},
		{"RFC 9476", "alt", q("x.alt.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},
		{"RFC 9665", "service.arpa", q("default.service.arpa.", dns.TypeA), "NXDOMAIN qr aa rd ra; ; SOA; "},

		{"RFC 1035 4.1.1", "others' data is not authoritative", q("www.zz.", dns.TypeA), "NOERROR qr rd ra; A; ; "},
		{"RFC 1035 4.3.1", "without RD nothing is asked of others", with(q("www.zz.", dns.TypeMX), 2, 0), "REFUSED qr ra; ; ; "},
		{"RFC 4035 3.2.1", "no signatures without DO", q("signed.zz.", dns.TypeA), "NOERROR qr rd ra; A; ; "},
		{"RFC 4035 3.2.1", "signatures with DO", q("signed.zz.", dns.TypeA, do), "NOERROR qr rd ra ad do; A RRSIG; ; OPT"},
		{"RFC 6840 5.7", "AD asks for AD", with(q("signed.zz.", dns.TypeA), 3, 0x20), "NOERROR qr rd ra ad; A; ; "},
		{"RFC 8482 4", "ANY is not asked of others", q("www.zz.", dns.TypeANY), "NOERROR qr rd ra; HINFO; ; "},
		{"RFC 2181 9", "a reply that is too long has TC and no part of a set", q("big.zz.", dns.TypeTXT), "NOERROR qr tc rd ra; ; ; "},
	} {
		for range 2 { // the second time from the cache, where it is others' data
			if got := said(t, "127.0.0.17:5399", s.octets); got != s.want {
				t.Errorf("%s, %s:\n got %s\nwant %s", s.rfc, s.what, got, s.want)
			}
		}
	}
}

// answerZZ answers as an upstream that validates, for zz.
func answerZZ(m, reply *dns.Msg, network string) {
	q := m.Question[0]
	name, opt := strings.ToLower(q.Name), m.IsEdns0()
	switch {
	case name == "big.zz.":
		if reply.Truncated = network == "udp"; !reply.Truncated {
			reply.Answer = rrs(q.Name + " 60 IN TXT" + strings.Repeat(" "+strings.Repeat("x", 250), 6))
		}
	case strings.HasSuffix(name, ".zz.") && q.Qtype == dns.TypeA:
		reply.Answer = rrs(q.Name + " 60 IN A 192.0.2.1")
		if reply.AuthenticatedData = name == "signed.zz."; reply.AuthenticatedData && opt != nil && opt.Do() {
			reply.Answer = append(reply.Answer, rrs(q.Name+" 60 IN RRSIG A 13 2 60 20300101000000 20200101000000 1 zz. AAAA")...)
		}
	case strings.HasSuffix(name, "aa."):
		reply.Rcode, reply.Ns = dns.RcodeNameError, rrs(". 60 IN SOA a. b. 1 2 3 4 60")
	default:
		reply.Ns = rrs(name[strings.Index(name, ".")+1:] + " 60 IN SOA a. b. 1 2 3 4 60")
	}
}

// said returns the reply to octets in brief.
func said(t *testing.T, at string, octets []byte) string {
	t.Helper()
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, octets)
	// What is not to be answered is followed by what is.
	probe := question("www.lab.test.", dns.TypeA)
	probe.Id = 0x0815
	send(t, c, pack(t, probe))
	buf := make([]byte, 4096)
	for range 2 {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		id := binary.BigEndian.Uint16(buf)
		if id == 0x4711 {
			return shape(t, buf[:n])
		}
		if len(octets) < 12 || octets[2]&0x80 != 0 {
			break
		}
	}
	return "silence"
}

// shape is a message's code and flags, and the types in its sections.
func shape(t *testing.T, b []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	flags := []string{strings.Replace(dns.RcodeToString[m.Rcode], "BADSIG", "BADVERS", 1)} // both are 16
	do := m.IsEdns0() != nil && m.IsEdns0().Do()
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"qr", m.Response},
		{"aa", m.Authoritative},
		{"tc", m.Truncated},
		{"rd", m.RecursionDesired},
		{"ra", m.RecursionAvailable},
		{"z", m.Zero},
		{"ad", m.AuthenticatedData},
		{"cd", m.CheckingDisabled},
		{"do", do},
		{"z-of-edns", m.IsEdns0() != nil && m.IsEdns0().Z() != 0},
	} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	if m.Opcode != 0 {
		flags = append(flags, "opcode"+string(rune('0'+m.Opcode)))
	}
	out := strings.Join(flags, " ")
	if len(m.Question) == 0 {
		return out
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		var types []string
		for _, rr := range section {
			types = append(types, dns.TypeToString[rr.Header().Rrtype])
		}
		out += "; " + strings.Join(types, " ")
	}
	return out
}
