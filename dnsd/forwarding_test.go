package dnsd

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// via is lab with these servers for everything.
func via(servers ...*upstream) Config {
	cfg := lab()
	for _, u := range servers {
		cfg.Forwarders = append(cfg.Forwarders, Forwarder{Address: mustAddrPort(u.addr)})
	}
	return cfg
}

func want(t *testing.T, a answer, status string) {
	t.Helper()
	if a.status != status {
		t.Errorf("want %s\n%s", status, a)
	}
}

func TestForwardersByDomain(t *testing.T) {
	needWorld(t)
	host, corp, deep := newUpstream(t, "127.0.0.1:53"), newUpstream(t, "127.0.0.2:5302"), newUpstream(t, "127.0.0.2:5303")
	cfg := lab()
	cfg.Forwarders = []Forwarder{
		{Domain: "corp.example", Address: mustAddrPort(corp.addr)},
		{Domain: "Deep.corp.example.", Address: mustAddrPort(deep.addr)},
		{Domain: "10.in-addr.arpa", Address: mustAddrPort(corp.addr)},
	}
	start(t, resolvConf(t, "127.0.0.1"), cfg)
	for name, u := range map[string]*upstream{
		"www.example.org": host, "notcorp.example": host, "corp.example": corp, "a.CORP.example": corp,
		"deep.corp.example": deep, "x.y.deep.corp.example": deep, "1.0.0.10.in-addr.arpa": corp,
	} {
		before := len(u.queries())
		want(t, dig(t, "guest", "@192.168.10.1", name), "NOERROR")
		if len(u.queries()) != before+1 {
			t.Errorf("%s went elsewhere", name)
		}
	}
}

func TestSecondQuestionComesFromTheCache(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	start(t, resolvConf(t), via(up))
	for range 3 {
		want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOERROR")
		want(t, dig(t, "guest", "@192.168.10.1", "www.example.org", "AAAA"), "NOERROR")
		want(t, dig(t, "guest", "@192.168.10.1", "WWW.example.ORG", "+tcp"), "NOERROR")
	}
	if n := len(up.queries()); n != 2 {
		t.Errorf("upstream was asked %d times: %q", n, up.queries())
	}
	up.ttl.Store(0)
	for range 2 {
		want(t, dig(t, "guest", "@192.168.10.1", "zero.example.org"), "NOERROR")
	}
	if n := len(up.queries()); n != 4 {
		t.Errorf("TTL 0 was kept: %q", up.queries())
	}
}

func TestNetworksShareNoAnswersUnlessTheyAskTheSame(t *testing.T) {
	needWorld(t)
	a, b := newUpstream(t, "127.0.0.2:5302"), newUpstream(t, "127.0.0.2:5303")
	other := func(u *upstream) Config {
		return Config{
			Network: "other", Interface: "br1", Listen: []netip.Addr{addr("192.168.20.1")},
			Forward: true, Forwarders: []Forwarder{{Address: mustAddrPort(u.addr)}},
		}
	}
	s, _ := start(t, resolvConf(t), via(a), other(b))
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOERROR")
	want(t, dig(t, "alien", "@192.168.20.1", "www.example.org"), "NOERROR")
	if len(a.queries()) != 1 || len(b.queries()) != 1 {
		t.Errorf("asked %q and %q, want one each", a.queries(), b.queries())
	}
	if err := s.Set(other(a)); err != nil {
		t.Fatal(err)
	}
	want(t, dig(t, "alien", "@192.168.20.1", "www.example.org"), "NOERROR")
	if len(a.queries()) != 1 {
		t.Errorf("equal forwarding does not share: %q", a.queries())
	}
}

// Breaks when flights are not joined: then upstream hears eight questions.
func TestEqualQuestionsTravelTogether(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	start(t, resolvConf(t), via(up))
	release := up.hold()
	defer release()
	var clients []net.Conn
	for i := range 8 {
		c := dial(t, "guest", "udp", "192.168.10.1:53")
		m := question("WWW.example.org.", dns.TypeA)
		m.Id = uint16(i)
		if _, err := c.Write(pack(t, m)); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	eventually(t, "upstream is asked", func() bool { return len(up.queries()) > 0 })
	// A question that is answered on the spot shows that those before it were read.
	for _, c := range clients {
		barrier(t, c)
	}
	release()
	for i, c := range clients {
		m := read(t, c)
		if m.Id != uint16(i) || len(m.Answer) != 1 || m.Question[0].Name != "WWW.example.org." {
			t.Errorf("client %d got %v", i, m)
		}
	}
	if q := up.queries(); len(q) != 1 {
		t.Errorf("upstream was asked %q", q)
	}
}

func barrier(t testing.TB, c net.Conn) {
	t.Helper()
	m := question("web.lab.test.", dns.TypeA)
	if _, err := c.Write(pack(t, m)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c); got.Id != m.Id {
		t.Fatalf("got %v before the answer that was held back", got)
	}
}

func read(t testing.TB, c net.Conn) *dns.Msg {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(buf[:n]); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFailoverToAnotherUpstream(t *testing.T) {
	needWorld(t)
	good := newUpstream(t, "127.0.0.2:5302")
	failing := func(code int) *upstream {
		u := newUpstream(t, fmt.Sprintf("127.0.0.3:%d", 5300+code))
		u.answer(func(_, reply *dns.Msg, _ string) { reply.Rcode = code })
		return u
	}
	silent := newUpstream(t, "127.0.0.4:5301")
	release := silent.hold()
	t.Cleanup(release)
	closed := &upstream{addr: "127.0.0.5:5301"}
	for name, bad := range map[string]*upstream{
		"SERVFAIL": failing(dns.RcodeServerFailure), "REFUSED": failing(dns.RcodeRefused),
		"silent": silent, "closed": closed,
	} {
		t.Run(name, func(t *testing.T) {
			start(t, resolvConf(t), via(bad, good))
			want(t, dig(t, "guest", "+timeout=5", "@192.168.10.1", "www."+name+".example.org"), "NOERROR")
		})
	}
	t.Run("all fail", func(t *testing.T) {
		start(t, resolvConf(t), via(failing(dns.RcodeNotImplemented), closed))
		want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOTIMP") // what there is
		start(t, resolvConf(t), Config{
			Network: "other", Interface: "br1", Listen: []netip.Addr{addr("192.168.20.1")},
			Forward: true, Forwarders: []Forwarder{{Address: mustAddrPort(closed.addr)}},
		})
		want(t, dig(t, "alien", "@192.168.20.1", "www.example.org"), "SERVFAIL")
	})
	t.Run("silent ones are asked last after a while", func(t *testing.T) {
		_, log := start(t, resolvConf(t), via(silent, good))
		for i := range 3 {
			want(t, dig(t, "guest", "+timeout=5", "@192.168.10.1", fmt.Sprint("n", i, ".example.org")), "NOERROR")
		}
		if !log.has("marked down") {
			t.Error("nothing was said")
		}
		before := len(silent.queries())
		want(t, dig(t, "guest", "@192.168.10.1", "later.example.org"), "NOERROR")
		if len(silent.queries()) != before {
			t.Error("the silent one was asked first")
		}
	})
}

func TestLongAnswersGoOverTCP(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	up.answer(func(m, reply *dns.Msg, network string) {
		if network == "udp" {
			reply.Truncated = true
			return
		}
		for i := range 200 {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 300 IN A 192.0.2.%d", m.Question[0].Name, i))
			reply.Answer = append(reply.Answer, rr)
		}
	})
	start(t, resolvConf(t), via(up))
	for _, args := range [][]string{{}, {"+noedns"}, {"+bufsize=4096"}} {
		a := dig(t, "guest", append(args, "@192.168.10.1", "many.example.org")...)
		if a.status != "NOERROR" || len(a.lines) != 200 {
			t.Errorf("%s: %d addresses\n%s", args, len(a.lines), a)
		}
	}
	a := dig(t, "guest", "@192.168.10.1", "many.example.org", "+ignore")
	if a.status != "NOERROR" || !strings.Contains(a.flags, "tc") || len(a.lines) != 0 {
		t.Errorf("over UDP\n%s", a)
	}
	if n := len(up.queries()); n != 2 {
		t.Errorf("asked %q, want once over UDP, once over TCP", up.queries())
	}
}

func TestUpstreamWithoutEDNS(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	up.answer(func(m, reply *dns.Msg, network string) {
		if m.IsEdns0() != nil {
			reply.Rcode = dns.RcodeFormatError
			return
		}
		up.plain(m, reply, network)
	})
	start(t, resolvConf(t), via(up))
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOERROR")
	up.answer(func(m, reply *dns.Msg, network string) {
		switch {
		case m.IsEdns0() != nil:
			reply.Rcode = dns.RcodeFormatError
		case network == "udp":
			reply.Truncated = true
		default:
			up.plain(m, reply, network)
		}
	})
	want(t, dig(t, "guest", "@192.168.10.1", "long.example.org"), "NOERROR")
}

func TestDNSSECBitsPassThrough(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	var seen atomic.Pointer[dns.Msg]
	up.answer(func(m, reply *dns.Msg, network string) {
		seen.Store(m)
		up.plain(m, reply, network)
		reply.AuthenticatedData = true
		reply.SetEdns0(1232, m.IsEdns0().Do())
	})
	start(t, resolvConf(t), via(up))
	for _, c := range []struct {
		args   string
		do, cd bool
		flags  string
	}{
		{"+noadflag", false, false, "qr rd ra"},
		{"+adflag", false, false, "qr rd ra ad"},
		{"+dnssec +noadflag", true, false, "qr rd ra ad"},
		{"+cdflag +noadflag", false, true, "qr rd ra cd"},
	} {
		seen.Store(nil)
		a := dig(t, "guest", append(strings.Fields(c.args), "@192.168.10.1", "www.example.org")...)
		if a.flags != c.flags {
			t.Errorf("%s: flags %q, want %q", c.args, a.flags, c.flags)
		}
		if m := seen.Load(); m != nil && (m.IsEdns0().Do() != c.do || m.CheckingDisabled != c.cd) {
			t.Errorf("%s: upstream saw %v", c.args, m)
		} else if m == nil && (c.do || c.cd) {
			t.Errorf("%s: answered from another question's reply", c.args)
		}
	}
}

func TestForgedRepliesAreNotTaken(t *testing.T) {
	needWorld(t)
	pc, err := net.ListenPacket("udp", "127.0.0.2:5302")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			m := new(dns.Msg)
			_ = m.Unpack(buf[:n])
			send := func(name, a string, change func(*dns.Msg)) {
				r := new(dns.Msg).SetReply(m)
				rr, _ := dns.NewRR(name + " 300 IN A " + a)
				r.Answer = []dns.RR{rr}
				change(r)
				b, _ := r.Pack()
				_, _ = pc.WriteTo(b, from)
			}
			name := m.Question[0].Name
			send(name, "192.0.2.66", func(r *dns.Msg) { r.Id++ })
			send(name, "192.0.2.66", func(r *dns.Msg) { r.Question[0].Name = "evil.example." })
			send(name, "192.0.2.66", func(r *dns.Msg) { r.Response = false })
			_, _ = pc.WriteTo([]byte("nonsense"), from)
			send(name, "192.0.2.1", func(*dns.Msg) {})
		}
	}()
	start(t, resolvConf(t), via(&upstream{addr: "127.0.0.2:5302"}))
	a := dig(t, "guest", "@192.168.10.1", "www.example.org")
	if len(a.lines) != 1 || a.lines[0] != "www.example.org. A 192.0.2.1" {
		t.Errorf("got\n%s", a)
	}
}

func TestResolvConfIsFollowed(t *testing.T) {
	needWorld(t)
	one, two := newUpstream(t, "127.0.0.2:53"), newUpstream(t, "127.0.0.3:53")
	dir := t.TempDir()
	path := filepath.Join(dir, "etc", "resolv.conf")
	run := filepath.Join(dir, "run", "stub", "stub-resolv.conf")
	do := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	do(os.Mkdir(filepath.Dir(path), 0o755))
	start(t, path, lab())
	n := 0
	answers := func(u *upstream) func() bool {
		return func() bool {
			before := len(u.queries())
			n++
			dig(t, "guest", "@192.168.10.1", fmt.Sprint("n", n, ".example.org"))
			return len(u.queries()) > before
		}
	}
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "SERVFAIL")

	write(t, path, "127.0.0.2")
	eventually(t, "the file appears", answers(one))
	write(t, path, "127.0.0.3")
	eventually(t, "the file is written over", answers(two))
	write(t, path+".new", "127.0.0.2")
	do(os.Rename(path+".new", path))
	eventually(t, "another file is renamed to it", answers(one))
	do(os.Remove(path))
	eventually(t, "the file is missing: the last servers stay", answers(one))
	do(os.Symlink("../run/stub/stub-resolv.conf", path))
	do(os.MkdirAll(filepath.Dir(run), 0o755))
	write(t, run, "127.0.0.3")
	eventually(t, "a link whose target appears later, with its directory", answers(two))
	write(t, run+"~", "127.0.0.2")
	do(os.Rename(run+"~", run))
	eventually(t, "the target is replaced", answers(one))
	write(t, filepath.Join(dir, "static.conf"), "127.0.0.3")
	do(os.Symlink(filepath.Join(dir, "static.conf"), path+".new"), os.Rename(path+".new", path))
	eventually(t, "the link is replaced by another", answers(two))
}

func TestNewServersMeanANewCache(t *testing.T) {
	needWorld(t)
	one, two := newUpstream(t, "127.0.0.2:53"), newUpstream(t, "127.0.0.3:53")
	path := resolvConf(t, "127.0.0.2")
	_, log := start(t, path, lab())
	eventually(t, "the file is read", func() bool { return log.has("resolv.conf read") })
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOERROR")
	if len(one.queries()) != 1 {
		t.Fatal(one.queries())
	}
	write(t, path, "127.0.0.3")
	eventually(t, "the new server is asked for a name that was cached", func() bool {
		dig(t, "guest", "@192.168.10.1", "www.example.org")
		return len(two.queries()) == 1
	})
}

func TestOwnAddressIsNeverAsked(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:53")
	path := resolvConf(t, "192.168.10.1")
	_, log := start(t, path, lab())
	eventually(t, "the file is read", func() bool { return log.has("resolv.conf read") })
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "SERVFAIL")
	if log.has("sends our queries back") {
		t.Error("it was asked")
	}
	write(t, path, "192.168.10.1", "127.0.0.2")
	eventually(t, "the next one is asked", func() bool {
		return dig(t, "guest", "@192.168.10.1", "www.example.org").status == "NOERROR" && len(up.queries()) > 0
	})
}

// dnsmasq runs until the test ends, and returns what it logs.
func dnsmasq(t *testing.T, netns, at string, args ...string) *logged {
	t.Helper()
	log := &logged{}
	cmd := in(netns, "dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-hosts", "--no-resolv",
		"--bind-interfaces", "--except-interface=nothing", "--listen-address=" + at, "--log-queries", "--log-facility=-",
	}, args...)...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "dnsmasq runs", func() bool { return log.has("started, version") })
	return log
}

func needDnsmasq(t *testing.T) {
	t.Helper()
	needWorld(t)
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		t.Skip(err)
	}
}

func TestDnsmasqAsUpstream(t *testing.T) {
	needDnsmasq(t)
	log := dnsmasq(t, "outside", "203.0.113.2", "--host-record=www.example.org,192.0.2.7,2001:db8::7,120",
		"--txt-record=long.example.org,"+strings.Repeat("x", 255)+","+strings.Repeat("y", 255)+","+strings.Repeat("z", 255))
	start(t, resolvConf(t, "203.0.113.2"), lab())
	for args, line := range map[string]string{
		"www.example.org":      "www.example.org. A 192.0.2.7",
		"www.example.org AAAA": "www.example.org. AAAA 2001:db8::7",
	} {
		a := dig(t, "guest", append(strings.Fields(args), "@192.168.10.1")...)
		if len(a.lines) != 1 || a.lines[0] != line {
			t.Errorf("%s\n%s", args, a)
		}
	}
	if a := dig(t, "guest", "@192.168.10.1", "long.example.org", "TXT", "+noedns"); len(a.lines) != 1 {
		t.Errorf("\n%s", a)
	}
	for _, own := range []string{"x.lab.test", "y", "-x 192.168.10.77", "lab.test MX"} {
		dig(t, "guest", append(strings.Fields(own), "@192.168.10.1")...)
	}
	if log.has("lab.test") || log.has("192.168.10") || log.has(" y ") {
		t.Error("own names leaked")
	}
}

// A local stub that sends everything back to us. Breaks when nothing is caught:
// then the answer comes only when the time is up, and the log is empty.
func TestLoopThroughALocalStubIsBroken(t *testing.T) {
	needDnsmasq(t)
	stub := dnsmasq(t, "", "127.0.0.53", "--server=192.168.10.1", "--cache-size=0")
	_, log := start(t, resolvConf(t, "127.0.0.53"), lab())
	eventually(t, "the file is read", func() bool { return log.has("resolv.conf read") })
	want(t, dig(t, "guest", "+timeout=8", "@192.168.10.1", "www.example.org"), "SERVFAIL")
	if !log.has("sends our queries back") {
		t.Error("the loop was not noticed")
	}
	want(t, dig(t, "guest", "@192.168.10.1", "other.example.org"), "SERVFAIL")
	if stub.has("other.example.org") {
		t.Error("the stub was asked again")
	}
}

// A guest that is the forwarder for a domain, and asks us about it.
func TestLoopThroughAGuestIsBroken(t *testing.T) {
	needDnsmasq(t)
	dnsmasq(t, "guest", "192.168.10.50", "--server=192.168.10.1")
	up := newUpstream(t, "127.0.0.2:5302")
	cfg := via(up)
	cfg.Forwarders = append(cfg.Forwarders, Forwarder{Domain: "corp.example", Address: mustAddrPort("192.168.10.50:53")})
	_, log := start(t, resolvConf(t), cfg)
	want(t, dig(t, "", "+timeout=8", "@192.168.10.1", "www.corp.example"), "SERVFAIL")
	if !log.has("sends our queries back") {
		t.Error("the loop was not noticed")
	}
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOERROR")
}

func TestHostThatAsksTheSameIsNoLoop(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.53:53")
	release := up.hold()
	defer release()
	_, log := start(t, resolvConf(t, "127.0.0.53"), lab())
	eventually(t, "the file is read", func() bool { return log.has("resolv.conf read") })
	var digs sync.WaitGroup
	for range 3 {
		digs.Go(func() { want(t, dig(t, "", "+timeout=8", "@192.168.10.1", "www.example.org"), "NOERROR") })
		digs.Go(func() { want(t, dig(t, "guest", "+timeout=8", "@192.168.10.1", "www.example.org"), "NOERROR") })
	}
	eventually(t, "a probe goes out", func() bool { return len(up.queries()) >= 2 })
	release()
	digs.Wait()
	if log.has("sends our queries back") {
		t.Error("taken for a loop")
	}
}

func TestOneClientCannotTakeAllFlights(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	release := up.hold()
	defer release()
	start(t, resolvConf(t), via(up))
	c, err := net.Dial("udp", "192.168.10.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	refused := 0
	for i := range 400 {
		m := question(fmt.Sprintf("n%d.example.org.", i), dns.TypeA)
		if _, err := c.Write(pack(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	for refused < 100 {
		if m := read(t, c); m.Rcode != dns.RcodeRefused {
			t.Fatalf("got %v", m)
		}
		refused++
	}
	release()
	want(t, dig(t, "guest", "@192.168.10.1", "www.example.org"), "NOERROR")
}
