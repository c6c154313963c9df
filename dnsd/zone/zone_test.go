package zone

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

type leases map[string]string

func (l leases) Addrs(name string) []netip.Addr {
	if a, ok := l[name]; ok {
		return []netip.Addr{addr(a)}
	}
	return nil
}

func (l leases) Name(a netip.Addr) (string, bool) {
	for name, s := range l {
		if addr(s) == a {
			return name, true
		}
	}
	return "", false
}

func config() Config {
	return Config{
		Domain: "Lab.test", HostNames: []string{"kvm1"}, HostAddrs: []netip.Addr{addr("192.168.10.1")},
		Hosts: []Host{
			{Name: "web", Addrs: []netip.Addr{addr("192.168.10.10"), addr("fd00:10::10")}},
			{Name: "db.lab.test", Addrs: []netip.Addr{addr("192.168.10.11")}},
			{Name: "a.deep", Addrs: []netip.Addr{addr("192.168.10.12")}},
			{Name: "www.example.com.", Addrs: []netip.Addr{addr("192.168.10.13")}},
		},
		Reverse: []netip.Prefix{
			netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("172.20.16.0/20"),
			netip.MustParsePrefix("10.9.8.64/26"), netip.MustParsePrefix("fd00:10::/64"),
		},
		Names: leases{
			"pc": "192.168.10.50", "web": "192.168.10.66", "kvm1": "192.168.10.67", "wpad": "192.168.10.68",
			"six": "fd00:10::6", "bad name": "192.168.10.69", "deep": "192.168.10.70",
		},
		Recursive: true,
	}
}

func ask(t testing.TB, f func([]byte, *wire.Query) ([]byte, bool), name string, qtype uint16) (*dns.Msg, bool) {
	t.Helper()
	b, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if wire.Parse(b, &q) != wire.OK {
		t.Fatalf("%s cannot be asked", name)
	}
	out, ok := f(nil, &q)
	if !ok {
		return nil, false
	}
	m := new(dns.Msg)
	if err := m.Unpack(out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m, true
}

// brief is a reply in one line: code, answers, and the owner of the SOA.
func brief(m *dns.Msg) string {
	s := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		s = append(s, strings.Join(strings.Fields(rr.String())[1:], " "))
	}
	for _, rr := range m.Ns {
		s = append(s, "soa", rr.Header().Name)
	}
	return strings.Join(s, " ")
}

func TestAnswer(t *testing.T) {
	z, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	const soa = "IN SOA kvm1.lab.test. hostmaster.lab.test. 1 3600 600 86400 10"
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string // "" is not ours
	}{
		{"web.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.10"},
		{"WEB.LAB.TEST.", dns.TypeAAAA, "NOERROR 60 IN AAAA fd00:10::10"},
		{"web.", dns.TypeA, "NOERROR 60 IN A 192.168.10.10"},
		{"web.lab.test.", dns.TypeTXT, "NOERROR soa lab.test."},
		{"web.", dns.TypeTXT, "NOERROR soa web."},
		{"web.lab.test.", dns.TypeANY, `NOERROR 60 IN HINFO "RFC8482" ""`},
		{"db.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.11"},
		{"db.", dns.TypeA, "NOERROR 60 IN A 192.168.10.11"},
		{"db.lab.test.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"a.deep.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.12"},
		{"deep.lab.test.", dns.TypeA, "NOERROR soa lab.test."},
		{"a.deep.", dns.TypeA, ""},
		{"www.example.com.", dns.TypeA, "NOERROR 60 IN A 192.168.10.13"},
		{"www.example.com.", dns.TypeMX, "NOERROR soa www.example.com."},
		{"example.com.", dns.TypeA, ""},
		{"kvm1.lab.test.", dns.TypeA, "NOERROR 60 IN A 192.168.10.1"},
		{"pc.lab.test.", dns.TypeA, "NOERROR 10 IN A 192.168.10.50"},
		{"pc.", dns.TypeA, "NOERROR 10 IN A 192.168.10.50"},
		{"pc.lab.test.", dns.TypeAAAA, "NOERROR soa lab.test."},
		{"six.lab.test.", dns.TypeAAAA, "NOERROR 10 IN AAAA fd00:10::6"},
		{"x.pc.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"wpad.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"wpad.", dns.TypeA, "NXDOMAIN soa wpad."},
		{`bad\ name.lab.test.`, dns.TypeA, "NXDOMAIN soa lab.test."},
		{`p\.c.lab.test.`, dns.TypeA, "NXDOMAIN soa lab.test."},
		{"none.lab.test.", dns.TypeA, "NXDOMAIN soa lab.test."},
		{"none.", dns.TypeA, "NXDOMAIN soa none."},
		{"none.", dns.TypeHTTPS, "NXDOMAIN soa none."},
		{"com.", dns.TypeDS, ""},
		{"com.", dns.TypeNS, ""},
		{".", dns.TypeNS, ""},
		{"lab.test.", dns.TypeSOA, "NOERROR 10 " + soa},
		{"lab.test.", dns.TypeNS, "NOERROR 60 IN NS kvm1.lab.test."},
		{"lab.test.", dns.TypeA, "NOERROR soa lab.test."},
		{"xlab.test.", dns.TypeA, ""},
		{"test.", dns.TypeSOA, ""},
		{"10.10.168.192.in-addr.arpa.", dns.TypePTR, "NOERROR 60 IN PTR web.lab.test."},
		{"1.10.168.192.IN-ADDR.arpa.", dns.TypePTR, "NOERROR 60 IN PTR kvm1.lab.test."},
		{"50.10.168.192.in-addr.arpa.", dns.TypePTR, "NOERROR 10 IN PTR pc.lab.test."},
		{"69.10.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."},
		{"50.10.168.192.in-addr.arpa.", dns.TypeA, "NOERROR soa 10.168.192.in-addr.arpa."},
		{"99.10.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."},
		{"x.99.10.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."},
		{"1.2.99.10.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."},
		{"099.10.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."},
		{"300.10.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 10.168.192.in-addr.arpa."},
		{"10.168.192.in-addr.arpa.", dns.TypeSOA, "NOERROR 10 " + soa},
		{"10.168.192.in-addr.arpa.", dns.TypeNS, "NOERROR 60 IN NS kvm1.lab.test."},
		{"168.192.in-addr.arpa.", dns.TypeSOA, ""},
		{"9.11.168.192.in-addr.arpa.", dns.TypePTR, ""},
		{"7.31.20.172.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 31.20.172.in-addr.arpa."},
		{"7.32.20.172.in-addr.arpa.", dns.TypePTR, ""},
		{"65.8.9.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN soa 65.8.9.10.in-addr.arpa."},
		{"5.8.9.10.in-addr.arpa.", dns.TypePTR, ""},
		{"in-addr.arpa.", dns.TypeNS, ""},
		{reverse("fd00:10::6"), dns.TypePTR, "NOERROR 10 IN PTR six.lab.test."},
		{reverse("fd00:10::7"), dns.TypePTR, "NXDOMAIN soa " + reverse("fd00:10::")[32:]},
		{"g." + reverse("fd00:10::7"), dns.TypePTR, "NXDOMAIN soa " + reverse("fd00:10::")[32:]},
		{reverse("fd00:11::7"), dns.TypePTR, ""},
		{"localhost.", dns.TypeAAAA, "NOERROR 60 IN AAAA ::1"},
		{"invalid.", dns.TypeA, "NXDOMAIN soa invalid."},
	} {
		m, ok := ask(t, z.Answer, c.name, c.qtype)
		got := ""
		if ok {
			got = brief(m)
			if !m.Authoritative || !m.RecursionAvailable || m.Question[0].Name != c.name {
				t.Errorf("%s: %v", c.name, m)
			}
		}
		if got != c.want {
			t.Errorf("%s %s:\n got %q\nwant %q", c.name, dns.TypeToString[c.qtype], got, c.want)
		}
	}
}

func reverse(s string) string { r, _ := dns.ReverseAddr(s); return r }

func TestSpecial(t *testing.T) {
	for name, want := range map[string]string{
		"localhost.":                         "NOERROR 60 IN A 127.0.0.1",
		"a.b.LocalHost.":                     "NOERROR 60 IN A 127.0.0.1",
		"x.invalid.":                         "NXDOMAIN soa invalid.",
		"x.onion.":                           "NXDOMAIN soa onion.",
		"x.alt.":                             "NXDOMAIN soa alt.",
		"_dns.resolver.arpa.":                "NOERROR soa resolver.arpa.",
		"1.2.3.10.in-addr.arpa.":             "NXDOMAIN soa 10.in-addr.arpa.",
		"10.in-addr.arpa.":                   "NOERROR soa 10.in-addr.arpa.",
		"1.1.31.172.in-addr.arpa.":           "NXDOMAIN soa 31.172.in-addr.arpa.",
		"1.1.32.172.in-addr.arpa.":           "",
		"1.1.168.192.in-addr.arpa.":          "NXDOMAIN soa 168.192.in-addr.arpa.",
		"1.0.65.100.in-addr.arpa.":           "NXDOMAIN soa 65.100.in-addr.arpa.",
		"8.8.8.8.in-addr.arpa.":              "",
		"arpa.":                              "",
		"home.arpa.":                         "NOERROR soa home.arpa.",
		"host.home.arpa.":                    "NXDOMAIN soa home.arpa.",
		"default.service.arpa.":              "NXDOMAIN soa service.arpa.",
		"nothome.arpa.":                      "",
		reverse("fd12::1"):                   "NXDOMAIN soa d.f.ip6.arpa.",
		reverse("fe80::1"):                   "NXDOMAIN soa 8.e.f.ip6.arpa.",
		reverse("2606:4700::1"):              "",
		"www.test.":                          "NXDOMAIN soa test.",
		"printer.local.":                     "NXDOMAIN soa local.",
		"www.office.internal.":               "NXDOMAIN soa internal.",
		"1.0.d.f.ip6.arpa.":                  "NXDOMAIN soa d.f.ip6.arpa.",
		"1.8.e.f.ip6.arpa.":                  "NXDOMAIN soa 8.e.f.ip6.arpa.",
		"1.8.b.d.0.1.0.0.2.ip6.arpa.":        "NXDOMAIN soa 8.b.d.0.1.0.0.2.ip6.arpa.",
		"3.10.in-addr.arpa.":                 "NXDOMAIN soa 10.in-addr.arpa.",
		"xlocalhost.":                        "",
		"localhost.example.org.":             "",
		".":                                  "",
		`x.\009invalid.`:                     "",
		"255.255.255.255.in-addr.arpa.":      "NXDOMAIN soa 255.255.255.255.in-addr.arpa.",
		"x.255.255.255.255.in-addr.arpa.":    "NXDOMAIN soa 255.255.255.255.in-addr.arpa.",
		"255.255.255.in-addr.arpa.":          "",
		strings.Repeat("a.", 122) + "onion.": "NXDOMAIN soa onion.",
	} {
		m, ok := ask(t, Special, name, dns.TypeA)
		got := ""
		if ok {
			got = brief(m)
		}
		if got != want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
	}
}

// Empty zones have SOA and NS (RFC 6303 section 3). A top-level domain's DS, and those
// of the insecure delegations in arpa, are asked of the root's servers.
func TestEmptyZonesHaveAnApex(t *testing.T) {
	for _, name := range []string{"10.in-addr.arpa.", "31.172.in-addr.arpa.", "d.f.ip6.arpa.", "home.arpa.", "service.arpa.", "resolver.arpa."} {
		for qtype, want := range map[uint16]string{
			dns.TypeSOA: "NOERROR 10 IN SOA localhost. hostmaster.invalid. 1 3600 600 86400 10",
			dns.TypeNS:  "NOERROR 60 IN NS localhost.",
		} {
			if m, ok := ask(t, Special, name, qtype); !ok || brief(m) != want {
				t.Errorf("%s %s: %s", name, dns.TypeToString[qtype], brief(m))
			}
		}
	}
	for _, name := range []string{"test.", "local.", "internal.", "home.arpa.", "service.arpa."} {
		if m, ok := ask(t, Special, name, dns.TypeDS); ok {
			t.Errorf("%s DS: %v", name, m)
		}
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`domain: name "a..b"`: func(c *Config) { c.Domain = "a..b" },
		`domain: name "."`:    func(c *Config) { c.Domain = "." },
	} {
		cfg := config()
		cfg.Hosts = slices.Clone(cfg.Hosts)
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A name that cannot be served costs only itself, and so does what a peer has.
func TestNamesThatAreLeftOut(t *testing.T) {
	cfg := config()
	cfg.HostNames = []string{"(none)", "host"}
	cfg.Hosts = append(slices.Clone(cfg.Hosts),
		Host{Name: "my host"}, Host{Name: ""}, Host{Name: "büro", Addrs: cfg.HostAddrs}, Host{Name: strings.Repeat("a.", 125) + "a"})
	cfg.Peers = []Config{
		{Domain: "peer.test", HostNames: []string{"a..b", "host"}, HostAddrs: cfg.HostAddrs, Records: []Record{{Name: "x", Type: "A", Value: "none"}}},
		{Domain: "no..domain"},
	}
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"host.lab.test.": "NOERROR 60 IN A 192.168.10.1", "web.lab.test.": "NOERROR 60 IN A 192.168.10.10", "host.peer.test.": "NOERROR 60 IN A 192.168.10.1",
	} {
		if m, ok := ask(t, z.Answer, name, dns.TypeA); !ok || brief(m) != want {
			t.Errorf("%s: %s", name, brief(m))
		}
	}
	if m, _ := ask(t, z.Answer, "lab.test.", dns.TypeNS); brief(m) != "NOERROR 60 IN NS host.lab.test." {
		t.Error(brief(m))
	}
	if got := z.LeftOut(); len(got) != 8 {
		t.Errorf("%d left out: %v", len(got), got)
	}
}

func TestZoneWithoutDomainOrHostNames(t *testing.T) {
	cfg := config()
	cfg.Domain, cfg.HostNames = "", nil
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := ask(t, z.Answer, "pc.", dns.TypeA); !ok || len(m.Answer) != 1 {
		t.Error(m)
	}
	if m, ok := ask(t, z.Answer, "50.10.168.192.in-addr.arpa.", dns.TypePTR); !ok || brief(m) != "NOERROR 10 IN PTR pc." {
		t.Error(m)
	}
	if m, ok := ask(t, z.Answer, "pc.lab.test.", dns.TypeA); ok {
		t.Error(m)
	}
	cfg.Domain = "lab.test"
	if z, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if m, _ := ask(t, z.Answer, "lab.test.", dns.TypeA); brief(m) != "NOERROR 60 IN A 192.168.10.1" {
		t.Error(m)
	}
	if m, _ := ask(t, z.Answer, "lab.test.", dns.TypeNS); brief(m) != "NOERROR 60 IN NS lab.test." {
		t.Error(m)
	}
}

func TestAnswerAllocatesNothing(t *testing.T) {
	cfg := config()
	cfg.Names = fixed{[]netip.Addr{addr("192.168.10.50")}}
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web.lab.test.", "pc.lab.test.", "none.x.lab.test.", "50.10.168.192.in-addr.arpa.", reverse("fd00:10::7")} {
		b, _ := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		q, buf := new(wire.Query), make([]byte, 0, 512)
		got := testing.AllocsPerRun(100, func() {
			wire.Parse(b, q)
			if _, ok := z.Answer(buf, q); !ok {
				t.Fatal(name)
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

type fixed struct{ addrs []netip.Addr }

func (f fixed) Addrs(string) []netip.Addr      { return f.addrs }
func (f fixed) Name(netip.Addr) (string, bool) { return "pc", true }

// In a domain that is shared with a server outside, only names that are here are
// answered here.
func TestSharedDomain(t *testing.T) {
	cfg := config()
	cfg.Shared = true
	z, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, here := range map[string]bool{
		"web.lab.test.": true, "pc.lab.test.": true, "kvm1.lab.test.": true,
		"nope.lab.test.": false, "lab.test.": false, "deep.lab.test.": true, "x.web.lab.test.": false,
	} {
		if _, ok := ask(t, z.Answer, name, dns.TypeA); ok != here {
			t.Errorf("%s: answered %v, want %v", name, ok, here)
		}
	}
}
