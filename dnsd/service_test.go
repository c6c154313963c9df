package dnsd

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/dnsd/zone"
)

// newService answers for lab; the pool behind it does not run, and knows one
// server.
func newService(t testing.TB, change ...func(*Config)) *service {
	t.Helper()
	cfg := lab()
	for _, f := range change {
		f(&cfg)
	}
	pool := forward.NewPool(quiet)
	pool.SetHost([]netip.AddrPort{mustAddrPort("192.0.2.1:53")})
	z, err := zone.New(cfg.Zone())
	if err != nil {
		t.Fatal(err)
	}
	s := &service{zone: z}
	if cfg.Forward {
		if s.resolver, err = pool.Resolver(cfg.rules(), forward.Policy{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestOddShapesAreStraightened(t *testing.T) {
	s := newService(t)
	for name, change := range map[string]func(*dns.Msg){
		"signed":          func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, 0) },
		"EDNS and signed": func(m *dns.Msg) { m.SetEdns0(1232, true); m.SetTsig("k.", dns.HmacSHA256, 300, 0) },
		"a record in answers": func(m *dns.Msg) {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "x.", Rrtype: 1, Class: 1}})
		},
		"EDNS with a cookie": func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
		},
	} {
		m := question("WEB.lab.test.", dns.TypeA)
		change(m)
		out, _ := s.packet(nil, pack(t, m), new(wire.Query), 0)
		got := new(dns.Msg)
		if err := got.Unpack(out); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Id != m.Id || len(got.Answer) != 1 || got.Question[0].Name != "WEB.lab.test." || (got.IsEdns0() != nil) != (m.IsEdns0() != nil) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSilenceAndFormErrors(t *testing.T) {
	s := newService(t)
	plain := pack(t, question("web.lab.test.", dns.TypeA))
	reply := append([]byte(nil), plain...)
	reply[2] |= 0x80
	none := append([]byte(nil), plain...)
	none[5] = 0
	for name, c := range map[string]struct {
		pkt  []byte
		code int // -1 is silence
	}{
		"nothing": {nil, -1}, "less than a header": {plain[:11], -1}, "a reply": {reply, -1},
		"header only": {plain[:12], dns.RcodeFormatError}, "cut": {plain[:20], dns.RcodeFormatError}, "no question": {none, dns.RcodeFormatError},
		"a pointer to itself": {append(append([]byte(nil), plain[:12]...), 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		"a long label":        {append(append([]byte(nil), plain[:12]...), []byte("\x40"+strings.Repeat("a", 64)+"\x00\x00\x01\x00\x01")...), dns.RcodeFormatError},
	} {
		out, ask := s.packet(nil, c.pkt, new(wire.Query), 0)
		got := -1
		if len(out) > 3 {
			got = int(out[3] & 15)
		}
		if got != c.code || ask {
			t.Errorf("%s: code %d, want %d (ask %v)", name, got, c.code, ask)
		}
	}
}

func TestTypesThatCannotBeAsked(t *testing.T) {
	s := newService(t)
	for _, qtype := range []uint16{0, dns.TypeOPT, dns.TypeAXFR, dns.TypeIXFR, dns.TypeTSIG, dns.TypeTKEY, dns.TypeMAILA} {
		for _, name := range []string{"web.lab.test.", "www.example.org."} {
			out, ask := s.packet(nil, pack(t, question(name, qtype)), new(wire.Query), 0)
			if ask || out[3]&15 != dns.RcodeRefused {
				t.Errorf("%s type %d: code %d, ask %v", name, qtype, out[3]&15, ask)
			}
		}
	}
	if out, ask := s.packet(nil, pack(t, question("www.example.org.", dns.TypeANY)), new(wire.Query), 0); ask || out[7] != 1 {
		t.Error("ANY for a foreign name is not answered here")
	}
	if _, ask := s.packet(nil, pack(t, question("www.example.org.", 65280)), new(wire.Query), 0); !ask {
		t.Error("a private type does not go upstream")
	}
}

// FuzzService holds everything between a packet and its reply to what any
// client may send.
func FuzzService(f *testing.F) {
	add := func(name string, qtype uint16, change func(*dns.Msg)) {
		m := question(name, qtype)
		change(m)
		f.Add(pack(f, m))
	}
	none := func(*dns.Msg) {}
	add("web.lab.test.", dns.TypeA, none)
	add("pc.", dns.TypeANY, func(m *dns.Msg) { m.SetEdns0(512, true) })
	add("10.10.168.192.in-addr.arpa.", dns.TypePTR, none)
	add("x.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, none)
	add("localhost.", dns.TypeAAAA, none)
	add("a.b.onion.", dns.TypeA, func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, 0) })
	add("www.example.org.", dns.TypeMX, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
	s := newService(f)
	f.Fuzz(func(t *testing.T, pkt []byte) {
		q := new(wire.Query)
		out, ask := s.packet(nil, pkt, q, 0)
		if ask {
			out, _ = s.ask(out, q, forward.Client{Addr: mustAddrPort("192.0.2.9:9")}, func([]byte) {})
		}
		if len(out) == 0 {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil {
			t.Fatalf("%x\nfor %x: %v", out, pkt, err)
		}
		if !m.Response || len(out) > wire.MaxPayload || len(pkt) < wire.HeaderLen || m.Id != uint16(pkt[0])<<8|uint16(pkt[1]) {
			t.Fatalf("%v\nfor %x", m, pkt)
		}
		theirs := new(dns.Msg)
		if m.Rcode != dns.RcodeFormatError && m.Rcode != dns.RcodeNotImplemented && theirs.Unpack(pkt) == nil {
			if len(theirs.Question) != 1 || len(m.Question) != 1 || m.Question[0] != theirs.Question[0] {
				t.Fatalf("question %v, asked %v", m.Question, theirs.Question)
			}
		}
	})
}

// What the loop of a socket does for a packet allocates nothing.
func TestHotPathAllocatesNothing(t *testing.T) {
	s, q, buf := hot(t), new(wire.Query), make([]byte, 0, maxQuery)
	for name, pkt := range hotPackets(t) {
		got := testing.AllocsPerRun(100, func() {
			if out, ask := s.packet(buf, pkt, q, 0); len(out) == 0 || ask {
				t.Fatal(name)
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// hot is a service that has www.example.org in its cache.
func hot(t testing.TB) *service {
	t.Helper()
	up := newUpstream(t, "127.0.0.1:0")
	s := New(resolvConf(t), quiet)
	cfg := lab()
	cfg.Interface, cfg.Port = "", 5399
	cfg.Listen = []netip.Addr{addr("127.0.0.9")}
	cfg.Names = steady{[]netip.Addr{addr("192.168.10.50")}}
	cfg.Forwarders = []Forwarder{{Address: mustAddrPort(up.addr)}}
	if err := s.Set(cfg); err != nil {
		t.Fatal(err)
	}
	startServer(t, s)
	svc, done := s.networks["lab"].service.Load(), make(chan struct{})
	q := new(wire.Query)
	eventually(t, "the pool runs", func() bool {
		if _, ask := svc.packet(nil, hotPackets(t)["cached"], q, 0); !ask {
			return true
		}
		_, wait := svc.ask(nil, q, forward.Client{Addr: mustAddrPort("192.0.2.9:9")}, func([]byte) { close(done) })
		return wait
	})
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("no answer from upstream")
	}
	return svc
}

func hotPackets(t testing.TB) map[string][]byte {
	edns := question("www.example.org.", dns.TypeA)
	edns.SetEdns0(1232, false)
	return map[string][]byte{
		"static": pack(t, question("Web.lab.test.", dns.TypeA)), "lease": pack(t, question("pc.lab.test.", dns.TypeA)),
		"unknown": pack(t, question("none.none.lab.test.", dns.TypeA)), "reverse": pack(t, question("50.10.168.192.in-addr.arpa.", dns.TypePTR)),
		"cached": pack(t, edns),
	}
}

type steady struct{ addrs []netip.Addr }

func (s steady) Addrs(string) []netip.Addr      { return s.addrs }
func (s steady) Name(netip.Addr) (string, bool) { return "pc", true }

func BenchmarkPacket(b *testing.B) {
	s, q, buf := hot(b), new(wire.Query), make([]byte, 0, maxQuery)
	for name, pkt := range hotPackets(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.packet(buf, pkt, q, 0)
			}
		})
	}
}
