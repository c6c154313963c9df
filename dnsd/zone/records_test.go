package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// rec reads "NAME TYPE VALUE".
func rec(line string) Record {
	f := strings.SplitN(line, " ", 3)
	return Record{Name: f[0], Type: f[1], Value: f[2]}
}

func recs(lines ...string) (out []Record) {
	for _, l := range lines {
		out = append(out, rec(l))
	}
	return out
}

// withRecords is the zone of zone_test.go with one record of each kind, and with
// what wildcards and aliases can run into.
func withRecords(t testing.TB) *Zone {
	t.Helper()
	cfg := config()
	cfg.Records = recs(
		"www A 192.168.10.20", "www A 192.168.10.21", "WWW.lab.test. AAAA fd00:10::20",
		"@ MX 10 mail", "@ TXT v=spf1 -all", "@ A 192.168.10.22", `@ CAA 0 issue "ca.example"`,
		"mail A 192.168.10.25", "mail AAAA fd00:10::25",
		"_ldap._tcp SRV 0 5 389 Pc", "_ldap._tcp SRV 0 5 389 dc.example.org.", "_ldap._tcp SRV 1 5 389 none",
		"ftp CNAME WWW", "old CNAME ftp", "to-lease CNAME pc", "dangling CNAME nothing", "out CNAME www.Example.org.", "far CNAME out",
		"*.apps CNAME www", "*.apps TXT x", "fixed.apps A 192.168.10.30", "deep.er.apps A 192.168.10.31",
		"* A 192.168.10.99", "web A 192.168.10.40", "db TXT beside",
		"192.168.10.77 PTR seven", "192.168.10.77 PTR seventy.example.org.", "78.10.168.192.in-addr.arpa. PTR eight",
		"alone TXT only", "svc HTTPS 1 . alpn=h2", `long TXT "a b" "c"`,
	)
	// A CNAME beside other data is refused; the rest of the list stands.
	cfg.Records = slices.DeleteFunc(cfg.Records, func(r Record) bool { return r.Name == "*.apps" && r.Type == "TXT" })
	cfg.Names = leases{
		"pc": "192.168.10.50", "www": "192.168.10.66", "alone": "192.168.10.67", "six": "fd00:10::6",
	}
	cfg.Peers = []Config{{
		Domain: "office.test", HostNames: []string{"host"}, HostAddrs: []netip.Addr{addr("10.1.0.1")},
		Hosts: []Host{{Name: "printer", Addrs: []netip.Addr{addr("10.1.0.9")}}}, Names: leases{"ann": "10.1.0.50"},
		Records: recs("back CNAME www.lab.test.", "loop CNAME loop.lab.test."), Reverse: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
	}}
	cfg.Records = append(cfg.Records, recs("print CNAME printer.office.test.", "loop CNAME loop.office.test.")...)
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestRecords(t *testing.T) {
	z := withRecords(t)
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"www.lab.test.", dns.TypeAAAA, "NOERROR 60 IN AAAA fd00:10::20"},
		{"www.", dns.TypeAAAA, "NOERROR 60 IN AAAA fd00:10::20"},
		{"www.lab.test.", dns.TypeMX, "NOERROR soa lab.test."},
		{"www.lab.test.", dns.TypeANY, `NOERROR 60 IN HINFO "RFC8482" ""`},
		{"lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.22"},
		{"lab.test.", dns.TypeMX, "NOERROR 60 IN MX 10 mail.lab.test."},
		{"lab.test.", dns.TypeTXT, `NOERROR 60 IN TXT "v=spf1 -all"`},
		{"lab.test.", dns.TypeCAA, `NOERROR 60 IN CAA 0 issue "ca.example"`},
		{"lab.test.", dns.TypeNS, "NOERROR 60 IN NS kvm1.lab.test."},
		{"svc.lab.test.", dns.TypeHTTPS, `NOERROR 60 IN HTTPS 1 . alpn="h2"`},
		{"long.lab.test.", dns.TypeTXT, `NOERROR 60 IN TXT "a b" "c"`},
		// aliases
		{"ftp.lab.test.", dns.TypeAAAA, "NOERROR 60 IN CNAME WWW.lab.test. 60 IN AAAA fd00:10::20"},
		{"ftp.", dns.TypeAAAA, "NOERROR 60 IN CNAME WWW.lab.test. 60 IN AAAA fd00:10::20"},
		{"old.lab.test.", dns.TypeAAAA, "NOERROR 60 IN CNAME ftp.lab.test. 60 IN CNAME WWW.lab.test. 60 IN AAAA fd00:10::20"},
		{"old.lab.test.", dns.TypeCNAME, "NOERROR 60 IN CNAME ftp.lab.test."},
		{"old.lab.test.", dns.TypeSRV, "NOERROR 60 IN CNAME ftp.lab.test. 60 IN CNAME WWW.lab.test. soa lab.test."},
		{"to-lease.lab.test.", dns.TypeA, "NOERROR 60 IN CNAME pc.lab.test. 10 IN A 192.168.10.50"},
		{"to-lease.lab.test.", dns.TypeAAAA, "NOERROR 60 IN CNAME pc.lab.test. soa lab.test."},
		{"dangling.lab.test.", dns.TypeA, "NOERROR 60 IN CNAME nothing.lab.test. 60 IN A 192.168.10.99"},
		{"out.lab.test.", dns.TypeA, "NOERROR 60 IN CNAME www.Example.org."},
		{"print.lab.test.", dns.TypeA, "NOERROR 60 IN CNAME printer.office.test. 60 IN A 10.1.0.9"},
		// wildcards
		{"a.b.c.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.99"},
		{"any.lab.test.", dns.TypeTXT, "NOERROR soa lab.test."},
		{"*.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.99"},
		{"any.", dns.TypeA, "NXDOMAIN soa any."},
		{"x.apps.lab.test.", dns.TypeAAAA, "NOERROR 60 IN CNAME www.lab.test. 60 IN AAAA fd00:10::20"},
		{"x.y.apps.lab.test.", dns.TypeCNAME, "NOERROR 60 IN CNAME www.lab.test."},
		{"apps.lab.test.", dns.TypeA, "NOERROR soa lab.test."},
		{"fixed.apps.lab.test.", dns.TypeAAAA, "NOERROR soa lab.test."},
		{"x.fixed.apps.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"er.apps.lab.test.", dns.TypeA, "NOERROR soa lab.test."},
		{"x.er.apps.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"pc.lab.test.", dns.TypeAAAA, "NOERROR soa lab.test."},
		{"x.pc.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"x.web.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		// who is who
		{"web.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.40"},
		{"web.lab.test.", dns.TypeAAAA, "NOERROR soa lab.test."},
		{"db.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.11"},
		{"db.lab.test.", dns.TypeTXT, `NOERROR 60 IN TXT "beside"`},
		{"alone.lab.test.", dns.TypeA, "NOERROR soa lab.test."},
		// reverse
		{reverse("192.168.10.20"), dns.TypePTR, "NOERROR 60 IN PTR www.lab.test."},
		{reverse("fd00:10::25"), dns.TypePTR, "NOERROR 60 IN PTR mail.lab.test."},
		{reverse("192.168.10.77"), dns.TypePTR, "NOERROR 60 IN PTR seven.lab.test. 60 IN PTR seventy.example.org."},
		{reverse("192.168.10.78"), dns.TypePTR, "NOERROR 60 IN PTR eight.lab.test."},
		{reverse("192.168.10.78"), dns.TypeA, "NOERROR soa 10.168.192.in-addr.arpa."},
		{reverse("192.168.10.11"), dns.TypePTR, "NOERROR 60 IN PTR db.lab.test."},
		{reverse("192.168.10.10"), dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."}, // web is elsewhere
		{reverse("192.168.10.99"), dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."}, // of a wildcard
		{reverse("192.168.10.66"), dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."}, // a guest that calls itself www
		// peers
		{"printer.office.test.", dns.TypeA, "NOERROR 60 IN A 10.1.0.9"},
		{"ann.office.test.", dns.TypeA, "NOERROR 10 IN A 10.1.0.50"},
		{"nobody.office.test.", dns.TypeA, "NXDOMAIN soa office.test."},
		{"back.office.test.", dns.TypeAAAA, "NOERROR 60 IN CNAME www.lab.test. 60 IN AAAA fd00:10::20"},
		{"printer.", dns.TypeA, "NXDOMAIN soa printer."},
		{reverse("10.1.0.9"), dns.TypePTR, "NOERROR 60 IN PTR printer.office.test."},
		{reverse("10.1.0.50"), dns.TypePTR, "NOERROR 10 IN PTR ann.office.test."},
		{reverse("10.1.1.9"), dns.TypePTR, ""},
	} {
		m, ok := ask(t, z.Answer, c.name, c.qtype)
		got := ""
		if ok {
			got = brief(m)
		}
		if got != c.want {
			t.Errorf("%s %s:\n got %q\nwant %q", c.name, dns.TypeToString[c.qtype], got, c.want)
		}
	}
	if m, ok := ask(t, z.Answer, "loop.lab.test.", dns.TypeA); !ok || len(m.Answer) != maxChain || m.Rcode != dns.RcodeSuccess {
		t.Errorf("a circle through two networks: %v", m)
	}
}

func TestSeveralAddressesTakeTurns(t *testing.T) {
	z := withRecords(t)
	first := map[string]int{}
	for range 64 {
		m, _ := ask(t, z.Answer, "www.lab.test.", dns.TypeA)
		if len(m.Answer) != 2 {
			t.Fatal(m)
		}
		first[m.Answer[0].(*dns.A).A.String()]++
	}
	if len(first) != 2 {
		t.Errorf("the first of two addresses was always %v", first)
	}
}

func TestServersComeWithTheirAddresses(t *testing.T) {
	z := withRecords(t)
	for name, want := range map[string]string{
		"lab.test.":            "mail.lab.test. 60 IN A 192.168.10.25, mail.lab.test. 60 IN AAAA fd00:10::25",
		"_ldap._tcp.lab.test.": "Pc.lab.test. 10 IN A 192.168.10.50, none.lab.test. 60 IN A 192.168.10.99",
	} {
		typ := dns.TypeSRV
		if name == "lab.test." {
			typ = dns.TypeMX
		}
		m, _ := ask(t, z.Answer, name, typ)
		var got []string
		for _, rr := range m.Extra {
			got = append(got, strings.Join(strings.Fields(rr.String()), " "))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestBeyond(t *testing.T) {
	z := withRecords(t)
	for name, want := range map[string]string{
		"out.lab.test.": "www.example.org.", "far.lab.test.": "www.example.org.", "ftp.lab.test.": "", "print.lab.test.": "",
		"loop.lab.test.": "", "www.lab.test.": "", "out.": "www.example.org.",
	} {
		_, _ = ask(t, func(_ []byte, q *wire.Query) ([]byte, bool) {
			next := z.CNAMETarget(q)
			if want == "" && next != nil || want != "" && (next == nil || presentation(next) != want) {
				t.Errorf("%s leads to %q, want %q", name, next, want)
			}
			return nil, false
		}, name, dns.TypeA)
	}
}

// What has no room for everything says so, and what is only additional is left out.
func TestLargeSets(t *testing.T) {
	cfg := config()
	for i := range 60 {
		cfg.Records = append(cfg.Records, rec(fmt.Sprintf("big TXT %s", strings.Repeat("x", 20)+fmt.Sprint(i))))
		cfg.Records = append(cfg.Records, rec(fmt.Sprintf("_s._tcp SRV 0 0 %d host-%d", i+1, i%12)))
	}
	for i := range 12 {
		cfg.Records = append(cfg.Records, rec(fmt.Sprintf("host-%d A 192.168.10.%d", i, i+100)))
	}
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]int{ // answers, additional
		"big.lab.test.": {60, 0}, "_s._tcp.lab.test.": {60, 16},
	} {
		typ := dns.TypeTXT
		if name[0] == '_' {
			typ = dns.TypeSRV
		}
		for _, limit := range []int{512, 4000} {
			m, _ := ask(t, func(buf []byte, q *wire.Query) ([]byte, bool) { q.Max = limit; return z.Answer(buf, q) }, name, typ)
			switch {
			case limit == 512 && (!m.Truncated || len(m.Answer) != 0):
				t.Errorf("%s: whole in %d octets? %v", name, limit, m)
			case limit != 512 && (m.Truncated || len(m.Answer) != want[0] || len(m.Extra) != want[1]):
				t.Errorf("%s: %d answers, %d additional, truncated %v", name, len(m.Answer), len(m.Extra), m.Truncated)
			}
		}
	}
	// All answers fit, the addresses do not.
	m, _ := ask(t, func(buf []byte, q *wire.Query) ([]byte, bool) { q.Max = 2300; return z.Answer(buf, q) }, "_s._tcp.lab.test.", dns.TypeSRV)
	if m.Truncated || len(m.Answer) != 60 || len(m.Extra) != 0 {
		t.Errorf("%d answers, %d additional, truncated %v", len(m.Answer), len(m.Extra), m.Truncated)
	}
}

// The largest set that is taken fits into one message, behind the longest chain.
func TestLargestSet(t *testing.T) {
	cfg := config()
	for i := range maxSet / 16 {
		cfg.Records = append(cfg.Records, rec(fmt.Sprintf("c8 A 10.0.%d.%d", i/250, i%250)))
	}
	for i := range 8 {
		cfg.Records = append(cfg.Records, rec(fmt.Sprintf("c%d CNAME c%d", i, i+1)))
	}
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := ask(t, func(buf []byte, q *wire.Query) ([]byte, bool) { q.Max = wire.MaxMessage; return z.Answer(buf, q) }, "c1.lab.test.", dns.TypeA)
	if m.Truncated || len(m.Answer) != maxSet/16+7 {
		t.Errorf("%d answers, truncated %v", len(m.Answer), m.Truncated)
	}
	cfg.Records = append(cfg.Records, rec("c8 A 10.9.9.9"))
	if got := Check(cfg); len(got) != 1 || !strings.Contains(got[0].Error(), "larger than 48 KiB") {
		t.Errorf("one more: %v", got)
	}
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 4097)
	for _, c := range []struct {
		records []Record
		want    []string
	}{
		{recs("www A 10.0.0.1", "www A 10.0.0.2", "www TXT x"), nil},
		{recs("www A 10.0.0"), []string{`record 0: value: "10.0.0" is not an IPv4 address, such as 10.20.0.10`}},
		{recs("www AAAA 10.0.0.1"), []string{`record 0: value: "10.0.0.1" is not an IPv6`}},
		{recs("www A fd00::1"), []string{"record 0: value"}},
		{recs("www NS x", "www a 10.0.0.1"), []string{`record 0: type: unsupported record type "NS"`, `record 1: type: unsupported record type "a"`}},
		{recs("www SRV 0 5 dc1"), []string{"is not priority, weight, port and name"}},
		{recs("www SRV 0 5 70000 dc1"), []string{"is not priority, weight, port and name"}},
		{recs("www MX mail"), []string{"is not preference and name"}},
		{recs("www CAA 0 issue"), []string{"is not flags, tag and value"}},
		{recs("www CNAME a..b"), []string{"is not a name"}},
		{recs("www CNAME a b"), []string{"is not a name"}},
		{recs("www MX 10 a )", "m MX ()", "p MX 10 mail ; a comment"), []string{"has a ')'", "has a '('", "has a ';'"}},
		{recs(`t TXT "a;(b)" c\;`), nil},
		{recs("www A $GENERATE"), []string{"is not an IPv4"}},
		{[]Record{{Name: "www", Type: "TXT", Value: "a\nmore. 60 IN A 10.0.0.1"}}, []string{"has a control character"}},
		{[]Record{{Name: "www", Type: "TXT", Value: long}}, []string{"is 4097 characters long"}},
		{[]Record{{Name: "www", Type: "TXT"}}, []string{"value: is missing"}},
		{[]Record{{Type: "TXT", Value: "x"}}, []string{"name: is missing; @ is the domain itself"}},
		{[]Record{{Name: "w", Type: "TXT", Value: "x", TTL: time.Millisecond}}, []string{"ttl: 1ms is not a TTL"}},
		{[]Record{{Name: "w", Type: "TXT", Value: "x", TTL: 169 * time.Hour}}, []string{"ttl: 169h0m0s is not a TTL"}},
		{recs("www.example.com. A 10.0.0.1"), []string{`is outside the network's domain lab.test.`}},
		{recs("www.lab.test A 10.0.0.1"), []string{`name: "www.lab.test" has the domain already`}},
		{recs("www CNAME web.lab.test"), []string{`value: "web.lab.test" has the domain already`}},
		{recs("mx MX 5 web.lab.test", "ok MX 5 web.lab.test."), []string{"record 0: value"}},
		{recs("a.*.b A 10.0.0.1"), []string{`label "*" has '*'`}},
		{recs("a$ A 10.0.0.1"), []string{`has '$'`}},
		{recs(strings.Repeat("abcdefg.", 30) + "xyz A 10.0.0.1"), nil},
		{recs(strings.Repeat("abcdefg.", 30) + "abcdef A 10.0.0.1"), []string{"too long in its domain"}},
		{recs("@ CNAME www"), []string{"name: is the domain itself"}},
		{recs("a CNAME b", "a A 10.0.0.1"), []string{"record 1: name: a.lab.test. is in records[0], too, and a CNAME must be the only record"}},
		{recs("a A 10.0.0.1", "A CNAME b", "a CNAME c"), []string{"record 1: name", "record 2: name"}},
		{recs("a A 10.0.0.1", "A.lab.test. A 10.0.0.1"), []string{"record 1: is a duplicate of records[0]"}},
		{recs("a MX 5 web", "a MX 5 WEB.lab.test.", "a MX 6 web"), []string{"record 1: is a duplicate"}},
		{recs("a TXT web", "a TXT WEB"), nil},
		{recs("a CNAME a"), []string{"record 0: value: CNAME loop: a.lab.test. → a.lab.test."}},
		{recs("a CNAME b", "b CNAME c", "c CNAME b"), []string{"record 0: value: CNAME loop", "record 1: value", "record 2: value"}},
		{recs("*.w CNAME x.w"), []string{"record 0: value: CNAME loop"}},
		{recs("c0 CNAME c1", "c1 CNAME c2", "c2 CNAME c3", "c3 CNAME c4", "c4 CNAME c5", "c5 CNAME c6", "c6 CNAME c7", "c7 CNAME c8"), nil},
		{recs("c0 CNAME c1", "c1 CNAME c2", "c2 CNAME c3", "c3 CNAME c4", "c4 CNAME c5", "c5 CNAME c6", "c6 CNAME c7", "c7 CNAME c8", "c8 CNAME c9"), []string{"record 0: value: CNAME chain of more than 8 names"}},
		{recs("10.9.0.1 PTR www"), []string{"name: 10.9.0.1 is in none of the network's subnets"}},
		{recs("1.0.9.10.in-addr.arpa. PTR www"), []string{"name: 10.9.0.1 is in none"}},
		{recs("_http._tcp PTR site._http._tcp"), nil},
		{recs("192.168.10.5 A 192.168.10.6"), nil}, // a name of four labels, odd and allowed
		{make([]Record, 10_001), []string{"record 10000: is one too many"}},
	} {
		cfg := config()
		cfg.Records = c.records
		got := Check(cfg)
		if len(got) != len(c.want) {
			t.Errorf("%.200v:\n got %q\nwant %q", c.records, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i].Error(), c.want[i]) {
				t.Errorf("%.200v:\n got %q\nwant %q", c.records, got[i], c.want[i])
			}
		}
		if _, err := New(cfg); (err == nil) != (len(got) == 0) {
			t.Errorf("%.200v: New says %v", c.records, err)
		}
	}
}

func TestShortestTTLIsTheSets(t *testing.T) {
	cfg := config()
	cfg.Records = []Record{
		{Name: "a", Type: "A", Value: "10.0.0.1", TTL: time.Hour}, {Name: "a", Type: "A", Value: "10.0.0.2", TTL: 5 * time.Second},
	}
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := ask(t, z.Answer, "a.lab.test.", dns.TypeA)
	for _, rr := range m.Answer {
		if rr.Header().Ttl != 5 {
			t.Error(rr)
		}
	}
}

// Names that are not here are somebody else's in a shared domain, also those that
// aliases lead to.
func TestRecordsInSharedDomain(t *testing.T) {
	cfg := config()
	cfg.Shared, cfg.Records = true, recs("@ TXT ours", "www CNAME elsewhere", "*.apps A 10.0.0.1")
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"lab.test. TXT": `NOERROR 60 IN TXT "ours"`, "lab.test. A": "", "lab.test. SOA": "", "lab.test. NS": "",
		"www.lab.test. A": "NOERROR 60 IN CNAME elsewhere.lab.test.", "x.apps.lab.test. A": "NOERROR 60 IN A 10.0.0.1", "apps.lab.test. A": "",
	} {
		f := strings.Fields(name)
		m, ok := ask(t, z.Answer, f[0], dns.StringToType[f[1]])
		got := ""
		if ok {
			got = brief(m)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Top-level domains keep what validating resolvers ask of them, whatever guests
// and records are called.
func TestNoRecordHidesATopLevelDomain(t *testing.T) {
	cfg := config()
	cfg.Records, cfg.Names = recs("com A 10.0.0.1", "localhost A 10.0.0.2"), leases{"org": "192.168.10.50"}
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"com. DS": "", "org. DNSKEY": "", "com. A": "NOERROR 60 IN A 10.0.0.1", "localhost. A": "NOERROR 60 IN A 127.0.0.1",
		"localhost.lab.test. A": "NOERROR 60 IN A 10.0.0.2",
	} {
		f := strings.Fields(name)
		m, ok := ask(t, z.Answer, f[0], dns.StringToType[f[1]])
		got := ""
		if ok {
			got = brief(m)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	z := withRecords(t)
	for name, typ := range map[string]uint16{
		"www.lab.test.": dns.TypeA, "old.lab.test.": dns.TypeA, "x.y.apps.lab.test.": dns.TypeA, "lab.test.": dns.TypeMX,
		"printer.office.test.": dns.TypeA, "x.web.lab.test.": dns.TypeA, reverse("192.168.10.77"): dns.TypePTR, "www.": dns.TypeTXT,
	} {
		b, _ := new(dns.Msg).SetQuestion(name, typ).Pack()
		q, buf := new(wire.Query), make([]byte, 0, 1500)
		if got := testing.AllocsPerRun(100, func() {
			wire.Parse(b, q)
			if z.CNAMETarget(q) != nil {
				t.Fatal(name)
			}
			if _, ok := z.Answer(buf, q); !ok {
				t.Fatal(name)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func TestList(t *testing.T) {
	cfg := config()
	cfg.Records = recs("web A 192.168.10.40", `@ TXT "a b"`, "ftp CNAME web", "* A 192.168.10.99", "192.168.10.77 PTR seven", "out A 10.0.0.1")
	cfg.Hosts = cfg.Hosts[:2]
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range z.List(slices.Values([]string{"pc", "web", "wpad", "bad name"})) {
		got = append(got, fmt.Sprintf("%s %d %s %s %d", l.Name, l.TTL, l.Type, l.Value, l.From))
	}
	want := []string{
		"*.lab.test. 60 A 192.168.10.99 2",
		"1.10.168.192.in-addr.arpa. 60 PTR kvm1.lab.test. 0",
		"11.10.168.192.in-addr.arpa. 60 PTR db.lab.test. 1",
		"40.10.168.192.in-addr.arpa. 60 PTR web.lab.test. 2",
		"50.10.168.192.in-addr.arpa. 10 PTR pc.lab.test. 3",
		"77.10.168.192.in-addr.arpa. 60 PTR seven.lab.test. 2",
		"db.lab.test. 60 A 192.168.10.11 1",
		"ftp.lab.test. 60 CNAME web.lab.test. 2",
		"kvm1.lab.test. 60 A 192.168.10.1 0",
		`lab.test. 60 TXT "a b" 2`,
		"out.lab.test. 60 A 10.0.0.1 2",
		"pc.lab.test. 10 A 192.168.10.50 3",
		"web.lab.test. 60 A 192.168.10.40 2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		record, pattern string
		want            bool
	}{
		{"www A 10.0.0.1", "www A 10.0.0.1", true},
		{"www A 10.0.0.1", "WWW.lab.test.", true},
		{"www A 10.0.0.1", "www A", true},
		{"www A 10.0.0.1", "www AAAA", false},
		{"www A 10.0.0.1", "www A 10.0.0.2", false},
		{"www A 10.0.0.1", "web", false},
		{"m MX 5 Mail", "m MX 5 mail.lab.test.", true},
		{"m MX 5 Mail", "m MX 6 mail.lab.test.", false},
		{"192.168.10.5 PTR a", "5.10.168.192.in-addr.arpa. PTR", true},
		{"192.168.10.5 PTR a", "192.168.10.5", true},
		{"www A 10.0.0.1", "bad..name", false},
	} {
		f := append(strings.SplitN(c.pattern, " ", 3), "", "")
		if got := Fits("lab.test", rec(c.record), Record{Name: f[0], Type: f[1], Value: f[2]}); got != c.want {
			t.Errorf("%s, %s: %v", c.record, c.pattern, got)
		}
	}
}

// FuzzRecord gives a hostile definition's record to the codec: it is refused, or
// it is one record, which comes back in an answer as it was given.
func FuzzRecord(f *testing.F) {
	for _, r := range append(recs("www A 10.0.0.1", "*.x SRV 0 5 389 dc1", `@ TXT "a\034b" c`, "a CAA 0 issue ca", "192.168.10.9 PTR x",
		"h HTTPS 1 . alpn=h2 ipv4hint=10.0.0.1", "s SSHFP 4 2 00ff", `g A \# 4 0a000001`, "t TXT a ; b", "$GENERATE CNAME $ORIGIN"),
		Record{Name: "n", Type: "TXT", Value: "a\n$INCLUDE /etc/passwd"}) {
		f.Add(r.Name, r.Type, r.Value, int64(r.TTL))
	}
	f.Fuzz(func(t *testing.T, name, typ, value string, ttl int64) {
		cfg := config()
		cfg.Records = []Record{{Name: name, Type: typ, Value: value, TTL: time.Duration(ttl)}}
		problems := Check(cfg)
		z, err := New(cfg)
		if (err == nil) != (len(problems) == 0) {
			t.Fatalf("Check says %v, and New %v", problems, err)
		}
		if err != nil {
			return
		}
		var mine []Listed
		for _, l := range z.List(slices.Values([]string{})) {
			if l.From == FromRecord && l.Type == typ {
				mine = append(mine, l)
			}
		}
		if len(mine) == 0 || len(mine) > 1 {
			t.Fatalf("%+v is listed as %v", cfg.Records[0], mine)
		}
		m, ok := ask(t, func(buf []byte, q *wire.Query) ([]byte, bool) { q.Max = wire.MaxMessage; return z.Answer(buf, q) }, mine[0].Name, types[typ])
		if !ok || len(m.Answer) != 1 || m.Answer[0].Header().Ttl != mine[0].TTL {
			t.Fatalf("%+v is answered with %v", cfg.Records[0], m)
		}
		if !Fits("lab.test", cfg.Records[0], cfg.Records[0]) {
			t.Fatalf("%+v does not fit itself", cfg.Records[0])
		}
	})
}

// FuzzAnswer asks a zone with a record of each kind whatever a guest may send:
// each answer can be read, fits, and is about the question.
func FuzzAnswer(f *testing.F) {
	z := withRecords(f)
	for _, name := range []string{"old.lab.test.", "x.y.apps.lab.test.", "_ldap._tcp.lab.test.", "loop.lab.test.", "print.", `a\000b.lab.test.`, reverse("192.168.10.77")} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			m := new(dns.Msg).SetQuestion(name, typ)
			m.SetEdns0(uint16(typ)*20, true)
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		var q wire.Query
		if wire.Parse(pkt, &q) != wire.OK {
			return
		}
		_ = z.CNAMETarget(&q)
		out, ok := z.Answer(nil, &q)
		if !ok {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil || len(out) > q.Max || m.Id != q.ID || len(m.Question) != 1 {
			t.Fatalf("%x is answered with %x: %v", pkt, out, err)
		}
	})
}
