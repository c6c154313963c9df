package forward

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

func TestParseResolvConf(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"nameserver 192.0.2.1\n":     "192.0.2.1:53",
		"nameserver 192.0.2.1":       "192.0.2.1:53",
		"nameserver\t2001:db8::1  ":  "[2001:db8::1]:53",
		"nameserver fe80::1%eth0":    "[fe80::1%eth0]:53",
		"nameserver ::ffff:10.0.0.1": "10.0.0.1:53",
		"# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nsearch a b\noptions edns0\nnameserver 192.0.2.3 # x": "192.0.2.3:53",
		"nameserver\nnameserver dns.example\nnameserver 1.2.3\nnameservers 192.0.2.9":                        "",
		strings.Repeat("nameserver 192.0.2.1\n", 20):                                                         strings.Repeat(" 192.0.2.1:53", 8)[1:],
	} {
		var got []string
		for _, s := range ParseResolvConf(text) {
			got = append(got, s.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestWatchDirs(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) string { return filepath.Join(dir, s) }
	for _, d := range []string{"etc", "run"} {
		if err := os.Mkdir(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"etc/relative": "../run/a", "etc/absolute": at("run/a"), "etc/far": "../run/x/y/a", "etc/loop": "loop", "etc/two": "relative",
	} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]string{
		"etc/missing": {"etc"}, "etc/relative": {"etc", "run"}, "etc/absolute": {"etc", "run"}, "etc/far": {"etc", "run"},
		"etc/loop": {"etc"}, "etc/two": {"etc", "run"}, "none/x": {"."},
	} {
		got := watchDirs(at(path))
		for i := range got {
			got[i], _ = filepath.Rel(dir, got[i])
		}
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func newPool() *Pool { return NewPool(slog.New(slog.DiscardHandler)) }

func server(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func addrs(list []*upstream) string {
	var s []string
	for _, u := range list {
		s = append(s, u.addr.Addr().String())
	}
	return strings.Join(s, " ")
}

func TestOrder(t *testing.T) {
	p, now := newPool(), time.Now()
	if !p.SetHost([]netip.AddrPort{server("192.0.2.1:53"), server("192.0.2.2:53"), server("192.0.2.3:53"), server("192.0.2.1:53")}) {
		t.Fatal("no change")
	}
	if p.SetHost([]netip.AddrPort{server("192.0.2.1:53"), server("192.0.2.2:53"), server("192.0.2.3:53")}) {
		t.Error("equal servers are a change")
	}
	list := *p.host.Load()
	expect := func(what, want string, at time.Time) {
		t.Helper()
		if got := addrs(p.order(list, at)); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	expect("at first", "192.0.2.1 192.0.2.2 192.0.2.3", now)
	list[0].failed(now)
	expect("after one failure", "192.0.2.1 192.0.2.2 192.0.2.3", now)
	list[0].failed(now)
	expect("after two", "192.0.2.2 192.0.2.3 192.0.2.1", now)
	list[1].loopUntil = now.Add(loopTime)
	expect("with a loop", "192.0.2.3 192.0.2.1", now)
	p.SetOwn([]netip.AddrPort{server("192.0.2.3:53")})
	expect("with an own address", "192.0.2.1", now)
	list[0].answered(time.Millisecond)
	expect("later", "192.0.2.1 192.0.2.2", now.Add(loopTime))
}

func TestUpstreamsMarkedDownAreChecked(t *testing.T) {
	u, now := &upstream{}, time.Now()
	if u.checkDue(now) {
		t.Error("checked though it is up")
	}
	u.failed(now)
	u.failed(now)
	var at []time.Duration
	for s := range 200 {
		if u.checkDue(now.Add(time.Duration(s) * time.Second)) {
			at = append(at, time.Duration(s)*time.Second)
		}
	}
	if got := fmt.Sprint(at); got != "[2s 4s 8s 16s 32s 1m2s 1m32s 2m2s 2m32s 3m2s]" {
		t.Errorf("checked at %v", got)
	}
	if !u.answered(time.Millisecond) || u.down() {
		t.Error("down though it answered")
	}
}

func TestEqualRulesShareAResolver(t *testing.T) {
	p := newPool()
	get := func(rules ...Rule) *Resolver {
		t.Helper()
		r, err := p.Resolver(rules, Policy{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := Rule{"", server("192.0.2.1:53"), ""}, Rule{"Corp.example.", server("192.0.2.2:53"), ""}
	one := get(a, b)
	if get(b, a) != one || get(Rule{".", a.Server, ""}, Rule{"corp.EXAMPLE", b.Server, ""}) != one {
		t.Error("equal rules, two resolvers")
	}
	if get(a) == one || get() == one || get(a, Rule{"corp.example", a.Server, ""}) == one {
		t.Error("different rules, one resolver")
	}
	if get(a, Rule{b.Domain, b.Server, "dns.example"}) == one {
		t.Error("with and without TLS, one resolver")
	}
	for range 3 {
		p.Release(one)
	}
	if get(a, b) == one {
		t.Error("a resolver that nobody uses any more was kept")
	}
	for _, bad := range []Rule{{"a..b", a.Server, ""}, {"a", netip.AddrPort{}, ""}} {
		if _, err := p.Resolver([]Rule{bad}, Policy{}); err == nil || !strings.Contains(err.Error(), "forwarder for") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func query(t *testing.T, name string) *wire.Query {
	t.Helper()
	b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	q := new(wire.Query)
	if wire.Parse(b, q) != wire.OK {
		t.Fatal(name)
	}
	return q
}

func TestAskWithoutServersOrRun(t *testing.T) {
	p := newPool()
	r, err := p.Resolver(nil, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	reply := func([]byte) { t.Error("called") }
	if v := r.Ask(query(t, "a."), Client{Addr: server("192.0.2.9:1")}, reply); v != NoUpstream {
		t.Errorf("without servers: %d", v)
	}
	p.SetHost([]netip.AddrPort{server("192.0.2.1:53")})
	if v := r.Ask(query(t, "a."), Client{Addr: server("192.0.2.9:1")}, reply); v != Stopped {
		t.Errorf("before Run: %d", v)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ctx, filepath.Join(t.TempDir(), "resolv.conf"), func() {}); err != nil {
		t.Error(err)
	}
	if v := r.Ask(query(t, "a."), Client{Addr: server("192.0.2.9:1")}, reply); v != Stopped {
		t.Errorf("after Run: %d", v)
	}
	if p.usage.n != 0 || len(p.usage.heavy) != 0 || p.inflight.Load() != 0 {
		t.Errorf("left behind: %d waiting, %v, %d inflight", p.usage.n, p.usage.heavy, p.inflight.Load())
	}
}

func TestProbeKey(t *testing.T) {
	label := strings.Repeat("f", probeLen)
	q := query(t, "www.example.org.")
	if got := string(probeKey(label, q.Key())); got != "\x20"+label+string(q.Key()) {
		t.Errorf("%q", got)
	}
	long := query(t, strings.Repeat("a.", 127))
	key := probeKey(label, long.Key())
	if n := len(key) - 3; n > wire.MaxName || n < wire.MaxName-3 || !strings.HasSuffix(string(long.Key()), string(key[33:])) {
		t.Errorf("%d bytes: %q", n, key)
	}
}

// Breaks when the clock holds the pool's lock while it asks for a resolver's:
// whoever asks takes them the other way round, and both stand still.
func TestClockAndClientsDoNotWaitForEachOther(t *testing.T) {
	p := newPool()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- p.Run(ctx, filepath.Join(t.TempDir(), "resolv.conf"), func() {}) }()
	r, err := p.Resolver([]Rule{{"", server("127.0.0.1:9"), ""}}, Policy{}) // nobody is there
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 3000 {
			r.Ask(query(t, fmt.Sprint("n", i, ".example.org.")), Client{Addr: server("127.0.0.9:9")}, func([]byte) {})
		}
	}()
	for working := true; working; {
		p.allInflight()
		select {
		case <-done:
			working = false
		case <-time.After(time.Microsecond):
		}
	}
	cancel()
	select {
	case err := <-over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run does not end")
	}
}
