package dnsd

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestGuestsAndHostGetAnswers(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "203.0.113.1:5301")
	cfg := lab()
	cfg.Forwarders = []Forwarder{{Address: mustAddrPort(up.addr)}}
	start(t, "", cfg)

	cases := []struct {
		args   string // of dig
		status string
		flags  string
		lines  []string
	}{
		{"web.lab.test", "NOERROR", "qr aa rd ra", []string{"web.lab.test. A 192.168.10.10"}},
		{"WeB.LAB.test", "NOERROR", "qr aa rd ra", []string{"WeB.LAB.test. A 192.168.10.10"}},
		{"+nordflag web.lab.test", "NOERROR", "qr aa ra", []string{"web.lab.test. A 192.168.10.10"}},
		{"web", "NOERROR", "qr aa rd ra", []string{"web. A 192.168.10.10"}},
		{"web.lab.test AAAA", "NOERROR", "qr aa rd ra", []string{"web.lab.test. AAAA fd00:10::10"}},
		{"web.lab.test MX", "NOERROR", "qr aa rd ra", nil},
		{"pc.lab.test", "NOERROR", "qr aa rd ra", []string{"pc.lab.test. A 192.168.10.50"}},
		{"pc.lab.test AAAA", "NOERROR", "qr aa rd ra", nil},
		{"kvm1.lab.test", "NOERROR", "qr aa rd ra", []string{"kvm1.lab.test. A 192.168.10.1"}},
		{"host", "NOERROR", "qr aa rd ra", []string{"host. A 192.168.10.1"}},
		{"wpad.lab.test", "NXDOMAIN", "qr aa rd ra", nil},
		{"nobody.lab.test", "NXDOMAIN", "qr aa rd ra", nil},
		{"nobody", "NXDOMAIN", "qr aa rd ra", nil},
		{"lab.test SOA", "NOERROR", "qr aa rd ra", []string{"lab.test. SOA kvm1.lab.test. hostmaster.lab.test. 1 3600 600 86400 10"}},
		{"lab.test NS", "NOERROR", "qr aa rd ra", []string{"lab.test. NS kvm1.lab.test."}},
		{"web.lab.test ANY +notcp", "NOERROR", "qr aa rd ra", []string{`web.lab.test. HINFO "RFC8482" ""`}},
		{"-x 192.168.10.10", "NOERROR", "qr aa rd ra", []string{"10.10.168.192.in-addr.arpa. PTR web.lab.test."}},
		{"-x 192.168.10.50", "NOERROR", "qr aa rd ra", []string{"50.10.168.192.in-addr.arpa. PTR pc.lab.test."}},
		{"-x 192.168.10.1", "NOERROR", "qr aa rd ra", []string{"1.10.168.192.in-addr.arpa. PTR kvm1.lab.test."}},
		{"-x fd00:10::10", "NOERROR", "qr aa rd ra", []string{"0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa. PTR web.lab.test."}},
		{"-x 192.168.10.99", "NXDOMAIN", "qr aa rd ra", nil},
		{"-x 10.1.2.3", "NXDOMAIN", "qr aa rd ra", nil},
		{"localhost", "NOERROR", "qr aa rd ra", []string{"localhost. A 127.0.0.1"}},
		{"x.onion", "NXDOMAIN", "qr aa rd ra", nil},
		{"www.example.org", "NOERROR", "qr rd ra", []string{"www.example.org. A 192.0.2.1"}},
		{"www.example.org AAAA", "NOERROR", "qr rd ra", nil},
		{"version.bind TXT CH", "REFUSED", "qr rd ra", nil},
		{"lab.test AXFR +tcp", "REFUSED", "qr ra", nil},
		{"www.example.org +nordflag", "REFUSED", "qr ra", nil},
		{"www.example.org +opcode=NOTIFY", "NOTIMP", "qr", nil},
		{"web.lab.test +edns=1 +noednsneg", "BADVERS", "qr rd ra", nil},
	}
	for _, c := range cases {
		for _, from := range []string{"guest", ""} {
			for _, more := range []string{"@192.168.10.1 +notcp", "@192.168.10.1 +tcp", "@fd00:10::1 +notcp"} {
				t.Run(c.args+" from "+from+" "+more, func(t *testing.T) {
					args := append(strings.Fields(more), strings.Fields(c.args)...)
					a := dig(t, from, args...)
					if a.status != c.status || a.flags != c.flags || !slices.Equal(a.lines, c.lines) {
						t.Errorf("want %s %q %q, got %s %q %q\n%s", c.status, c.flags, c.lines, a.status, a.flags, a.lines, a)
					}
				})
			}
		}
	}
	for _, q := range up.queries() {
		if !strings.HasPrefix(q, "www.example.org. ") {
			t.Errorf("leaked upstream: %s", q)
		}
	}
}

func TestIsolatedNetworkAsksNobody(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.1:53")
	cfg := lab()
	cfg.Forward = false
	start(t, resolvConf(t, "127.0.0.1"), cfg)
	for name, want := range map[string]string{
		"web.lab.test": "NOERROR", "x.lab.test": "NXDOMAIN", "nobody": "NXDOMAIN", "www.example.org": "REFUSED",
	} {
		a := dig(t, "guest", "@192.168.10.1", name)
		if a.status != want || strings.Contains(a.flags, "ra") {
			t.Errorf("%s: want %s without ra\n%s", name, want, a)
		}
	}
	if q := up.queries(); len(q) > 0 {
		t.Errorf("upstream was asked %q", q)
	}
}

// Breaks when the filter lets all in: then the kernel, which takes a packet to
// any of its addresses on any link, lets other networks ask.
func TestOnlyTheBridgeAndTheHostAreHeard(t *testing.T) {
	needWorld(t)
	start(t, resolvConf(t), lab())
	for _, proto := range []string{"+notcp", "+tcp"} {
		for netns, want := range map[string]string{"guest": "NOERROR", "": "NOERROR", "alien": "none", "outside": "none"} {
			t.Run(proto+" from "+netns, func(t *testing.T) {
				t.Parallel()
				if a := dig(t, netns, "@192.168.10.1", "web.lab.test", proto); a.status != want {
					t.Errorf("want %s\n%s", want, a)
				}
			})
		}
	}
}

func TestBridgeMadeAnew(t *testing.T) {
	needWorld(t)
	ip(t, "netns", "add", "mover")
	t.Cleanup(func() { ip(t, "netns", "del", "mover") })
	build := func() {
		ip(t, "link", "add", "br7", "type", "bridge")
		ip(t, "link", "set", "br7", "up")
		ip(t, "addr", "add", "192.168.70.1/24", "dev", "br7")
		ip(t, "link", "add", "g7", "type", "veth", "peer", "name", "eth0", "netns", "mover")
		ip(t, "link", "set", "g7", "master", "br7", "up")
		ip(t, "-n", "mover", "link", "set", "eth0", "up")
		ip(t, "-n", "mover", "addr", "add", "192.168.70.50/24", "dev", "eth0")
	}
	build()
	t.Cleanup(func() { ip(t, "link", "del", "br7") })
	cfg := Config{
		Network: "moving", Interface: "br7", Domain: "moving.test", HostNames: []string{"host"},
		Listen: []netip.Addr{addr("192.168.70.1")},
	}
	s, _ := start(t, resolvConf(t), cfg)
	ask := func() answer { return dig(t, "mover", "@192.168.70.1", "host.moving.test") }
	if a := ask(); a.status != "NOERROR" {
		t.Fatal(a)
	}
	ip(t, "link", "del", "g7")
	ip(t, "link", "del", "br7")
	build()
	if a := ask(); a.status != "none" {
		t.Fatalf("answered on a bridge that it does not know\n%s", a)
	}
	if err := s.Set(cfg); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"+notcp", "+tcp"} {
		if a := dig(t, "mover", "@192.168.70.1", "host.moving.test", proto); a.status != "NOERROR" {
			t.Errorf("%s\n%s", proto, a)
		}
	}
}

func TestPortHeldByAnother(t *testing.T) {
	needWorld(t)
	other := Config{Network: "other", Interface: "br1", Domain: "other.test", HostNames: []string{"host"}, Listen: []netip.Addr{addr("192.168.20.1")}}
	s, _ := start(t, resolvConf(t), other)
	for _, holder := range []string{"udp", "tcp"} {
		t.Run(holder, func(t *testing.T) {
			hold(t, holder, "192.168.10.1:53")
			err := s.Set(lab())
			want := "dns of network lab: listen on 192.168.10.1:53/" + holder + ": "
			if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another DNS server") {
				t.Errorf("got %v, want %s…", err, want)
			}
			if a := dig(t, "alien", "@192.168.20.1", "host.other.test"); a.status != "NOERROR" {
				t.Errorf("the other network suffers\n%s", a)
			}
		})
	}
	if err := s.Set(lab()); err != nil {
		t.Errorf("with the port free again: %v", err)
	}
	twice := lab()
	twice.Network = "twice"
	if err := s.Set(twice); err == nil || !strings.Contains(err.Error(), "in use by network lab") {
		t.Errorf("two networks on one address: %v", err)
	}
}

// Breaks when all UDP sockets are bound with SO_REUSEPORT: then two daemons
// share the port, and each gets half of the queries.
func TestSecondServerIsRefused(t *testing.T) {
	needWorld(t)
	start(t, resolvConf(t), lab())
	s := New(resolvConf(t), quiet)
	if err := s.Set(lab()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
	held, err := openSocket("udp", mustAddrPort("192.168.20.1:53"), ingress{}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer held.(*net.UDPConn).Close()
	cfg := lab()
	cfg.Listen = []netip.Addr{addr("192.168.20.1")}
	if err := s.Set(cfg); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("with a UDP socket that would share: got %v, want EADDRINUSE", err)
	}
}

func hold(t *testing.T, network, at string) {
	t.Helper()
	var c io.Closer
	var err error
	if network == "udp" {
		c, err = net.ListenPacket(network, at)
	} else {
		c, err = net.Listen(network, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

func TestFailedChangeLeavesTheOldOneStanding(t *testing.T) {
	needWorld(t)
	s, _ := start(t, resolvConf(t), lab())
	for name, change := range map[string]func(*Config){
		"bad domain":    func(c *Config) { c.Domain = "lab..test" },
		"bad record":    func(c *Config) { c.Records = []Record{{Name: "x", Type: "NS", Value: "y"}} },
		"no address":    func(c *Config) { c.Listen = nil },
		"any address":   func(c *Config) { c.Listen = []netip.Addr{addr("0.0.0.0")} },
		"no bridge":     func(c *Config) { c.Interface = "br99" },
		"bad forwarder": func(c *Config) { c.Forwarders = []Forwarder{{Domain: "x"}} },
	} {
		cfg := lab()
		change(&cfg)
		if err := s.Set(cfg); err == nil || !strings.HasPrefix(err.Error(), "dns of network lab: ") {
			t.Errorf("%s: %v", name, err)
		}
		if a := dig(t, "guest", "@192.168.10.1", "web.lab.test"); a.status != "NOERROR" {
			t.Errorf("after %s\n%s", name, a)
		}
	}
}

func TestChangeWhileRunningLosesNothing(t *testing.T) {
	needWorld(t)
	s, _ := start(t, resolvConf(t), lab())
	c, err := net.Dial("udp", "192.168.10.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	pkt, reply := pack(t, question("web.lab.test.", dns.TypeA)), make([]byte, 512)
	stop := make(chan struct{})
	changed := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				changed <- n
				return
			default:
			}
			cfg := lab()
			cfg.Hosts = append(cfg.Hosts, Host{Name: "x" + strconv.Itoa(n), Addrs: cfg.Listen})
			if n%2 == 0 {
				cfg.Listen = cfg.Listen[:1]
			}
			if err := s.Set(cfg); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 3000 {
		if _, err := c.Write(pkt); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(reply); err != nil {
			t.Fatal("a query was lost: ", err)
		}
	}
	close(stop)
	if n := <-changed; n == 0 {
		t.Error("nothing was changed meanwhile")
	}
}

// A query that waits in the socket when the daemon starts is asked of somebody: of
// the host's servers, too, which a file names that has to be read first.
func TestWhatIsAskedBeforeRunIsAnswered(t *testing.T) {
	needWorld(t)
	newUpstream(t, "127.0.0.2:53")
	path := resolvConf(t, "127.0.0.2")
	for range 20 {
		t.Run("", func(t *testing.T) {
			s := New(path, slog.New(slog.DiscardHandler))
			if err := s.Set(lab()); err != nil {
				t.Fatal(err)
			}
			c := dial(t, "guest", "udp", "192.168.10.1:53")
			_, _ = c.Write(pack(t, question("www.example.org.", dns.TypeA)))
			startServer(t, s)
			if m := read(t, c); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
				t.Error(m)
			}
		})
	}
}

func TestRemovedNetworkIsSilentAndCanComeBack(t *testing.T) {
	needWorld(t)
	s, _ := start(t, resolvConf(t), lab())
	s.Remove("lab")
	s.Remove("lab")
	if a := dig(t, "guest", "@192.168.10.1", "web.lab.test"); a.status != "none" {
		t.Errorf("still there\n%s", a)
	}
	if err := s.Set(lab()); err != nil {
		t.Fatal(err)
	}
	if a := dig(t, "guest", "@192.168.10.1", "web.lab.test"); a.status != "NOERROR" {
		t.Errorf("not back\n%s", a)
	}
}

func question(name string, qtype uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, qtype) }

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Breaks, and takes the test along, when a packet's panic is not caught.
func TestPanicCostsOnePacket(t *testing.T) {
	needWorld(t)
	cfg := lab()
	cfg.Names = explosive{}
	_, log := start(t, resolvConf(t), cfg)
	for _, proto := range []string{"+notcp", "+tcp"} {
		if a := dig(t, "guest", "@192.168.10.1", "boom.lab.test", proto); a.status != "none" {
			t.Errorf("%s\n%s", proto, a)
		}
		if a := dig(t, "guest", "@192.168.10.1", "web.lab.test", proto); a.status != "NOERROR" {
			t.Errorf("%s: the next one suffers\n%s", proto, a)
		}
	}
	if !log.has("panic in dns") {
		t.Error("nothing was said")
	}
}

type explosive struct{}

func (explosive) Addrs(string) []netip.Addr      { panic("boom") }
func (explosive) Name(netip.Addr) (string, bool) { panic("boom") }
