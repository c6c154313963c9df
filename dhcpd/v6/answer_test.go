package v6

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"

	"github.com/vnetd/vnetd/dhcpd/pool"
)

const (
	solicit = SOLICIT
	request = REQUEST
	confirm = CONFIRM
	renew   = RENEW
	rebind  = REBIND
	release = RELEASE
	decline = DECLINE
	inform  = INFORMATIONREQUEST
)

func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func mac(n int) lease.MAC          { return lease.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }
func duid(n int) string            { return fmt.Sprintf("\x00\x04client-%09d", n) }

var us = DUIDLL(lease.MAC{2, 0, 0, 0, 0xff, 1})

// config has ten addresses, and a reservation by MAC and one by DUID.
func config() Config {
	return Config{
		DUID: us,
		Subnets: []Subnet{{
			Server: prefix("fd00:10::1/64"),
			Ranges: []Range{{Start: ip("fd00:10::100"), End: ip("fd00:10::109")}},
			Reservations: []Reservation{
				{MAC: mac(50), Address: ip("fd00:10::50"), Hostname: "mail"},
				{DUID: duid(51), Address: ip("fd00:10::103"), Hostname: "db"},
			},
		}},
		DNS: []netip.Addr{ip("fd00:10::1")}, Search: []string{"lab.test", "example.com"}, Domain: "lab.test",
	}
}

// world is a pool and its leases, at a time.
type world struct {
	t      *testing.T
	pool   *Pool
	leases *lease.Table
	now    time.Time
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	svc, err := Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	table := lease.Memory(slog.New(slog.DiscardHandler))
	return &world{t, NewPool(svc, table.Network("lab"), time.Now()), table, time.Now()}
}

// ia is an association with addresses.
func ia(id uint32, addrs ...string) IA {
	x := IA{Code: optIANA, ID: id}
	for _, a := range addrs {
		x.addrs[x.n] = ip(a)
		x.n++
	}
	return x
}

// req is guest n's message, that follows the rules.
func req(typ MessageType, n int, ias ...IA) *Request {
	r := &Request{Type: typ, FrameMAC: mac(n), From: ip("fe80::99"), ClientID: []byte(duid(n))}
	if rules[typ]&needsServer != 0 {
		r.ServerID = []byte(us)
	}
	r.n = copy(r.ias[:], ias)
	return r
}

// ask answers, does what is decided, and prints the decision.
func (w *world) ask(r *Request) (Decision, string) {
	d := w.pool.Answer(r, w.now)
	for _, e := range d.End {
		e.Network = "lab"
		w.leases.EndLease(d.EndKind, e, w.now, nil)
	}
	for _, l := range d.Bind {
		l.Network = "lab"
		w.leases.Bind(l, func(err error) {
			if err != nil {
				w.t.Error(err)
			}
		})
	}
	return d, d.text()
}

// text is a decision in a few words: "REPLY 1=fd00:10::100 2=NoBinding".
func (d *Decision) text() string {
	if d.Reply == 0 {
		return "silence: " + string(d.Why)
	}
	words := []string{d.Reply.String()}
	if d.Rapid {
		words = append(words, "rapid")
	}
	if d.Status != nil {
		words = append(words, d.Status.String())
	}
	for i := range d.IAs {
		words = append(words, d.IAs[i].text())
	}
	return strings.Join(words, " ")
}

func (r *IAReply) text() string {
	s := fmt.Sprintf("%d=", r.ID)
	if r.Address.IsValid() {
		s += r.Address.String()
	}
	if r.Status != nil {
		s += r.Status.String()
	}
	for _, g := range r.Invalid {
		s += "-" + g.String()
	}
	return s
}

// Who says what, and what is said to it. Guest 1 holds fd00:10::105 and guest 2
// fd00:10::106, with the associations 1.
func TestAnswers(t *testing.T) {
	without := func(r *Request, f func(*Request)) *Request { f(r); return r }
	tests := []struct {
		name string
		req  *Request
		want string
	}{
		{"SOLICIT names a free address", req(solicit, 3, ia(1, "fd00:10::107")), "ADVERTISE 1=fd00:10::107"},
		{"SOLICIT names another's address", req(solicit, 1, ia(1, "fd00:10::106")), "ADVERTISE 1=fd00:10::105"},
		{"SOLICIT of who has one", req(solicit, 1, ia(1)), "ADVERTISE 1=fd00:10::105"},
		{"SOLICIT off the link is only a wish", req(solicit, 1, ia(1, "2001:db8::5")), "ADVERTISE 1=fd00:10::105"},
		{"SOLICIT, reserved by MAC", req(solicit, 50, ia(1)), "ADVERTISE 1=fd00:10::50"},
		{"SOLICIT, reserved by DUID", req(solicit, 51, ia(1, "fd00:10::107")), "ADVERTISE 1=fd00:10::103"},
		{"SOLICIT, the reservation of another", req(solicit, 1, ia(7, "fd00:10::103")), "ADVERTISE 7=fd00:10::10"},
		{"SOLICIT with rapid commit", without(req(solicit, 1, ia(1)), func(r *Request) { r.Rapid = true }), "REPLY rapid 1=fd00:10::105"},
		{"SOLICIT for a prefix", req(solicit, 1, IA{Code: optIAPD, ID: 9}), "ADVERTISE 9=NoPrefixAvail"},
		{"SOLICIT for a temporary address", req(solicit, 1, IA{Code: optIATA, ID: 9}), "ADVERTISE 9=NoAddrsAvail"},
		{"SOLICIT for nothing", req(solicit, 1), "ADVERTISE"},
		{"SOLICIT with a server", without(req(solicit, 1, ia(1)), func(r *Request) { r.ServerID = []byte(us) }), "silence: " + string(Invalid)},
		{"SOLICIT without a client", without(req(solicit, 1, ia(1)), func(r *Request) { r.ClientID = nil }), "silence: " + string(Invalid)},
		{"SOLICIT by unicast", without(req(solicit, 1, ia(1)), func(r *Request) { r.Unicast = true }), "silence: " + string(ByUnicast)},

		{"REQUEST", req(request, 3, ia(1, "fd00:10::107")), "REPLY 1=fd00:10::107"},
		{"REQUEST of two", req(request, 3, ia(1, "fd00:10::107"), ia(2, "fd00:10::108")), "REPLY 1=fd00:10::107 2=fd00:10::108"},
		{"REQUEST of the same twice", req(request, 3, ia(1, "fd00:10::107"), ia(2, "fd00:10::107")), "REPLY 1=fd00:10::107 2=fd00:10::10"},
		{"REQUEST off the link", req(request, 3, ia(1, "2001:db8::5"), ia(2, "fd00:10::107")), "REPLY 1=NotOnLink 2=fd00:10::107"},
		{"REQUEST of two by a reserved guest", req(request, 50, ia(1), ia(2)), "REPLY 1=fd00:10::50 2=fd00:10::10"},
		{"REQUEST to another", without(req(request, 3, ia(1)), func(r *Request) { r.ServerID = []byte("abc") }), "silence: " + string(pool.OtherServer)},
		{"REQUEST to nobody", without(req(request, 3, ia(1)), func(r *Request) { r.ServerID = nil }), "silence: " + string(Invalid)},
		{"REQUEST by unicast", without(req(request, 1, ia(1)), func(r *Request) { r.Unicast = true }), "REPLY 1=fd00:10::105"},

		{"CONFIRM", req(confirm, 1, ia(1, "fd00:10::105")), "REPLY Success"},
		{"CONFIRM of what we do not know, on the link", req(confirm, 9, ia(1, "fd00:10::f00")), "REPLY Success"},
		{"CONFIRM elsewhere", req(confirm, 1, ia(1, "fd00:10::105", "2001:db8::5")), "REPLY NotOnLink"},
		{"CONFIRM of nothing", req(confirm, 1, ia(1)), "silence: " + string(NoAddresses)},

		{"RENEW", req(renew, 1, ia(1, "fd00:10::105")), "REPLY 1=fd00:10::105"},
		{"RENEW of what was lost", req(renew, 3, ia(1, "fd00:10::108")), "REPLY 1=fd00:10::108"},
		{"RENEW of another's", req(renew, 3, ia(1, "fd00:10::105")), "REPLY 1=NoBinding"},
		{"RENEW out of the range", req(renew, 3, ia(1, "fd00:10::f00")), "REPLY 1=NoBinding"},
		{"RENEW of what is not on the link any more", req(renew, 1, ia(1, "2001:db8::5")), "REPLY 1=fd00:10::105-2001:db8::5"},
		{"RENEW of another address of ours", req(renew, 1, ia(1, "fd00:10::108")), "REPLY 1=fd00:10::105-fd00:10::108"},
		{"RENEW with a reservation since", req(renew, 50, ia(1, "fd00:10::108")), "REPLY 1=fd00:10::50-fd00:10::108"},
		{"RENEW without an address", req(renew, 1, ia(1)), "REPLY 1=fd00:10::105"},
		{"RENEW of one and of a new one", req(renew, 1, ia(1, "fd00:10::105"), ia(2)), "REPLY 1=fd00:10::105 2=fd00:10::10"},
		{"REBIND", req(rebind, 1, ia(1, "fd00:10::105")), "REPLY 1=fd00:10::105"},
		{"REBIND of another's", req(rebind, 3, ia(1, "fd00:10::105")), "REPLY 1=NoBinding"},
		{"REBIND with a server", without(req(rebind, 1, ia(1)), func(r *Request) { r.ServerID = []byte(us) }), "silence: " + string(Invalid)},

		{"RELEASE", req(release, 1, ia(1, "fd00:10::105")), "REPLY Success"},
		{"RELEASE of one and of another's", req(release, 1, ia(1, "fd00:10::105"), ia(2, "fd00:10::106")), "REPLY Success 2=NoBinding"},
		{"DECLINE", req(decline, 1, ia(1, "fd00:10::105")), "REPLY Success"},
		{"DECLINE of another's", req(decline, 1, ia(1, "fd00:10::106")), "REPLY Success 1=NoBinding"},

		{"INFORMATION-REQUEST", req(inform, 1), "REPLY"},
		{"INFORMATION-REQUEST without a name", without(req(inform, 1), func(r *Request) { r.ClientID = nil }), "REPLY"},
		{"INFORMATION-REQUEST for addresses", req(inform, 1, ia(1)), "silence: " + string(Invalid)},
		{"INFORMATION-REQUEST to another", without(req(inform, 1), func(r *Request) { r.ServerID = []byte("abc") }), "silence: " + string(pool.OtherServer)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, config())
			w.ask(req(request, 1, ia(1, "fd00:10::105")))
			w.ask(req(request, 2, ia(1, "fd00:10::106")))
			_, got := w.ask(tt.req)
			same := got
			if strings.HasSuffix(tt.want, "=fd00:10::10") {
				same = got[:len(got)-1] // any of the range
			}
			if same != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The four steps, and what is remembered of them.
func TestLifeOfALease(t *testing.T) {
	w := newWorld(t, config())
	r := req(solicit, 1, ia(1))
	r.Hostname = []byte("Web")
	d, _ := w.ask(r)
	offered := d.IAs[0].Address
	if len(d.Bind) != 0 || !offered.IsValid() {
		t.Fatalf("%+v", d)
	}
	r.Type, r.ServerID = request, []byte(us)
	d, _ = w.ask(r)
	l := d.Bind[0]
	if d.Why != pool.Bound || l.Address != offered || l.Hostname != "web" || l.DUID != duid(1) || l.IAID != 1 ||
		l.MAC != mac(1) || !l.Expires.Equal(w.now.Add(time.Hour)) {
		t.Errorf("%+v", d)
	}
	w.now = w.now.Add(time.Minute)
	d, _ = w.ask(req(renew, 1, ia(1, offered.String())))
	if d.Why != pool.Renewed || d.Bind[0].Start.Equal(w.now) || !d.Bind[0].Expires.Equal(w.now.Add(time.Hour)) || d.Bind[0].Hostname != "web" {
		t.Errorf("%+v", d)
	}
	// After its end the client gets the same again, although others came.
	w.ask(req(release, 1, ia(1, offered.String())))
	w.ask(req(request, 2, ia(1)))
	if d, _ = w.ask(req(solicit, 1, ia(1))); d.IAs[0].Address != offered {
		t.Errorf("got %s, had %s", d.IAs[0].Address, offered)
	}
}

func TestDeclinedAddressRests(t *testing.T) {
	w := newWorld(t, config())
	d, _ := w.ask(req(request, 1, ia(1)))
	bad := d.Bind[0].Address
	w.ask(req(decline, 1, ia(1, bad.String())))
	for range 3 {
		if d, _ = w.ask(req(solicit, 1, ia(1, bad.String()))); d.IAs[0].Address == bad {
			t.Fatal("a declined address is offered")
		}
	}
	w.now = w.now.Add(pool.QuarantineTime)
	if d, _ = w.ask(req(solicit, 7, ia(1, bad.String()))); d.IAs[0].Address != bad {
		t.Errorf("got %s after the rest of %s", d.IAs[0].Address, bad)
	}
}

// All of a small range is given, and then what ended longest ago.
func TestSmallRangeIsUsedUp(t *testing.T) {
	w := newWorld(t, config())
	got := map[netip.Addr]int{}
	for n := range 9 { // ten, but one is reserved
		d, text := w.ask(req(request, n, ia(1)))
		if len(d.Bind) != 1 {
			t.Fatalf("guest %d: %s", n, text)
		}
		got[d.Bind[0].Address] = n
	}
	if _, text := w.ask(req(request, 20, ia(1))); len(got) != 9 || text != "REPLY 1=NoAddrsAvail" {
		t.Errorf("%d addresses, then %s", len(got), text)
	}
	if d, text := w.ask(req(solicit, 20, ia(1))); d.Why != pool.Exhausted || text != "ADVERTISE 1=NoAddrsAvail" {
		t.Errorf("%s", text)
	}
	w.now = w.now.Add(2 * time.Hour)
	d, text := w.ask(req(request, 20, ia(1), ia(2)))
	if len(d.Bind) != 2 || d.Bind[0].Address == d.Bind[1].Address {
		t.Errorf("after their end: %s", text)
	}
}

// A flood of SOLICITs from invented clients does not keep a real one out.
func TestFloodOfSolicits(t *testing.T) {
	w := newWorld(t, config())
	for n := range 1000 {
		w.ask(req(solicit, 1000+n, ia(1)))
	}
	d, _ := w.ask(req(solicit, 1, ia(1)))
	if d, text := w.ask(req(request, 1, ia(1, d.IAs[0].Address.String()))); len(d.Bind) != 1 {
		t.Error(text)
	}
}

// What is remembered is bounded, however large the range.
func TestLeasesAreBounded(t *testing.T) {
	cfg := config()
	cfg.Subnets[0].Ranges = []Range{{Start: ip("fd00:10::"), End: ip("fd00:10::ffff:ffff:ffff:ffff")}}
	w := newWorld(t, cfg)
	for n := range pool.MaxLeases6 + 100 {
		r := req(request, n&0xffff, ia(uint32(n)))
		w.ask(r)
	}
	if n := w.leases.Network("lab").Count6(); n > pool.MaxLeases6 {
		t.Errorf("%d leases", n)
	}
	if _, text := w.ask(req(request, 1, ia(99999999))); text != "REPLY 99999999=NoAddrsAvail" {
		t.Error(text)
	}
	w.now = w.now.Add(2 * time.Hour)
	if d, text := w.ask(req(request, 1, ia(99999999))); len(d.Bind) != 1 {
		t.Error(text)
	}
}

// The choice depends on the client alone, and clones that share a DUID and an
// IAID do not share an address.
func TestChoiceIsStable(t *testing.T) {
	cfg := config()
	cfg.Subnets[0].Ranges = []Range{{Start: ip("fd00:10::"), End: ip("fd00:10::ffff:ffff:ffff:ffff")}}
	seen := map[netip.Addr]bool{}
	for n := range 2000 {
		var got [2]netip.Addr
		for i := range got {
			w := newWorld(t, cfg)
			r := req(solicit, n, ia(1))
			r.ClientID = []byte(duid(1))
			d, _ := w.ask(r)
			got[i] = d.IAs[0].Address
		}
		if got[0] != got[1] || seen[got[0]] {
			t.Fatalf("guest %d: %s, %s", n, got[0], got[1])
		}
		seen[got[0]] = true
	}
}

func TestHostnames6(t *testing.T) {
	w := newWorld(t, config())
	bind4 := func(n int, name string) {
		w.leases.Bind(lease.Lease{Network: "lab", MAC: mac(n), Address: ip(fmt.Sprintf("10.0.0.%d", n)), Hostname: name}, nil)
	}
	bind4(1, "web")
	bind4(2, "files")
	tests := []struct {
		name, says, want string
		guest            int
	}{
		{"says nothing, has a name in IPv4", "", "web", 1},
		{"says the same", "web", "web", 1},
		{"another's name", "web", "", 3},
		{"a reservation's name", "mail", "", 3},
		{"a reservation by MAC", "other", "mail", 50},
		{"a reservation by DUID", "", "db", 51},
		{"no name at all", "under_score", "", 4},
		{"its own", "Printer", "printer", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := req(request, tt.guest, ia(1))
			if tt.says != "" {
				r.Hostname = []byte(tt.says)
			}
			if d, text := w.ask(r); len(d.Bind) != 1 || d.Bind[0].Hostname != tt.want {
				t.Errorf("%s: got %v, want %q", text, d.Bind, tt.want)
			}
		})
	}
	if a := w.leases.Network("lab").Addrs("web"); len(a) != 2 {
		t.Errorf("web has %v", a)
	}
}

// A guest that was installed anew has another DUID, and its reserved address at
// once; its second interface association does not take it from the first.
func TestReservationMovesWithTheGuest(t *testing.T) {
	w := newWorld(t, config())
	w.ask(req(request, 50, ia(1)))
	anew := req(request, 50, ia(1))
	anew.ClientID = []byte("installed anew")
	if _, text := w.ask(anew); text != "REPLY 1=fd00:10::50" {
		t.Error(text)
	}
	second := req(request, 50, ia(2))
	second.ClientID = anew.ClientID
	if _, text := w.ask(second); text == "REPLY 2=fd00:10::50" {
		t.Error(text)
	}
}

func TestChangeOfTheConfiguration(t *testing.T) {
	w := newWorld(t, config())
	d, _ := w.ask(req(request, 1, ia(1)))
	had := d.Bind[0].Address
	set := func(f func(*Config)) {
		cfg := config()
		f(&cfg)
		svc, err := Compile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.pool.SetService(svc, w.now)
	}
	set(func(c *Config) { c.Subnets[0].Ranges = []Range{{Start: ip("fd00:10::200"), End: ip("fd00:10::2ff")}} })
	if _, text := w.ask(req(renew, 1, ia(1, had.String()))); text != "REPLY 1="+had.String() {
		t.Errorf("out of the range since: %s", text)
	}
	set(func(c *Config) {
		c.Subnets[0] = Subnet{Server: prefix("fd00:11::1/64"), Ranges: []Range{{Start: ip("fd00:11::100"), End: ip("fd00:11::100")}}}
	})
	if _, text := w.ask(req(renew, 1, ia(1, had.String()))); text != "REPLY 1=fd00:11::100-"+had.String() {
		t.Errorf("another subnet since: %s", text)
	}
	set(func(c *Config) { c.Stateless = true })
	if _, text := w.ask(req(solicit, 1, ia(1))); text != "ADVERTISE 1=NoAddrsAvail" {
		t.Errorf("stateless since: %s", text)
	}
	if _, text := w.ask(req(inform, 1)); text != "REPLY" {
		t.Error(text)
	}
}

func TestSecondSubnetWhenTheFirstIsFull(t *testing.T) {
	cfg := config()
	cfg.Subnets[0].Ranges[0].End = cfg.Subnets[0].Ranges[0].Start
	cfg.Subnets = append(cfg.Subnets, Subnet{
		Server: prefix("fd00:20::1/64"), Ranges: []Range{{Start: ip("fd00:20::100"), End: ip("fd00:20::1ff")}}, LeaseTime: time.Minute,
	})
	w := newWorld(t, cfg)
	for n, want := range []uint32{3600, 60} {
		if d, text := w.ask(req(request, n, ia(1))); len(d.IAs) != 1 || d.IAs[0].Seconds != want {
			t.Errorf("guest %d: %s", n, text)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"duid: 0 octets":               func(c *Config) { c.DUID = "" },
		"subnets[0].server":            func(c *Config) { c.Subnets[0].Server = prefix("10.0.0.1/24") },
		"subnets[0].ranges[0]: fd00:1": func(c *Config) { c.Subnets[0].Ranges[0].Start = ip("fd00:1::1") },
		"comes after":                  func(c *Config) { c.Subnets[0].Ranges[0].Start = ip("fd00:10::fff") },
		"more than 2^64": func(c *Config) {
			c.Subnets[0] = Subnet{Server: prefix("fd00:10::1/48"), Ranges: []Range{{Start: ip("fd00:10::"), End: ip("fd00:10:0:1::")}}}
		},
		"reservations[0]: fd00:10::1 is":            func(c *Config) { c.Subnets[0].Reservations[0].Address = ip("fd00:10::1") },
		"neither a MAC, nor a DUID, nor a hostname": func(c *Config) { c.Subnets[0].Reservations[0] = Reservation{Address: ip("fd00:10::50")} },
		"reserved twice":                            func(c *Config) { c.Subnets[0].Reservations[1].Address = ip("fd00:10::50") },
		`"mail" is reserved twice`:                  func(c *Config) { c.Subnets[0].Reservations[1].Hostname = "Mail" },
		"not a label":                               func(c *Config) { c.Subnets[0].Reservations[1].Hostname = "a_b" },
		"dns[0]":                                    func(c *Config) { c.DNS[0] = ip("10.0.0.1") },
		"search[1]":                                 func(c *Config) { c.Search[1] = "a..b" },
		"subnets[0].tags[1]: \"a\" is":              func(c *Config) { c.Subnets[0].Tags = []option.Tag{{Name: "a"}, {Name: "a"}} },
		"reservations[0]: tags[0]: there":           func(c *Config) { c.Subnets[0].Reservations[0].Tags = []string{"b"} },
		"leaseTime":                                 func(c *Config) { c.Subnets[0].LeaseTime = -1 },
	} {
		cfg := config()
		spoil(&cfg)
		if _, err := Compile(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Only who was asked and answers takes up an offer; all else costs credit.
func TestTakesUp(t *testing.T) {
	rapid := req(solicit, 3, ia(1))
	rapid.Rapid = true
	for name, tt := range map[string]struct {
		said []*Request
		want bool
	}{
		"an offer":               {[]*Request{req(solicit, 3, ia(1, "fd00:10::107")), req(request, 3, ia(1, "fd00:10::107"))}, true},
		"the same twice":         {[]*Request{req(solicit, 3, ia(1)), req(request, 3, ia(1)), req(request, 3, ia(1))}, false},
		"another than offered":   {[]*Request{req(solicit, 3, ia(1, "fd00:10::107")), req(request, 3, ia(2, "fd00:10::108"))}, false},
		"offered to another":     {[]*Request{req(solicit, 4, ia(1, "fd00:10::107")), req(request, 3, ia(1, "fd00:10::107"))}, false},
		"what nobody offered":    {[]*Request{req(request, 3, ia(1, "fd00:10::107"))}, false},
		"an extension":           {[]*Request{req(solicit, 3, ia(1)), req(request, 3, ia(1)), req(renew, 3, ia(1))}, false},
		"a rapid one":            {[]*Request{rapid}, false},
		"a new offer of the old": {[]*Request{req(request, 3, ia(1)), req(solicit, 3, ia(1)), req(request, 3, ia(1))}, true},
	} {
		w := newWorld(t, config())
		var last Decision
		for _, r := range tt.said {
			last, _ = w.ask(r)
		}
		if last.Accepts != tt.want {
			t.Errorf("%s: %v, want %v", name, last.Accepts, tt.want)
		}
	}
}
