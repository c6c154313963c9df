package dnsd

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// took asks for name and returns for how long it had to wait.
func took(t *testing.T, name string) time.Duration {
	t.Helper()
	c := dial(t, "guest", "udp", "192.168.10.1:53")
	defer c.Close()
	began := time.Now()
	if _, err := c.Write(pack(t, question(name, dns.TypeA))); err != nil {
		t.Fatal(err)
	}
	// Beside a test that floods, the kernel may drop a packet: it is sent once more.
	again := time.AfterFunc(5*time.Second, func() { _, _ = c.Write(pack(t, question(name, dns.TypeA))) })
	defer again.Stop()
	if m := read(t, c); m.Rcode != dns.RcodeSuccess {
		t.Fatalf("%s: %v", name, m)
	}
	return time.Since(began)
}

// Breaks when upstreams do not rest: then each query waits for the silent one.
func TestDeadUpstreamCostsItsTimeOutOnce(t *testing.T) {
	needWorld(t)
	good := newUpstream(t, "127.0.0.2:5302")
	silent := newUpstream(t, "127.0.0.4:5301")
	release := silent.hold()
	defer release()
	_, log := start(t, resolvConf(t), via(silent, good))
	var times []time.Duration
	for i := range 50 {
		times = append(times, took(t, fmt.Sprint("n", i, ".example.org.")))
	}
	slices.Sort(times)
	slow := slices.IndexFunc(times, func(d time.Duration) bool { return d > 100*time.Millisecond })
	t.Logf("50 queries, first upstream dead: median %v, slowest %v, %d waited for it", times[25], times[49], 50-max(slow, 0))
	if times[47] >= 250*time.Millisecond {
		t.Errorf("more than two queries waited: %v", times[40:])
	}
	release()
	eventually(t, "the first one is used again when it answers", func() bool {
		before := len(good.queries())
		took(t, fmt.Sprint("m", time.Now().UnixNano(), ".example.org."))
		return log.has("marked up") && len(good.queries()) == before
	})
}

// A slow answer is taken although another upstream was asked in the meantime.
func TestLateAnswerCounts(t *testing.T) {
	needWorld(t)
	slow := newUpstream(t, "127.0.0.2:5302")
	silent := newUpstream(t, "127.0.0.4:5301")
	release := silent.hold()
	defer release()
	slow.answer(func(m, reply *dns.Msg, network string) {
		time.Sleep(1500 * time.Millisecond)
		slow.plain(m, reply, network)
	})
	start(t, resolvConf(t), via(slow, silent))
	if d := took(t, "www.example.org."); d < 1400*time.Millisecond || d > 2500*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
}

func TestLettersAreVariedUnlessAServerCannotCope(t *testing.T) {
	needWorld(t)
	var mu sync.Mutex
	names := map[string]int{}
	note := func(m *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		names[m.Question[0].Name]++
	}
	good := newUpstream(t, "127.0.0.2:5302")
	good.answer(func(m, reply *dns.Msg, network string) { note(m); good.plain(m, reply, network) })
	good.ttl.Store(0)
	start(t, resolvConf(t), via(good))
	for range 8 {
		took(t, "a-name-of-many-letters.example.org.")
	}
	mu.Lock()
	if len(names) != 8 {
		t.Errorf("names in case %v, want eight different", names)
	}
	clear(names)
	mu.Unlock()

	lower := newUpstream(t, "127.0.0.3:5303")
	lower.answer(func(m, reply *dns.Msg, network string) {
		note(m)
		reply.Question[0].Name = strings.ToLower(reply.Question[0].Name)
		lower.plain(reply, reply, network)
	})
	lower.ttl.Store(0)
	_, log := start(t, resolvConf(t), Config{
		Network: "other", Interface: "br1", Listen: []netip.Addr{addr("192.168.20.1")}, Forward: true,
		Forwarders: []Forwarder{{Address: mustAddrPort(lower.addr)}},
	})
	for range 3 {
		want(t, dig(t, "alien", "@192.168.20.1", "a-name-of-many-letters.example.org"), "NOERROR")
	}
	if got := lower.queries(); len(got) != 4 || !strings.HasSuffix(got[1], "tcp") || !strings.HasSuffix(got[3], "udp") {
		t.Errorf("asked %q: want once over TCP, then in lower case over UDP", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if names["a-name-of-many-letters.example.org."] != 2 || !log.has("upstream does not preserve query case") {
		t.Errorf("asked %v", names)
	}
}

// Somebody who guesses ids on the right port is noticed, and not answered to.
func TestGuessedIdsLeadToTCP(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.3:5302") // for its TCP
	pc, err := net.ListenPacket("udp", "127.0.0.2:5302")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	l, err := net.Listen("tcp", "127.0.0.2:5302")
	if err != nil {
		t.Fatal(err)
	}
	tcp := &dns.Server{Listener: l, Handler: up}
	go tcp.ActivateAndServe() //nolint:errcheck // ends with Shutdown
	t.Cleanup(func() { _ = tcp.Shutdown() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			m := new(dns.Msg)
			_ = m.Unpack(buf[:n])
			r := new(dns.Msg).SetReply(m)
			rr, _ := dns.NewRR(m.Question[0].Name + " 300 IN A 192.0.2.66")
			r.Answer = []dns.RR{rr}
			for range 40 {
				r.Id++
				b, _ := r.Pack()
				_, _ = pc.WriteTo(b, from)
			}
		}
	}()
	_, log := start(t, resolvConf(t), via(&upstream{addr: "127.0.0.2:5302"}))
	a := dig(t, "guest", "@192.168.10.1", "www.example.org")
	if len(a.lines) != 1 || a.lines[0] != "www.example.org. A 192.0.2.1" || !log.has("switching to TCP") {
		t.Errorf("got\n%s", a)
	}
}

func TestPortsChange(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	pc, err := net.ListenPacket("udp", "127.0.0.2:5303")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ports, ids := map[string]int{}, map[uint16]bool{}
	var mu sync.Mutex
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			m := new(dns.Msg)
			_ = m.Unpack(buf[:n])
			mu.Lock()
			ports[from.String()]++
			ids[m.Id] = true
			mu.Unlock()
			r := new(dns.Msg).SetReply(m)
			up.plain(m, r, "udp")
			b, _ := r.Pack()
			_, _ = pc.WriteTo(b, from)
		}
	}()
	start(t, resolvConf(t), via(&upstream{addr: "127.0.0.2:5303"}))
	for i := range 640 {
		took(t, fmt.Sprint("n", i, ".example.org."))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ports) < 10 || len(ids) < 600 {
		t.Errorf("640 queries from %d ports with %d ids", len(ports), len(ids))
	}
	for port, n := range ports {
		if n > 64 {
			t.Errorf("%d queries from %s", n, port)
		}
	}
}

// hints are values of HTTPS and SVCB records.
var hints = map[string]string{
	"hint4": "1 . alpn=h2 ipv4hint=192.0.2.1,10.0.0.5", "hint6": "1 svc.example.org. ipv6hint=fd00::5",
	"hintnat64": "2 . port=8443 ipv6hint=64:ff9b::a00:5", "hintpublic": "1 . alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
}

func TestRebindProtection(t *testing.T) {
	needWorld(t)
	outside, corp := newUpstream(t, "127.0.0.2:5302"), newUpstream(t, "127.0.0.2:5303")
	for _, u := range []*upstream{outside, corp} {
		u.answer(func(m, reply *dns.Msg, _ string) {
			first, _, _ := strings.Cut(m.Question[0].Name, ".")
			a := strings.NewReplacer("-", ".", "x", ":").Replace(strings.ToLower(first))
			a = cmp.Or(hints[a], a)
			if rr, err := dns.NewRR(m.Question[0].Name + " 60 IN " + dns.TypeToString[m.Question[0].Qtype] + " " + a); err == nil {
				reply.Answer = []dns.RR{rr}
			}
		})
	}
	cfg := via(outside)
	cfg.Forwarders = append(cfg.Forwarders, Forwarder{Domain: "corp.example", Address: mustAddrPort(corp.addr)})
	cfg.RebindProtection = true
	other := Config{
		Network: "other", Interface: "br1", Listen: []netip.Addr{addr("192.168.20.1")}, Forward: true,
		Forwarders: []Forwarder{{Address: mustAddrPort(outside.addr)}},
	}
	_, log := start(t, resolvConf(t), cfg, other)
	for name, status := range map[string]string{
		"192-0-2-1.example.org A": "NOERROR", "2001xdb8xx1.example.org AAAA": "NOERROR",
		"10-0-0-1.example.org A": "REFUSED", "172-16-0-1.example.org A": "REFUSED", "192-168-10-1.example.org A": "REFUSED",
		"127-0-0-1.example.org A": "REFUSED", "0-0-0-0.example.org A": "REFUSED", "169-254-169-254.example.org A": "REFUSED",
		"100-64-0-1.example.org A": "REFUSED", "xx1.example.org AAAA": "REFUSED", "fd00xx1.example.org AAAA": "REFUSED",
		"fe80xx1.example.org AAAA": "REFUSED", "xxffffx10-0-0-1.example.org AAAA": "REFUSED",
		"64xff9bxx10-0-0-1.example.org AAAA": "REFUSED", "64xff9bxx192-0-2-1.example.org AAAA": "NOERROR", "64xff9bx1xx1.example.org AAAA": "REFUSED",
		"2002xa00x1xx1.example.org AAAA": "REFUSED", "2002xc000x201xx1.example.org AAAA": "NOERROR", "fec0xx1.example.org AAAA": "REFUSED",
		"2001x0xc000x201xx3fffxfdfe.example.org AAAA": "NOERROR", "2001x0xc000x201xxf5ffxfffe.example.org AAAA": "REFUSED",
		"2001x0xa00x1xx3fffxfdfe.example.org AAAA": "REFUSED", "2001xdb8xx5efex10-0-0-1.example.org AAAA": "REFUSED",
		"xx10-0-0-1.example.org AAAA": "REFUSED", "xxffffx0x10-0-0-1.example.org AAAA": "REFUSED", "xxffffx192-0-2-1.example.org AAAA": "NOERROR",
		"hint4.example.org HTTPS": "REFUSED", "hint6.example.org HTTPS": "REFUSED", "hintnat64.example.org SVCB": "REFUSED", "hintpublic.example.org HTTPS": "NOERROR",
		"10-0-0-1.corp.example A": "NOERROR", "hint4.corp.example HTTPS": "NOERROR",
	} {
		for range 2 { // the second time from the cache
			if a := dig(t, "guest", append(strings.Fields(name), "@192.168.10.1")...); a.status != status {
				t.Errorf("%s: want %s\n%s", name, status, a)
			}
		}
	}
	if !log.has("DNS rebinding") {
		t.Error("nothing was said")
	}
	want(t, dig(t, "alien", "@192.168.20.1", "10-0-0-1.example.org"), "NOERROR")
	if a := dig(t, "alien", "@192.168.20.1", "10-0-0-1.example.org"); len(a.lines) != 1 {
		t.Errorf("refused where nobody asked for it\n%s", a)
	}
}

func TestStaleIsBetterThanNothing(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	up.ttl.Store(1)
	start(t, resolvConf(t), via(up))
	took(t, "silent.example.org.")
	took(t, "broken.example.org.")
	release := up.hold()
	defer release()
	time.Sleep(1100 * time.Millisecond)
	d := took(t, "silent.example.org.")
	if d < 1500*time.Millisecond || d > 2500*time.Millisecond {
		t.Errorf("stale answer after %v, want about 1.8 s", d)
	}
	release()
	up.answer(func(_, reply *dns.Msg, _ string) { reply.Rcode = dns.RcodeServerFailure })
	for range 2 { // the second time at once, without asking
		a := dig(t, "guest", "@192.168.10.1", "broken.example.org")
		if a.status != "NOERROR" || len(a.lines) != 1 {
			t.Errorf("want the stale answer\n%s", a)
		}
	}
	if q := strings.Count(strings.Join(up.queries(), "\n"), "broken"); q != 2 {
		t.Errorf("asked %d times, want once more after the first", q)
	}
}

func TestHotNamesAreNeverWaitedFor(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	var slow atomic.Bool
	up.answer(func(m, reply *dns.Msg, network string) {
		if slow.Load() {
			time.Sleep(200 * time.Millisecond)
		}
		up.plain(m, reply, network)
	})
	up.ttl.Store(10)
	start(t, resolvConf(t), via(up))
	took(t, "hot.example.org.")
	slow.Store(true)
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if d := took(t, "hot.example.org."); d > 150*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	}
	if q := up.queries(); len(q) != 2 {
		t.Errorf("asked %q, want a second time ahead of the end", q)
	}
}

// Two servers that send each other all they do not know. Breaks when loops are
// not noticed: then a question lives on until its time is up, on both.
func TestLoopOfTwoServersIsBroken(t *testing.T) {
	needWorld(t)
	a, b := lab(), lab()
	a.Forwarders = []Forwarder{{Address: mustAddrPort("192.168.20.1:53")}}
	b.Network, b.Interface, b.Domain, b.Reverse = "other", "br1", "other.test", nil
	b.Listen = []netip.Addr{addr("192.168.20.1")}
	b.Forwarders = []Forwarder{{Address: mustAddrPort("192.168.10.1:53")}}
	_, logA := start(t, resolvConf(t), a)
	_, logB := start(t, resolvConf(t), b)
	began := time.Now()
	want(t, dig(t, "guest", "+timeout=8", "@192.168.10.1", "www.example.org"), "SERVFAIL")
	t.Logf("answered after %v", time.Since(began))
	if !logA.has("sends our queries back") && !logB.has("sends our queries back") {
		t.Error("the loop was not noticed")
	}
}

// A stub waits for five seconds: SERVFAIL comes before, whatever the
// upstreams are, how many there are, and however many aliases led to the one that is
// silent.
func TestServfailComesBeforeAStubGivesUp(t *testing.T) {
	deaf := func() netip.AddrPort {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return mustAddrPort(c.LocalAddr().String())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tls := mustAddrPort(l.Addr().String())
	slow := newUpstream(t, "127.0.0.1:0")
	slow.answer(func(m, reply *dns.Msg, _ string) {
		time.Sleep(800 * time.Millisecond)
		reply.Answer = rrs(m.Question[0].Name + " 60 IN CNAME www.silent.example.")
	})
	cut := newUpstream(t, "127.0.0.1:0") // over UDP only a TC bit, over TCP nothing
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	cut.answer(func(m, reply *dns.Msg, network string) {
		if reply.Truncated = true; network == "tcp" {
			<-release
		}
	})
	start(t, resolvConf(t), Config{
		Network: "lab", Interface: "lo", Listen: []netip.Addr{addr("127.0.0.18")}, Port: 5399, Domain: "lab.test", Forward: true,
		Records: []Record{{Name: "out", Type: "CNAME", Value: "www.slow.example."}},
		Forwarders: []Forwarder{
			{Domain: "silent.example", Address: deaf()},
			{Domain: "three.example", Address: deaf()},
			{Domain: "three.example", Address: deaf()},
			{Domain: "three.example", Address: deaf()},
			{Domain: "tls.example", Address: tls, TLS: "ns.example"},
			{Domain: "mixed.example", Address: tls, TLS: "ns.example"},
			{Domain: "mixed.example", Address: deaf()},
			{Domain: "slow.example", Address: mustAddrPort(slow.addr)},
			{Domain: "cut.example", Address: mustAddrPort(cut.addr)},
		},
	})
	var all sync.WaitGroup
	for _, name := range []string{"www.silent.example.", "www.three.example.", "www.tls.example.", "www.mixed.example.", "www.slow.example.", "www.cut.example.", "out.lab.test."} {
		for _, network := range []string{"udp", "tcp"} {
			all.Go(func() {
				m := question(name, dns.TypeA)
				m.SetEdns0(1232, false)
				reply, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(m, "127.0.0.18:5399")
				switch {
				case err != nil:
					t.Errorf("%s by %s: %v", name, network, err)
				case reply.Rcode != dns.RcodeServerFailure:
					t.Errorf("%s by %s: %v", name, network, reply)
				}
			})
		}
	}
	all.Wait()
}
