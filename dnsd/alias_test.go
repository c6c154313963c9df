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
