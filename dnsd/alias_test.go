package dnsd

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// aliases serves a zone with aliases of names outside, on lo.
func aliases(t *testing.T, listen string, change func(*Config)) (at string, up *upstream) {
	t.Helper()
	up = newUpstream(t, "127.0.0.1:0")
	up.answer(func(m, reply *dns.Msg, network string) {
		q := m.Question[0]
		switch strings.ToLower(q.Name) { // letters are random
		case "www.example.org.":
			reply.Answer = rrs(q.Name+" 300 IN CNAME web.example.org.", "web.example.org. 300 IN A 192.0.2.1")
		case "big.example.org.":
			if reply.Truncated = network == "udp"; !reply.Truncated {
				reply.Answer = rrs(q.Name + " 300 IN TXT" + strings.Repeat(" "+strings.Repeat("x", 250), 6))
			}
		case "broken.example.org.":
			reply.Rcode = dns.RcodeServerFailure
		default:
			reply.Rcode, reply.Ns = dns.RcodeNameError, rrs("example.org. 300 IN SOA ns.example.org. h.example.org. 1 2 3 4 300")
		}
	})
	cfg := Config{
		Network: "lab", Interface: "lo", Listen: []netip.Addr{addr(listen)}, Port: 5399, Domain: "lab.test", Forward: true,
		Forwarders: []Forwarder{{Address: mustAddrPort(up.addr)}},
		Records: []Record{
			{Name: "out", Type: "CNAME", Value: "WWW.example.org."},
			{Name: "far", Type: "CNAME", Value: "out"},
			{Name: "none", Type: "CNAME", Value: "none.example.org."},
			{Name: "big", Type: "CNAME", Value: "big.example.org."},
			{Name: "broken", Type: "CNAME", Value: "broken.example.org."},
			{Name: "hidden", Type: "CNAME", Value: "abc.onion."},
			{Name: "*.any", Type: "CNAME", Value: "www.example.org."},
		},
	}
	change(&cfg)
	start(t, resolvConf(t), cfg)
	return listen + ":5399", up
}

func rrs(lines ...string) (out []dns.RR) {
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			panic(err)
		}
		out = append(out, rr)
	}
	return out
}

func exchange(t testing.TB, network, at, name string, qtype uint16, change func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	if change != nil {
		change(m)
	}
	reply, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(m, at)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return reply
}

// gist is an answer's code and records, without TTLs.
func gist(m *dns.Msg) string {
	out := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(append(f[:1:1], f[3:]...), " "))
	}
	for _, rr := range m.Ns {
		out = append(out, "soa "+rr.Header().Name)
	}
	return strings.Join(out, ", ")
}

func TestAliasesOfNamesOutside(t *testing.T) {
	at, up := aliases(t, "127.0.0.21", func(*Config) {})
	for name, want := range map[string]string{
		"out.lab.test.":    "NOERROR, out.lab.test. CNAME WWW.example.org., www.example.org. CNAME web.example.org., web.example.org. A 192.0.2.1",
		"Far.lab.test.":    "NOERROR, Far.lab.test. CNAME out.lab.test., out.lab.test. CNAME WWW.example.org., www.example.org. CNAME web.example.org., web.example.org. A 192.0.2.1",
		"x.any.lab.test.":  "NOERROR, x.any.lab.test. CNAME www.example.org., www.example.org. CNAME web.example.org., web.example.org. A 192.0.2.1",
		"none.lab.test.":   "NXDOMAIN, none.lab.test. CNAME none.example.org., soa example.org.",
		"broken.lab.test.": "SERVFAIL, broken.lab.test. CNAME broken.example.org.",
		"hidden.lab.test.": "NXDOMAIN, hidden.lab.test. CNAME abc.onion., soa onion.",
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := exchange(t, network, at, name, dns.TypeA, nil)
			if got := gist(m); got != want || !m.Authoritative || !m.RecursionAvailable || m.Question[0].Name != name || m.IsEdns0() != nil {
				t.Errorf("%s %s:\n got %q\nwant %q\n%v", network, name, got, want, m)
			}
		}
	}
	alone := exchange(t, "udp", at, "out.lab.test.", dns.TypeA, func(m *dns.Msg) { m.RecursionDesired = false })
	if got := gist(alone); got != "NOERROR, out.lab.test. CNAME WWW.example.org." {
		t.Errorf("without recursion: %q", got)
	}
	asked := map[string]int{}
	for _, q := range up.queries() {
		asked[q]++
		if strings.Contains(q, "lab.test") {
			t.Errorf("leaked upstream: %s", q)
		}
	}
	if asked["www.example.org. A udp"] != 1 {
		t.Errorf("upstream was asked %v", asked)
	}
}

func TestLongAnswerBehindAlias(t *testing.T) {
	at, _ := aliases(t, "127.0.0.22", func(*Config) {})
	edns := func(m *dns.Msg) { m.SetEdns0(4096, true) }
	m := exchange(t, "udp", at, "big.lab.test.", dns.TypeTXT, edns)
	if !m.Truncated || len(m.Answer) != 0 || m.IsEdns0() == nil || !m.IsEdns0().Do() {
		t.Errorf("over UDP: %v", m)
	}
	if m = exchange(t, "tcp", at, "big.lab.test.", dns.TypeTXT, edns); m.Truncated || len(m.Answer) != 2 {
		t.Errorf("over TCP: %v", m)
	}
}

func TestAliasWithoutForwarding(t *testing.T) {
	at, up := aliases(t, "127.0.0.23", func(c *Config) { c.Forward, c.Forwarders = false, nil })
	if got := gist(exchange(t, "udp", at, "out.lab.test.", dns.TypeA, nil)); got != "NOERROR, out.lab.test. CNAME WWW.example.org." {
		t.Errorf("got %q", got)
	}
	if q := up.queries(); len(q) > 0 {
		t.Errorf("upstream was asked %q", q)
	}
}

// A hundred who ask at once wait for one question upstream; who comes between its
// answer and the cache may cause another.
func TestHundredAskForAnAlias(t *testing.T) {
	at, up := aliases(t, "127.0.0.24", func(*Config) {})
	release := up.hold()
	var wg sync.WaitGroup
	answers := make(chan string, 100)
	for range cap(answers) {
		wg.Go(func() {
			m, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(new(dns.Msg).SetQuestion("out.lab.test.", dns.TypeA), at)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- gist(m)
		})
	}
	eventually(t, "upstream is asked", func() bool { return len(up.queries()) > 0 })
	release()
	wg.Wait()
	close(answers)
	for got := range answers {
		if !strings.HasSuffix(got, "web.example.org. A 192.0.2.1") {
			t.Fatalf("got %q", got)
		}
	}
	if q := up.queries(); len(q) > 5 {
		t.Errorf("upstream was asked %d times", len(q))
	}
}

// What an upstream says of a name of ours, of a peer's or of another forwarder's domain
// does not reach a guest: an alias that leads there is followed here, and only as far as
// this network may see. So it is from the cache.
func TestAliasesThatLeadBack(t *testing.T) {
	corp := newUpstream(t, "127.0.0.1:0")
	corp.answer(func(m, reply *dns.Msg, _ string) { reply.Answer = rrs(m.Question[0].Name + " 60 IN A 10.66.0.7") })
	var mine string
	at, up := aliases(t, "127.0.0.13", func(c *Config) {
		c.Records = []Record{
			{Name: "web", Type: "A", Value: "10.20.0.10"},
			{Name: "back", Type: "CNAME", Value: "into.example.org."},
			{Name: "round", Type: "CNAME", Value: "round.example.org."},
		}
		c.Peers = []Config{{Domain: "peer.test", Records: []Record{{Name: "db", Type: "A", Value: "10.21.0.10"}}}}
		c.Forwarders = append(c.Forwarders, Forwarder{Domain: "corp.example", Address: mustAddrPort(corp.addr)})
		c.Reverse = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}
		mine = c.Network
	})
	forged := func(q dns.Question, target string) []dns.RR {
		return rrs(q.Name+" 60 IN CNAME "+target, target+" 60 IN A 6.6.6.6", target+" 60 IN A 10.6.6.6")
	}
	up.answer(func(m, reply *dns.Msg, _ string) {
		q := m.Question[0]
		switch name := strings.ToLower(q.Name); name {
		case "into.example.org.":
			reply.Answer = forged(q, "WEB.lab.test.")
		case "two.example.org.":
			reply.Answer = append(rrs(q.Name+" 60 IN CNAME far.example.org."), append(rrs("far.example.org. 60 IN CNAME web.lab.test."), rrs("web.lab.test. 60 IN A 6.6.6.6")...)...)
		case "gone.example.org.":
			reply.Answer = forged(q, "gone.lab.test.")
		case "peer.example.org.":
			reply.Answer = forged(q, "db.peer.test.")
		case "other.example.org.": // no network that this one may see
			reply.Answer = rrs(q.Name+" 60 IN CNAME www.elsewhere.net.", "www.elsewhere.net. 60 IN A 192.0.2.9")
		case "corp.example.org.":
			reply.Answer = forged(q, "app.corp.example.")
		case "bare.example.org.":
			reply.Answer = forged(q, "web.")
		case "ptr.example.org.":
			reply.Answer = rrs(q.Name+" 60 IN CNAME 10.0.20.10.in-addr.arpa.", "10.0.20.10.in-addr.arpa. 60 IN PTR evil.example.org.")
		case "round.example.org.":
			reply.Answer = forged(q, "round.lab.test.")
		case "dname.example.org.":
			reply.Answer = append(rrs("example.org. 60 IN DNAME lab.test."), rrs(q.Name+" 60 IN CNAME web.lab.test.", "web.lab.test. 60 IN A 6.6.6.6")...)
		}
	})
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"into.example.org.", dns.TypeA, "NOERROR, into.example.org. CNAME web.lab.test., web.lab.test. A 10.20.0.10"},
		{"into.example.org.", dns.TypeTXT, "NOERROR, into.example.org. CNAME web.lab.test., soa lab.test."},
		{"two.example.org.", dns.TypeA, "NOERROR, two.example.org. CNAME far.example.org., far.example.org. CNAME web.lab.test., web.lab.test. A 10.20.0.10"},
		{"back.lab.test.", dns.TypeA, "NOERROR, back.lab.test. CNAME into.example.org., into.example.org. CNAME web.lab.test., web.lab.test. A 10.20.0.10"},
		{"gone.example.org.", dns.TypeA, "NXDOMAIN, gone.example.org. CNAME gone.lab.test., soa lab.test."},
		{"peer.example.org.", dns.TypeA, "NOERROR, peer.example.org. CNAME db.peer.test., db.peer.test. A 10.21.0.10"},
		{"other.example.org.", dns.TypeA, "NOERROR, other.example.org. CNAME www.elsewhere.net., www.elsewhere.net. A 192.0.2.9"},
		{"corp.example.org.", dns.TypeA, "NOERROR, corp.example.org. CNAME app.corp.example., app.corp.example. A 10.66.0.7"},
		{"bare.example.org.", dns.TypeA, "NOERROR, bare.example.org. CNAME web., web. A 10.20.0.10"},
		{"ptr.example.org.", dns.TypePTR, "NOERROR, ptr.example.org. CNAME 10.0.20.10.in-addr.arpa., 10.0.20.10.in-addr.arpa. PTR web.lab.test."},
		{"into.example.org.", dns.TypeCNAME, "NOERROR, into.example.org. CNAME web.lab.test."},
		{"dname.example.org.", dns.TypeA, "NOERROR, example.org. DNAME lab.test., dname.example.org. CNAME web.lab.test., web.lab.test. A 10.20.0.10"},
		{"round.lab.test.", dns.TypeA, "SERVFAIL"},
	} {
		for _, network := range []string{"udp", "tcp", "udp"} {
			m := exchange(t, network, at, c.name, c.qtype, nil)
			got := strings.ReplaceAll(gist(m), "WEB", "web")
			if c.want == "SERVFAIL" {
				got, _, _ = strings.Cut(got, ",")
			}
			if got != c.want {
				t.Errorf("%s of %s %s %s:\n got %s\nwant %s", mine, c.name, dns.TypeToString[c.qtype], network, got, c.want)
			}
		}
	}
}

// With rebind protection, a name outside leads to a private address by no way: neither
// through a name of ours, nor through another forwarder's domain.
func TestRebindingByAnAlias(t *testing.T) {
	corp := newUpstream(t, "127.0.0.1:0")
	corp.answer(func(m, reply *dns.Msg, _ string) { reply.Answer = rrs(m.Question[0].Name + " 60 IN A 10.66.0.7") })
	at, up := aliases(t, "127.0.0.14", func(c *Config) {
		c.Records = []Record{
			{Name: "web", Type: "A", Value: "10.20.0.10"},
			{Name: "shop", Type: "A", Value: "192.0.2.80"},
			{Name: "web", Type: "HTTPS", Value: "1 . ipv4hint=10.20.0.10"},
			{Name: "out", Type: "CNAME", Value: "into.example.org."},
		}
		c.Forwarders = append(c.Forwarders, Forwarder{Domain: "corp.example", Address: mustAddrPort(corp.addr)})
		c.RebindProtection = true
	})
	up.answer(func(m, reply *dns.Msg, _ string) {
		target := map[string]string{"into.example.org.": "web.lab.test.", "shop.example.org.": "shop.lab.test.", "corp.example.org.": "app.corp.example."}[strings.ToLower(m.Question[0].Name)]
		reply.Answer = rrs(m.Question[0].Name + " 60 IN CNAME " + target)
	})
	for name, want := range map[string]string{
		"into.example.org. A": "REFUSED", "into.example.org. HTTPS": "REFUSED", "corp.example.org. A": "REFUSED", "shop.example.org. A": "NOERROR",
		"web.lab.test. A": "NOERROR", "app.corp.example. A": "NOERROR", "out.lab.test. A": "REFUSED",
	} {
		name, typ, _ := strings.Cut(name, " ")
		for range 2 {
			if m := exchange(t, "udp", at, name, dns.StringToType[typ], nil); dns.RcodeToString[m.Rcode] != want {
				t.Errorf("%s %s: %s, want %s", name, typ, dns.RcodeToString[m.Rcode], want)
			}
		}
	}
}
