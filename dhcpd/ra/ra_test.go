package ra

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
)

var start = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func config() Config {
	return Config{
		Prefixes:   []Prefix{{Prefix: prefix("2001:db8::/64"), OnLink: true, Autonomous: true, Valid: 2 * time.Hour, Preferred: time.Hour}},
		Managed:    true,
		Lifetime:   30 * time.Minute,
		Preference: 1,
		MTU:        1400,
		DNS:        []netip.Addr{netip.MustParseAddr("2001:db8::1")},
		Search:     []string{"a.test"},
		Routes:     []netip.Prefix{prefix("fd99::/48")},
		MAC:        [6]byte{2, 0, 0, 0, 0xff, 1},
	}
}

func newAdvertiser(t testing.TB, cfg Config) *Advertiser {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Octet by octet from the RFCs.
func TestOctets(t *testing.T) {
	want := strings.Join([]string{
		"86 00 0000",             // RFC 4861 §4.2: type, code, checksum
		"40 88 0708",             // hop limit; M, preference high (RFC 4191 §2.2); lifetime 1800
		"00000000",               // reachable time
		"00000000",               // retransmission timer
		"01 01 020000", "00ff01", // §4.6.1: source link-layer address
		"05 01 0000 00000578", // §4.6.4: MTU
		"03 04 40 c0 00001c20 00000e10 00000000 20010db8000000000000000000000000", // §4.6.2: prefix
		"18 02 30 08 00000708 fd99000000000000",                                   // RFC 4191 §2.3: route
		"19 03 0000 00000708 20010db8000000000000000000000001",                    // RFC 8106 §5.1: RDNSS
		"1f 02 0000 00000708 01610474657374 00",                                   // RFC 8106 §5.2: DNSSL
	}, "")
	got := newAdvertiser(t, config()).Message(start)
	if b, _ := hex.DecodeString(strings.ReplaceAll(want, " ", "")); !bytes.Equal(got, b) {
		t.Errorf("got  %x\nwant %x", got, b)
	}
}

// options prints what an advertisement says of each thing: lifetimes in
// seconds.
func options(t testing.TB, b []byte) string {
	t.Helper()
	m, err := ndp.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	r := m.(*ndp.RouterAdvertisement)
	words := []string{fmt.Sprintf("router=%.0f", r.RouterLifetime.Seconds())}
	for _, o := range r.Options {
		switch o := o.(type) {
		case *ndp.PrefixInformation:
			words = append(words, fmt.Sprintf("%s/%d=%.0f/%.0f", o.Prefix, o.PrefixLength, o.ValidLifetime.Seconds(), o.PreferredLifetime.Seconds()))
		case *ndp.RouteInformation:
			words = append(words, fmt.Sprintf("route:%s=%.0f", o.Prefix, o.RouteLifetime.Seconds()))
		case *ndp.RecursiveDNSServer:
			words = append(words, fmt.Sprintf("dns:%s=%.0f", o.Servers[0], o.Lifetime.Seconds()))
		case *ndp.DNSSearchList:
			words = append(words, fmt.Sprintf("search:%s=%.0f", o.DomainNames[0], o.Lifetime.Seconds()))
		}
	}
	return strings.Join(words, " ")
}

func TestWhatIsGoneIsSaidToBeGone(t *testing.T) {
	a := newAdvertiser(t, config())
	check := func(what string, at time.Time, want string) {
		t.Helper()
		if got := options(t, a.Message(at)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
		}
	}
	cfg := config()
	cfg.Prefixes = []Prefix{{Prefix: prefix("2001:db8:1::/64"), Autonomous: true}}
	cfg.Routes, cfg.DNS, cfg.Search = nil, nil, nil
	if err := a.Set(cfg, start); err != nil {
		t.Fatal(err)
	}
	now := "router=1800 2001:db8:1::/64=86400/14400"
	gone := " route:fd99::=0 dns:2001:db8::1=0 search:a.test=0"
	check("at once", start, now+" 2001:db8::/64=7200/0"+gone)
	check("later", start.Add(time.Minute), now+" 2001:db8::/64=7140/0"+gone)
	check("when only the prefix is remembered", start.Add(time.Hour), now+" 2001:db8::/64=3600/0")
	check("when it is forgotten", start.Add(2*time.Hour), now)

	if err := a.Set(config(), start.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	check("back again", start.Add(2*time.Hour),
		"router=1800 2001:db8::/64=7200/3600 route:fd99::=1800 dns:2001:db8::1=1800 search:a.test=1800 2001:db8:1::/64=7200/0")
	if got, want := options(t, a.Final(start.Add(3*time.Hour))),
		"router=0 2001:db8::/64=7200/0 route:fd99::=0 dns:2001:db8::1=0 search:a.test=0 2001:db8:1::/64=3600/0"; got != want {
		t.Errorf("the last word:\ngot  %s\nwant %s", got, want)
	}
}

// A network that goes from SLAAC to DHCPv6 keeps its prefix, and takes back
// the addresses that guests have made of it.
func TestEndOfSLAACOnAPrefix(t *testing.T) {
	a := newAdvertiser(t, config())
	cfg := config()
	cfg.Prefixes = []Prefix{{Prefix: prefix("2001:db8::/64"), OnLink: true}}
	if err := a.Set(cfg, start); err != nil {
		t.Fatal(err)
	}
	m, _ := ndp.ParseMessage(a.Message(start))
	var got []string
	for _, o := range m.(*ndp.RouterAdvertisement).Options {
		if p, ok := o.(*ndp.PrefixInformation); ok {
			got = append(got, fmt.Sprint(p.OnLink, p.AutonomousAddressConfiguration, p.PreferredLifetime))
		}
	}
	if want := "true false 4h0m0s; false true 0s"; strings.Join(got, "; ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNotADefaultRouter(t *testing.T) {
	cfg := config()
	cfg.Lifetime = -1
	b := newAdvertiser(t, cfg).Message(start)
	// RFC 4191 §2.2: then the preference must be zero.
	if b[5] != 0x80 || b[6] != 0 || b[7] != 0 {
		t.Errorf("flags %#x, lifetime %x", b[5], b[6:8])
	}
	if got := options(t, b); !strings.Contains(got, "dns:2001:db8::1=9000") {
		t.Error(got)
	}
}

// run asks as a timer does, and returns when advertisements went out, in
// seconds.
func run(a *Advertiser, from, until time.Time) (sent []float64) {
	for now := from; now.Before(until); {
		if a.Due(now, 0.5) {
			sent = append(sent, now.Sub(start).Seconds())
		}
		now = a.Next()
	}
	return sent
}

func TestUnsolicited(t *testing.T) {
	a := newAdvertiser(t, config())
	if got, want := fmt.Sprint(run(a, start, start.Add(15*time.Minute))), "[0 3.5 7 407 807]"; got != want {
		t.Errorf("got %s, want %s: three, and then between 200 and 600 s", got, want)
	}
	for _, rnd := range []float64{0, 0.999999} {
		a.next = start
		a.Due(start, rnd)
		if d := a.Next().Sub(start); d < 200*time.Second || d > 600*time.Second {
			t.Errorf("%s after the last", d)
		}
	}
}

func TestChangeIsAdvertisedThreeTimes(t *testing.T) {
	a := newAdvertiser(t, config())
	run(a, start, start.Add(20*time.Second))
	a.Due(start.Add(407*time.Second), 0.5)
	at := start.Add(408 * time.Second)
	if err := a.Set(config(), at); err != nil || a.Next().Sub(at) < time.Minute {
		t.Errorf("the same again: next at %s, %v", a.Next(), err)
	}
	cfg := config()
	cfg.MTU = 1500
	if err := a.Set(cfg, at); err != nil {
		t.Fatal(err)
	}
	// RFC 4861 §6.2.6: not within three seconds of the last.
	if got, want := fmt.Sprint(run(a, at, at.Add(time.Minute))), "[410 413.5 417]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	bad := config()
	bad.MTU = 1000
	if err := a.Set(bad, at); err == nil || a.cfg.MTU != 1500 {
		t.Errorf("%v, MTU %d", err, a.cfg.MTU)
	}
}

func TestSolicitations(t *testing.T) {
	a := newAdvertiser(t, config())
	run(a, start, start.Add(10*time.Second))
	at := start.Add(20 * time.Second)
	if !a.Solicited(true, at) || a.Next().Before(at.Add(time.Minute)) {
		t.Error("one with a source is answered alone")
	}
	if a.Solicited(false, at) || a.Next().After(at) {
		t.Error("one without is answered to all, at once")
	}
	a.Due(at, 0.5)
	if a.Solicited(false, at.Add(time.Second)) || !a.Next().Equal(at.Add(minDelay)) {
		t.Errorf("the next one three seconds later, not after %s", a.Next().Sub(at))
	}
	// A flood.
	alone := 0
	for i := range 10000 {
		if a.Solicited(true, at.Add(time.Duration(i)*100*time.Microsecond)) {
			alone++
		}
	}
	if alone < maxUnicast || alone > maxUnicast+300 {
		t.Errorf("%d of 10000 in a second were answered alone", alone)
	}
	if !a.Next().Equal(at.Add(minDelay)) {
		t.Errorf("the others in %s", a.Next().Sub(at))
	}
	if !a.Solicited(true, at.Add(time.Minute)) {
		t.Error("a minute later it is not answered alone")
	}
}

func TestRefusals(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"interval":               func(c *Config) { c.Interval = time.Second },
		"lifetime":               func(c *Config) { c.Lifetime = 24 * time.Hour },
		"preference":             func(c *Config) { c.Preference = 2 },
		"mtu: 1279":              func(c *Config) { c.MTU = 1279 },
		"not a /64":              func(c *Config) { c.Prefixes[0].Prefix = prefix("2001:db8::/56") },
		"not an IPv6 prefix for": func(c *Config) { c.Prefixes[0].Prefix = prefix("fe80::/64") },
		"preferred for":          func(c *Config) { c.Prefixes[0].Preferred = 3 * time.Hour },
		"dns[0]":                 func(c *Config) { c.DNS[0] = netip.MustParseAddr("10.0.0.1") },
		"search[0]":              func(c *Config) { c.Search[0] = strings.Repeat("a", 64) + ".test" },
		"routes[0]":              func(c *Config) { c.Routes[0] = prefix("10.0.0.0/8") },
		"more than fit": func(c *Config) {
			for i := range 100 {
				c.Routes = append(c.Routes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(i)}), 16))
			}
		},
	} {
		cfg := config()
		spoil(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// However much is gone, what is stays whole, and the message fits.
func TestMuchIsGone(t *testing.T) {
	a := newAdvertiser(t, config())
	for i := range 50 {
		cfg := config()
		cfg.Prefixes = []Prefix{{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(i)}), 64), Autonomous: true}}
		cfg.Search = []string{fmt.Sprintf("%s%d.test", strings.Repeat("x", 60), i)}
		if err := a.Set(cfg, start); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range [][]byte{a.Message(start), a.Final(start)} {
		if len(b) > maxMessage || !strings.Contains(options(t, b), "fd31::/64") {
			t.Errorf("%d octets: %s", len(b), options(t, b))
		}
	}
}

func TestCheckSolicitation(t *testing.T) {
	local, none := netip.MustParseAddr("fe80::2"), netip.IPv6Unspecified()
	plain := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	named := append(bytes.Clone(plain), 1, 1, 2, 0, 0, 0, 0, 1)
	tests := []struct {
		name string
		icmp []byte
		src  netip.Addr
		hops uint8
		ok   bool
	}{
		{"plain", plain, local, 255, true},
		{"without a source", plain, none, 255, true},
		{"with a link-layer address", named, local, 255, true},
		{"with one and without a source", named, none, 255, false},
		{"forwarded", plain, local, 254, false},
		{"short", plain[:7], local, 255, false},
		{"code 1", []byte{133, 1, 0, 0, 0, 0, 0, 0}, local, 255, false},
		{"an option of no length", append(bytes.Clone(plain), 1, 0, 2, 0, 0, 0, 0, 1), local, 255, false},
		{"an advertisement", []byte{134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, local, 255, false},
		{"a neighbor solicitation", append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 16)...), local, 255, false},
	}
	for _, tt := range tests {
		if err := CheckSolicitation(tt.icmp, tt.src, tt.hops); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzCheckSolicitation(f *testing.F) {
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1})
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 31, 2, 0, 0, 0, 0, 0, 9, 1, 'a', 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if CheckSolicitation(b, netip.MustParseAddr("fe80::2"), 255) == nil && b[0] != 133 {
			t.Errorf("%x is not a solicitation", b)
		}
	})
}
