package v4

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func ip(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func plus(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(b[:])+uint32(n))))
}

func mac(n int) lease.MAC { return lease.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

// labConfig has ten addresses, .100 to .104 and .200 to .204, and reserves
// .10, outside, and .100, inside, for the clients 10 and 11.
func labConfig() Config {
	return Config{
		Server:  netip.MustParsePrefix("192.168.10.1/24"),
		Ranges:  []Range{{Start: ip("192.168.10.200"), End: ip("192.168.10.204")}, {Start: ip("192.168.10.100"), End: ip("192.168.10.104")}},
		Routers: []netip.Addr{ip("192.168.10.1")},
		DNS:     []netip.Addr{ip("192.168.10.1")},
		Domain:  "lab.test", MTU: 1450,
		Reservations: []Reservation{
			{MAC: mac(10), Address: ip("192.168.10.10"), Hostname: "Web"},
			{MAC: mac(11), Address: ip("192.168.10.100")},
			{MAC: mac(12), Hostname: "db"},
		},
	}
}

// relayedConfig is a subnet behind a relay, with a reservation for each way in
// which a client is known.
func relayedConfig() Config {
	return Config{
		Server: netip.MustParsePrefix("192.168.10.1/24"), Relayed: netip.MustParsePrefix("10.30.0.0/24"),
		Ranges: []Range{{Start: ip("10.30.0.100"), End: ip("10.30.0.104")}},
		Reservations: []Reservation{
			{ClientID: "id", Address: ip("10.30.0.5")},
			{DUID: "\x00\x03\x00\x01\x02", Address: ip("10.30.0.6"), Hostname: "duid"},
			{Hostname: "named", Address: ip("10.30.0.7")},
		},
	}
}

// world is a pool with its leases, whose caller does what decisions say.
type world struct {
	t      testing.TB
	leases *lease.Table
	pool   *Pool
	now    time.Time
}

func newWorld(t testing.TB, cfgs ...Config) *world {
	t.Helper()
	sub, err := Compile(cfgs...)
	if err != nil {
		t.Fatal(err)
	}
	table := lease.Memory(slog.New(slog.DiscardHandler))
	return &world{t: t, leases: table, pool: NewPool(sub, table.Network("lab"), now), now: now}
}

func (w *world) answer(req *Request) Decision {
	w.t.Helper()
	for _, a := range []*netip.Addr{&req.CIAddr, &req.GIAddr} {
		if !a.IsValid() {
			*a = netip.IPv4Unspecified()
		}
	}
	d := w.pool.Answer(req, w.now)
	if d.Bind {
		d.Lease.Network = "lab"
		w.leases.Bind(d.Lease, nil)
	}
	if d.End != 0 {
		w.leases.End(d.End, "lab", req.MAC, d.Address, w.now, nil)
	}
	return d
}

func (w *world) discover(n int) Decision {
	w.t.Helper()
	return w.answer(&Request{Type: DHCPDISCOVER, MAC: mac(n)})
}

// take does the four messages, and returns the address or "".
func (w *world) take(n int) string {
	w.t.Helper()
	d := w.discover(n)
	if d.Reply == 0 {
		return ""
	}
	req := selecting(n, d.Address.String())
	req.ServerID = w.pool.svc.subnets[0].Server
	d = w.answer(req)
	if d.Reply != DHCPACK {
		w.t.Fatalf("client %d: request of an offered address: %s, %s", n, d.Reply, d.Why)
	}
	return d.Address.String()
}

func (w *world) bound(n int, addr string) {
	w.leases.Bind(lease.Lease{Network: "lab", MAC: mac(n), Address: ip(addr), Start: w.now, Expires: w.now.Add(time.Hour)}, nil)
}

func selecting(n int, addr string) *Request {
	return &Request{Type: DHCPREQUEST, MAC: mac(n), RequestedIP: ip(addr), ServerID: ip("192.168.10.1")}
}

func initReboot(n int, addr string) *Request {
	return &Request{Type: DHCPREQUEST, MAC: mac(n), RequestedIP: ip(addr)}
}

func rebinding(n int, addr string) *Request {
	return &Request{Type: DHCPREQUEST, MAC: mac(n), CIAddr: ip(addr)}
}

func renewing(n int, addr string) *Request {
	r := rebinding(n, addr)
	r.Unicast = true
	return r
}

func otherServer(n int, addr string) *Request {
	r := selecting(n, addr)
	r.ServerID = ip("192.168.10.99")
	return r
}

func message(typ MessageType, n int, requested, ciaddr string) *Request {
	r := &Request{Type: typ, MAC: mac(n), RequestedIP: ip(requested)}
	if ciaddr != "" {
		r.CIAddr = ip(ciaddr)
	}
	return r
}

// Client 1 has .101, client 2 had .102 and its lease is over, client 3 was
// offered .103, client 4 declined .104; 10 and 11 have reservations.
func stage(t *testing.T) *world {
	w := newWorld(t, labConfig())
	w.bound(2, "192.168.10.102")
	w.now = w.now.Add(2 * time.Hour)
	w.bound(1, "192.168.10.101")
	for n, addr := range map[int]string{3: "192.168.10.103", 4: "192.168.10.104"} {
		w.answer(message(DHCPDISCOVER, n, addr, ""))
	}
	w.answer(message(DHCPDECLINE, 4, "192.168.10.104", ""))
	return w
}

func TestRequestInEachState(t *testing.T) {
	const ack, nak, silent = DHCPACK, DHCPNAK, 0
	tests := []struct {
		name  string
		req   *Request
		state State
		reply MessageType
		why   pool.Reason
	}{
		{"SELECTING what was offered", selecting(3, "192.168.10.103"), SELECTING, ack, pool.Bound},
		{"SELECTING another server", otherServer(3, "192.168.10.103"), SELECTING, silent, pool.OtherServer},
		{"SELECTING a leased address", selecting(3, "192.168.10.101"), SELECTING, nak, Leased},
		{"SELECTING a declined address", selecting(3, "192.168.10.104"), SELECTING, nak, Quarantined},
		{"SELECTING a reserved address", selecting(3, "192.168.10.10"), SELECTING, nak, ReservedOther},
		{"SELECTING outside of the ranges", selecting(3, "192.168.10.50"), SELECTING, nak, OutsideRanges},
		{"SELECTING the server's address", selecting(3, "192.168.10.1"), SELECTING, nak, NotForClients},
		{"SELECTING the broadcast address", selecting(3, "192.168.10.255"), SELECTING, nak, NotForClients},
		{"SELECTING what was offered to another", selecting(7, "192.168.10.103"), SELECTING, nak, OfferedOther},
		{"SELECTING what was not offered", selecting(7, "192.168.10.203"), SELECTING, ack, pool.Bound},
		{"SELECTING what was not offered, with a lease", selecting(1, "192.168.10.203"), SELECTING, nak, HasAnother},

		{"INIT-REBOOT with a lease", initReboot(1, "192.168.10.101"), INITREBOOT, ack, pool.Renewed},
		{"INIT-REBOOT with a lease that is over", initReboot(2, "192.168.10.102"), INITREBOOT, ack, pool.Bound},
		{"INIT-REBOOT from another network", initReboot(1, "10.0.0.5"), INITREBOOT, nak, WrongNetwork},
		{"INIT-REBOOT with another's address", initReboot(2, "192.168.10.101"), INITREBOOT, nak, Leased},
		{"INIT-REBOOT with a wrong address", initReboot(1, "192.168.10.200"), INITREBOOT, nak, HasAnother},
		{"INIT-REBOOT of an unknown client", initReboot(7, "192.168.10.200"), INITREBOOT, ack, pool.Bound},
		{"INIT-REBOOT of an unknown client, promised address", initReboot(7, "192.168.10.103"), INITREBOOT, nak, OfferedOther},
		{"INIT-REBOOT of an unknown client, outside", initReboot(7, "192.168.10.50"), INITREBOOT, nak, OutsideRanges},
		{"INIT-REBOOT without an address", initReboot(1, ""), INITREBOOT, silent, Incomplete},

		{"RENEWING", renewing(1, "192.168.10.101"), RENEWING, ack, pool.Renewed},
		{"RENEWING what another has", renewing(2, "192.168.10.101"), RENEWING, nak, Leased},
		{"RENEWING of an unknown client", renewing(7, "192.168.10.201"), RENEWING, ack, pool.Bound},
		{"RENEWING a dynamic lease when there is a reservation", renewing(11, "192.168.10.201"), RENEWING, nak, ReservedElse},
		{"RENEWING a reserved address", renewing(11, "192.168.10.100"), RENEWING, ack, pool.Bound},
		{"RENEWING an address that is reserved now", renewing(1, "192.168.10.100"), RENEWING, nak, ReservedOther},

		{"REBINDING", rebinding(1, "192.168.10.101"), REBINDING, ack, pool.Renewed},
		{"REBINDING in the wrong network", rebinding(1, "172.16.0.9"), REBINDING, nak, WrongNetwork},
		{"REBINDING of an unknown client", rebinding(7, "192.168.10.204"), REBINDING, ack, pool.Bound},
		{"REBINDING a reserved address outside of the ranges", rebinding(10, "192.168.10.10"), REBINDING, ack, pool.Bound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := stage(t)
			d := w.answer(tt.req)
			if d.State != tt.state || d.Reply != tt.reply || d.Why != tt.why {
				t.Errorf("got %s: %s, %s; want %s: %s, %s", d.State, d.Reply, d.Why, tt.state, tt.reply, tt.why)
			}
			if _, want := tt.req.state(); tt.reply == ack && (d.Address != want || !d.Bind || d.Seconds != 3600) {
				t.Errorf("got %s, bind %v, %d s", d.Address, d.Bind, d.Seconds)
			}
		})
	}
}

func TestOtherMessages(t *testing.T) {
	tests := []struct {
		name string
		req  *Request
		want Decision
	}{
		{"DECLINE by the holder", message(DHCPDECLINE, 1, "192.168.10.101", ""), Decision{Why: pool.Declined, Address: ip("192.168.10.101"), End: lease.Declined}},
		{"DECLINE of an offer", message(DHCPDECLINE, 3, "192.168.10.103", ""), Decision{Why: pool.Declined, Address: ip("192.168.10.103"), End: lease.Declined}},
		{"DECLINE by another", message(DHCPDECLINE, 2, "192.168.10.101", ""), Decision{Why: pool.NotLeased}},
		{"DECLINE of nothing", message(DHCPDECLINE, 2, "", ""), Decision{Why: Incomplete}},
		{"RELEASE by the holder", message(DHCPRELEASE, 1, "", "192.168.10.101"), Decision{Why: pool.Released, Address: ip("192.168.10.101"), End: lease.Released}},
		{"RELEASE by another", message(DHCPRELEASE, 2, "", "192.168.10.101"), Decision{Why: pool.NotLeased}},
		{"INFORM", message(DHCPINFORM, 9, "", "192.168.10.77"), Decision{Reply: DHCPACK, Why: pool.Informed}},
		{"INFORM from elsewhere", message(DHCPINFORM, 9, "", "10.0.0.1"), Decision{Why: WrongNetwork}},
		{"INFORM without an address", message(DHCPINFORM, 9, "", ""), Decision{Why: Incomplete}},
		{"a server's message", message(DHCPOFFER, 9, "", ""), Decision{Why: Unknown}},
		{"a message relayed from elsewhere", &Request{Type: DHCPDISCOVER, MAC: mac(9), GIAddr: ip("192.0.2.9")}, Decision{Why: pool.NoSubnet}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := stage(t).answer(tt.req)
			got.Subnet = nil
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDiscoverChooses(t *testing.T) {
	tests := []struct {
		name      string
		client    int
		requested string
		want      string // "": any free one
		check     bool
	}{
		{"the reservation, whatever is asked", 10, "192.168.10.200", "192.168.10.10", false},
		{"the lease in force", 1, "192.168.10.200", "192.168.10.101", false},
		{"the lease that is over", 2, "192.168.10.200", "192.168.10.102", false},
		{"what was offered before", 3, "192.168.10.200", "192.168.10.103", true},
		{"what is asked for", 7, "192.168.10.203", "192.168.10.203", true},
		{"not what another has", 7, "192.168.10.101", "", true},
		{"not what is promised", 7, "192.168.10.103", "", true},
		{"not what is declined", 7, "192.168.10.104", "", true},
		{"not what is reserved", 7, "192.168.10.100", "", true},
		{"not what is outside", 7, "192.168.10.99", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := stage(t)
			d := w.answer(message(DHCPDISCOVER, tt.client, tt.requested, ""))
			if d.Reply != DHCPOFFER || d.Probe != tt.check {
				t.Fatalf("got %s, check %v", d.Reply, d.Probe)
			}
			if tt.want != "" && d.Address != ip(tt.want) || tt.want == "" && d.Address.As4()[3] < 200 {
				t.Errorf("got %s, want %q", d.Address, tt.want)
			}
			if again := w.discover(tt.client); again.Address != d.Address {
				t.Errorf("second offer is %s, not %s", again.Address, d.Address)
			}
		})
	}
}

func TestPoolIsUsedUpInOrder(t *testing.T) {
	w := newWorld(t, labConfig())
	// Nine dynamic addresses; 100 is reserved.
	seen := map[string]bool{}
	for n := 100; n < 109; n++ {
		a := w.take(n)
		if a == "" || seen[a] || a == "192.168.10.100" {
			t.Fatalf("client %d got %q", n, a)
		}
		seen[a] = true
		w.now = w.now.Add(time.Second)
	}
	if d := w.discover(200); d.Reply != 0 || d.Why != pool.Exhausted {
		t.Fatalf("a tenth client got %s %s", d.Reply, d.Address)
	}
	first, _ := w.leases.Network("lab").ByMAC(mac(100))
	second, _ := w.leases.Network("lab").ByMAC(mac(101))
	w.now = w.now.Add(time.Hour)
	if got := w.take(201); got != first.Address.String() {
		t.Errorf("got %s, want %s, whose lease ended first", got, first.Address)
	}
	if got := w.take(202); got != second.Address.String() {
		t.Errorf("got %s, want %s, whose lease ended second", got, second.Address)
	}
}

func TestEndedAddressThatRestsIsPassedOver(t *testing.T) {
	w := newWorld(t, labConfig())
	for n := 100; n < 109; n++ {
		w.take(n)
	}
	l, _ := w.leases.Network("lab").ByMAC(mac(103))
	w.answer(message(DHCPDECLINE, 103, l.Address.String(), ""))
	if d := w.discover(200); d.Why != pool.Exhausted {
		t.Errorf("a declined address was given at once: %s", d.Address)
	}
	w.now = w.now.Add(pool.QuarantineTime)
	if got := w.take(200); got != l.Address.String() {
		t.Errorf("after ten minutes: got %q, want %s", got, l.Address)
	}
}

func TestFloodOfDiscovers(t *testing.T) {
	w := newWorld(t, labConfig())
	for n := range 10_000 {
		if d := w.discover(1000 + n); d.Reply == 0 {
			t.Fatalf("%d: no offer: %s", n, d.Why)
		}
		if n%1000 == 999 && n < 8000 {
			if got := w.take(n / 1000); got == "" {
				t.Fatal("a real client got nothing")
			}
		}
	}
	if got, _ := w.pool.Len(); got > 10 {
		t.Errorf("%d offers for ten addresses", got)
	}
}

func TestDeclinesCannotUseUpThePool(t *testing.T) {
	w := newWorld(t, labConfig())
	for n := 100; n < 200; n++ {
		a := w.take(n)
		w.answer(message(DHCPDECLINE, n, a, ""))
	}
	if _, got := w.pool.Len(); got > 2 {
		t.Errorf("%d of 10 addresses are in quarantine", got)
	}
	if w.take(300) == "" {
		t.Error("an honest client got nothing")
	}
}

// A reserved address that another client has is not in use twice: its holder is refused
// at its next message, and the client that it is reserved for has another one until then.
func TestReservedAddressInUse(t *testing.T) {
	for name, key := range map[string]Reservation{
		"mac": {MAC: mac(1)}, "client identifier": {ClientID: "\x01one"}, "DUID": {DUID: "\x00\x03\x00\x01\x02"}, "hostname": {Hostname: "one"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, labConfig())
			as := func(r *Request) *Request {
				switch {
				case key.ClientID != "":
					r.ClientID = []byte(key.ClientID)
				case key.DUID != "":
					r.ClientID = []byte("\xff\x01\x02\x03\x04" + key.DUID)
				case key.Hostname != "":
					r.Hostname = []byte(key.Hostname)
				}
				return r
			}
			taken := ip(w.take(2))
			cfg := labConfig()
			key.Address = taken
			cfg.Reservations = append(cfg.Reservations, key)
			sub, err := Compile(cfg)
			if err != nil {
				t.Fatal(err)
			}
			w.pool.SetService(sub, w.now)
			discover := func() Decision { return w.answer(as(message(DHCPDISCOVER, 1, "", ""))) }
			o := discover()
			d := w.answer(as(selecting(1, o.Address.String())))
			if !d.Bind || d.Address == taken || d.InUse != taken {
				t.Fatalf("while it is in use: %s %s, in use %s", d.Address, d.Why, d.InUse)
			}
			mine := d.Address.String()
			if d := w.answer(as(renewing(1, mine))); d.Why != pool.Renewed {
				t.Errorf("renewal of the other address meanwhile: %s", d.Why)
			}
			if d := w.answer(as(selecting(1, taken.String()))); d.Bind {
				t.Error("it is bound twice")
			}
			if d := w.answer(renewing(2, taken.String())); d.Reply != DHCPNAK || d.Why != ReservedOther || d.End != lease.Released {
				t.Errorf("renewal by the holder: %s, %s, %v", d.Reply, d.Why, d.End)
			}
			if d := w.answer(as(renewing(1, mine))); d.Why != ReservedElse {
				t.Errorf("renewal of the other address: %s", d.Why)
			}
			if o = discover(); o.Address != taken || !o.Probe {
				t.Fatalf("then: %s, check %v", o.Address, o.Probe)
			}
			if d := w.answer(as(selecting(1, taken.String()))); !d.Bind || d.Address != taken {
				t.Errorf("then: %s", d.Why)
			}
		})
	}
}

func TestLeaseOutlivesItsRange(t *testing.T) {
	w := newWorld(t, labConfig())
	w.bound(1, "192.168.10.101")
	cfg := labConfig()
	cfg.Ranges = cfg.Ranges[:1]
	sub, _ := Compile(cfg)
	w.pool.SetService(sub, w.now)
	if d := w.answer(renewing(1, "192.168.10.101")); d.Why != pool.Renewed {
		t.Errorf("renewal: %s", d.Why)
	}
	if d := w.discover(1); d.Address.As4()[3] < 200 {
		t.Errorf("a new offer is %s, outside of the range", d.Address)
	}
}

func TestHostnames(t *testing.T) {
	w := newWorld(t, labConfig())
	ask := func(n int, name string) string {
		req := selecting(n, w.discover(n).Address.String())
		if name != "-" {
			req.Hostname = []byte(name)
		}
		return w.answer(req).Lease.Hostname
	}
	steps := []struct {
		client     int
		name, want string
	}{
		{1, "Guest.example.com", "guest"},
		{2, "guest", ""},        // the first holder keeps it
		{1, "-", "guest"},       // not said again, kept
		{2, "web", ""},          // reserved for 10, which is not even here
		{10, "whatever", "web"}, // the reservation's
		{12, "-", "db"},         // a reservation without an address
		{1, "renamed", "renamed"},
		{2, "guest", "guest"}, // free now
		{3, "not_a_label", ""},
	}
	for i, s := range steps {
		if got := ask(s.client, s.name); got != s.want {
			t.Errorf("step %d: client %d says %q: got %q, want %q", i, s.client, s.name, got, s.want)
		}
	}
	if l, _ := w.leases.Network("lab").ByMAC(mac(10)); l.Address != ip("192.168.10.10") {
		t.Errorf("client 10 has %s", l.Address)
	}
}

func TestLeaseTime(t *testing.T) {
	tests := []struct {
		configured, asked time.Duration
		want              uint32
	}{
		{0, 0, 3600},
		{time.Hour, 10 * time.Minute, 600},
		{time.Hour, time.Second, 120},
		{time.Minute, time.Second, 60},
		{time.Hour, 24 * time.Hour, 3600},
		{pool.Infinite, 0, pool.InfiniteSeconds},
		{pool.Infinite, time.Hour, 3600},
		{200 * 365 * 24 * time.Hour, 0, pool.InfiniteSeconds},
	}
	for _, tt := range tests {
		cfg := labConfig()
		cfg.LeaseTime = tt.configured
		w := newWorld(t, cfg)
		req := selecting(1, w.discover(1).Address.String())
		req.LeaseTime = tt.asked
		d := w.answer(req)
		if d.Seconds != tt.want || d.Lease.Expires.IsZero() != (tt.want == pool.InfiniteSeconds) {
			t.Errorf("%s, asked %s: got %d s, expires %s; want %d s", tt.configured, tt.asked, d.Seconds, d.Lease.Expires, tt.want)
		}
	}
}

// The big pool: 60 000 addresses.
func bigConfig() Config {
	return Config{
		Server: netip.MustParsePrefix("10.0.0.1/16"),
		Ranges: []Range{{Start: ip("10.0.1.0"), End: ip("10.0.235.95")}},
		DNS:    []netip.Addr{ip("10.0.0.1")}, Routers: []netip.Addr{ip("10.0.0.1")}, Domain: "lab.test",
	}
}

func TestBigPoolToTheLastAddress(t *testing.T) {
	w := newWorld(t, bigConfig())
	if got := w.pool.svc.subnets[0].Size(); got != 60_000 {
		t.Fatalf("%d addresses", got)
	}
	for n := range 60_000 {
		if w.take(n) == "" {
			t.Fatalf("client %d got nothing", n)
		}
	}
	if w.take(60_000) != "" {
		t.Error("one too many")
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, held := range []int{0, 59_000} {
		b.Run(fmt.Sprintf("exchange/held=%d", held), func(b *testing.B) {
			w := newWorld(b, bigConfig())
			for n := range held {
				w.bound(n, plus(ip("10.0.1.0"), n).String())
			}
			w.pool.SetService(w.pool.svc, now)
			clients := make([][2][]byte, 1000)
			for i := range clients {
				clients[i] = [2][]byte{wire(b, 100_000+i, DHCPDISCOVER, ""), nil}
			}
			out := make([]byte, 0, 1500)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c := &clients[i%len(clients)]
				req, err := Parse(c[0])
				if err != nil {
					b.Fatal(err)
				}
				d := w.pool.Answer(&req, now)
				out = w.pool.svc.subnets[0].AppendReply(out[:0], &req, &d)
				if c[1] == nil {
					c[1] = wire(b, 100_000+i, DHCPREQUEST, d.Address.String())
				}
				req, _ = Parse(c[1])
				d = w.pool.Answer(&req, now)
				if d.Reply != DHCPACK {
					b.Fatal(d.Why)
				}
				d.Lease.Network = "lab"
				w.leases.Bind(d.Lease, nil)
				out = w.pool.svc.subnets[0].AppendReply(out[:0], &req, &d)
			}
		})
	}
	b.Run("parse", func(b *testing.B) {
		msg := wire(b, 1, DHCPDISCOVER, "")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("find/last address of 60000", func(b *testing.B) {
		w := newWorld(b, bigConfig())
		for n := range 59_999 {
			w.bound(n, plus(ip("10.0.1.0"), n).String())
		}
		w.pool.SetService(w.pool.svc, now)
		for b.Loop() {
			if d := w.discover(100_000); d.Reply == 0 {
				b.Fatal(d.Why)
			}
			w.pool.Withdraw(w.pool.OfferTo(lease.Client{MAC: mac(100_000)}), now)
		}
	})
}

// Only who was asked and answers takes up an offer; all else costs credit.
func TestTakesUp(t *testing.T) {
	w := newWorld(t, labConfig())
	addr := w.discover(3).Address.String()
	for _, tt := range []struct {
		name string
		req  *Request
		want bool
	}{
		{"offered to another", selecting(4, addr), false},
		{"what nobody offered", initReboot(5, "192.168.10.150"), false},
		{"an extension", renewing(5, "192.168.10.150"), false},
	} {
		if d := w.answer(tt.req); d.Accepts != tt.want {
			t.Errorf("%s: %v (%s)", tt.name, d.Accepts, d.Why)
		}
	}
	if d := w.answer(selecting(3, addr)); !d.Accepts {
		t.Errorf("an offer that another client wanted: %s", d.Why)
	}
	addr = w.discover(6).Address.String()
	if d := w.answer(selecting(6, addr)); !d.Accepts {
		t.Errorf("an offer: %s", d.Why)
	}
	if d := w.answer(selecting(6, addr)); d.Accepts || !d.Bind {
		t.Errorf("the same twice: %s", d.Why)
	}
}
