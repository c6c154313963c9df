package dnsd

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// usual is how others are served meanwhile: the median and the 99th of a hundred
// of 300 queries, and how many got no answer within a second.
type usual struct {
	median, slow time.Duration
	lost         int
}

func (u usual) String() string {
	return fmt.Sprintf("median %6.0f µs, 99th %7.0f µs, lost %d",
		float64(u.median.Nanoseconds())/1000, float64(u.slow.Nanoseconds())/1000, u.lost)
}

func serve(t *testing.T, netns, server string) usual {
	t.Helper()
	c := dial(t, netns, "udp", server)
	defer c.Close()
	var u usual
	var times []time.Duration
	buf := make([]byte, 1500)
	for i := range 300 {
		name := "web.lab.test."
		if i%2 == 1 {
			name = "www.example.org."
		}
		m := question(name, dns.TypeA)
		m.Id = uint16(i)
		began := time.Now()
		if _, err := c.Write(pack(t, m)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(began.Add(time.Second))
		for {
			n, err := c.Read(buf)
			if err != nil {
				u.lost++
				break
			}
			if n > 2 && binary.BigEndian.Uint16(buf) == m.Id {
				break
			}
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	u.median, u.slow = times[len(times)/2], times[len(times)*99/100]
	return u
}

// An attack goes on until stop is closed, and returns what it did.
type attack func(t *testing.T, stop <-chan struct{}) string

func over(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// flood sends packets as fast as one thread can, from several ports.
func flood(next func(i int) []byte) attack {
	return func(t *testing.T, stop <-chan struct{}) string {
		var conns []net.Conn
		for range 8 {
			conns = append(conns, dial(t, "guest", "udp", "192.168.10.1:53"))
		}
		sent := 0
		for ; !over(stop); sent++ {
			_, _ = conns[sent%len(conns)].Write(next(sent))
		}
		return fmt.Sprintf("%d packets", sent)
	}
}

func randomName(i int) []byte {
	b, _ := new(dns.Msg).SetQuestion(fmt.Sprintf("r%d-%d.example.net.", i, rand.Uint32()), dns.TypeA).Pack()
	return b
}

// nonsense is a query with some of its bytes changed, cut or made up.
func nonsense(int) []byte {
	m := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA)
	m.SetEdns0(4096, true)
	b, _ := m.Pack()
	for range 1 + rand.IntN(4) {
		b[rand.IntN(len(b))] = byte(rand.Uint32())
	}
	if rand.IntN(4) == 0 {
		b = b[:rand.IntN(len(b))]
	}
	return b
}

// bomb is a message full of names that point to names.
func bomb(int) []byte {
	b := make([]byte, 12, 1400)
	binary.BigEndian.PutUint16(b[4:], 1)
	binary.BigEndian.PutUint16(b[10:], 100)
	b = append(b, 63)
	b = append(b, strings.Repeat("x", 63)...)
	for at := 12; len(b) < 1390; at = len(b) - 2 {
		b = binary.BigEndian.AppendUint16(b, 0xc000|uint16(at))
	}
	return b
}

// connections opens a thousand of them and has each do something again and again.
func connections(do func(c net.Conn, i int)) attack {
	return func(t *testing.T, stop <-chan struct{}) string {
		var open []net.Conn
		for range 1000 {
			open = append(open, dial(t, "guest", "tcp", "192.168.10.1:53"))
		}
		for i := 0; !over(stop); i++ {
			for _, c := range open {
				do(c, i)
			}
			time.Sleep(50 * time.Millisecond)
		}
		alive := 0
		for _, c := range open {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
				alive++
			}
			_ = c.Close()
		}
		return fmt.Sprintf("1000 connections, %d kept", alive)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// Others are served, and memory is bounded, whatever a guest does. How fast is
// printed: it depends on how busy the machine is, of which the attack itself
// takes a good part.
func TestGuestsThatAttackCostOthersLittle(t *testing.T) {
	needWorld(t)
	up, silent := newUpstream(t, "127.0.0.2:5302"), newUpstream(t, "127.0.0.4:5301")
	up.ttl.Store(3600)
	release := silent.hold()
	t.Cleanup(release)
	cfg := via(up)
	cfg.Clients = []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24")}
	cfg.Forwarders = append(cfg.Forwarders, Forwarder{Domain: "example.net", Address: mustAddrPort(silent.addr)})
	other := lab()
	other.Network, other.Interface, other.Reverse, other.Listen = "other", "br1", nil, []netip.Addr{addr("192.168.20.1")}
	other.Forwarders = cfg.Forwarders[:1]
	start(t, resolvConf(t), cfg, other)
	long := make([]byte, 65535)

	type row struct {
		name   string
		attack attack
	}
	for _, r := range []row{
		{"nobody attacks", func(_ *testing.T, stop <-chan struct{}) string { <-stop; return "" }},
		{"flood of one name", flood(func(int) []byte { return pack(t, question("web.lab.test.", dns.TypeA)) })},
		{"flood of new names that nobody answers", flood(randomName)},
		{"flood of ANY", flood(func(int) []byte { return pack(t, question("lab.test.", dns.TypeANY)) })},
		{"flood of nonsense", flood(nonsense)},
		{"flood of pointers to pointers", flood(bomb)},
		{"idle connections", connections(func(net.Conn, int) {})},
		{"connections, a byte now and then", connections(func(c net.Conn, i int) { _, _ = c.Write([]byte{0, 40, 1, 1}[i%4 : i%4+1]) })},
		{"connections that lie about lengths", connections(func(c net.Conn, _ int) { _, _ = c.Write([]byte{0xff, 0xff, 1}) })},
		{"connections that do not read", connections(func(c net.Conn, _ int) {
			_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
			_, _ = c.Write(long)
		})},
	} {
		t.Run(r.name, func(t *testing.T) {
			serve(t, "neighbour", "192.168.10.1:53") // fills the cache
			stop, done := make(chan struct{}), make(chan string, 1)
			go func() { done <- r.attack(t, stop) }()
			time.Sleep(300 * time.Millisecond)
			same := serve(t, "neighbour", "192.168.10.1:53")
			elsewhere := serve(t, "alien", "192.168.20.1:53")
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			goroutines := runtime.NumGoroutine()
			close(stop)
			did := <-done
			t.Logf("%s\n  same network   %v\n  another one    %v\n  heap %d MiB, %d goroutines", did, same, elsewhere, mem.HeapInuse>>20, goroutines)
			if same.lost > 3 || elsewhere.lost > 3 {
				t.Errorf("others lost %d and %d of 300 queries", same.lost, elsewhere.lost)
			}
			if mem.HeapInuse > 128<<20 || goroutines > 1500 {
				t.Errorf("heap %d MiB, %d goroutines", mem.HeapInuse>>20, goroutines)
			}
		})
	}
}

// A guest that writes another sender on its queries gets nobody flooded.
func TestSpoofedSendersAreNotAnswered(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	cfg := via(up)
	cfg.Clients = []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00:10::/64")}
	start(t, resolvConf(t), cfg)
	ip(t, "-n", "guest", "addr", "add", "203.0.113.2/32", "dev", "lo")
	ip(t, "-n", "guest", "addr", "add", "2001:db8::7/128", "dev", "lo")
	t.Cleanup(func() {
		ip(t, "-n", "guest", "addr", "del", "203.0.113.2/32", "dev", "lo")
		ip(t, "-n", "guest", "addr", "del", "2001:db8::7/128", "dev", "lo")
	})
	for _, from := range []string{"-b 203.0.113.2 @192.168.10.1", "-b 203.0.113.2 @192.168.10.1 +tcp", "-b 2001:db8::7 @fd00:10::1"} {
		want(t, dig(t, "guest", append(strings.Fields(from), "+timeout=1", "spoofed.example.org")...), "none")
	}
	for _, from := range []string{"-b 192.168.10.50 @192.168.10.1", "-b 192.168.10.50 @192.168.10.1 +tcp", "-b fd00:10::50 @fd00:10::1"} {
		want(t, dig(t, "guest", append(strings.Fields(from), "www.example.org")...), "NOERROR")
	}
	want(t, dig(t, "", "@192.168.10.1", "www.example.org"), "NOERROR")
	if strings.Contains(fmt.Sprint(up.queries()), "spoofed") {
		t.Error("asked for a spoofed sender")
	}
}

// The longest replies per byte of a query, over UDP: what a spoofed sender inside
// of the network could gain.
func TestAmplificationIsBounded(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	up.answer(func(m, reply *dns.Msg, _ string) {
		for i := range 200 {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 300 IN TXT %q", m.Question[0].Name, fmt.Sprint(i, strings.Repeat("x", 200))))
			reply.Answer = append(reply.Answer, rr)
		}
	})
	start(t, resolvConf(t), via(up))
	c := dial(t, "guest", "udp", "192.168.10.1:53")
	for _, name := range []string{"x.example.org.", "lab.test.", "web.lab.test."} {
		for _, typ := range []uint16{dns.TypeTXT, dns.TypeANY, dns.TypeDNSKEY, dns.TypeAXFR, dns.TypeNS} {
			m := question(name, typ)
			m.SetEdns0(65535, true)
			b := pack(t, m)
			_, _ = c.Write(b)
			buf := make([]byte, 65535)
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%-15s %-6s %3d bytes asked, %4d answered: %.1f times", name, dns.TypeToString[typ], len(b), n, float64(n)/float64(len(b)))
			if n > 1232 || typ == dns.TypeANY && n > 2*len(b) {
				t.Errorf("%d bytes", n)
			}
		}
	}
}

// Upstreams that answer garbage, late, with too much, or cut.
func TestUpstreamsThatAnswerGarbage(t *testing.T) {
	needWorld(t)
	pc, err := net.ListenPacket("udp", "127.0.0.2:5302")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.2:5302")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = pc.Close(), l.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			for range 4 { // too few to be taken for somebody who guesses
				_, _ = pc.WriteTo(garbage(buf[:n]), from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1500)
				n, _ := c.Read(buf)
				for range 100 {
					b := garbage(buf[2:max(n, 14)])
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b)+rand.IntN(3)-1)), b...))
				}
			}()
		}
	}()
	good := newUpstream(t, "127.0.0.3:5303")
	cfg := via(&upstream{addr: "127.0.0.2:5302"}, good)
	_, log := start(t, resolvConf(t), cfg)
	var all sync.WaitGroup
	for g := range 4 {
		c := dial(t, "guest", "udp", "192.168.10.1:53")
		all.Go(func() {
			for i := range 500 {
				m := question(fmt.Sprintf("g%d-%d.example.org.", g, i), dns.TypeA)
				_, _ = c.Write(pack(t, m))
				_ = c.SetReadDeadline(time.Now().Add(6 * time.Second))
				if _, err := c.Read(make([]byte, 1500)); err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	if log.has("panic") {
		t.Error("something broke")
	}
	want(t, dig(t, "guest", "@192.168.10.1", "web.lab.test"), "NOERROR")
}

// garbage is a reply to a query, with a part of it changed, cut or made up.
func garbage(query []byte) []byte {
	m := new(dns.Msg)
	if m.Unpack(query) != nil {
		return query
	}
	r := new(dns.Msg).SetReply(m)
	r.Compress = rand.IntN(2) == 0
	r.Truncated = rand.IntN(8) == 0
	for _, line := range []string{" 60 IN A 192.0.2.66", " 60 IN CNAME x.example.net.", " 60 IN MX 5 mail.example."} {
		rr, _ := dns.NewRR(m.Question[0].Name + line)
		r.Answer = append(r.Answer, rr)
	}
	b, _ := r.Pack()
	for range rand.IntN(6) {
		b[12+rand.IntN(len(b)-12)] = byte(rand.Uint32())
	}
	if rand.IntN(3) == 0 {
		b = b[:rand.IntN(len(b))]
	}
	return b
}
