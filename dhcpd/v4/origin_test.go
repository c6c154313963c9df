package v4

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

// bridge is a fair.FDB.
type bridge struct {
	at      map[lease.MAC]fair.Port
	roaming bool // the MACs move from port to port
	gone    map[fair.Port]bool
}

func (b *bridge) Lookup(mac [6]byte) (fair.Port, bool) { return b.at[mac], !b.roaming }
func (b *bridge) Up(p fair.Port) bool                  { return !b.gone[p] }

const (
	victimPort   fair.Port = 3
	attackerPort fair.Port = 4
	relayPort    fair.Port = 5
)

// A lease ends, is renamed, and is left for another address by its holder only, whatever
// the message claims, and however it comes.
func TestOnlyTheHolder(t *testing.T) {
	const victim, attacker = 1, 66
	by := func(r *Request, from int, port fair.Port) *Request {
		r.From, r.Origin = mac(from), fair.Origin{Port: port}
		return r
	}
	relay := func(r *Request, giaddr string, from int, port fair.Port) *Request {
		r.GIAddr, r.Source = ip(giaddr), ip(giaddr)
		by(r, from, port).Origin.Circuit = 77
		return r
	}
	unicast := func(r *Request) *Request { r.Unicast = true; return r }
	release := func(a string) *Request { return message(DHCPRELEASE, victim, "", a) }
	decline := func(a string) *Request { return message(DHCPDECLINE, victim, a, "") }
	type situation struct {
		roaming, forgotten, gone, restored bool
	}
	const no, yes, look = "no", "ends", "ends if unused"
	for _, tt := range []struct {
		name string
		in   situation
		req  func(addr string) *Request
		want string
	}{
		{"its own", situation{}, func(a string) *Request { return by(release(a), victim, victimPort) }, yes},
		{"its own, unicast", situation{}, func(a string) *Request { return unicast(by(release(a), victim, victimPort)) }, yes},
		{"its own DECLINE", situation{}, func(a string) *Request { return by(decline(a), victim, victimPort) }, yes},
		{"its own, after a restart", situation{restored: true}, func(a string) *Request { return by(release(a), victim, victimPort) }, yes},
		{"its own, port forgotten", situation{forgotten: true}, func(a string) *Request { return by(release(a), victim, victimPort) }, look},
		{"its own, while another sends in its name", situation{roaming: true}, func(a string) *Request { return by(release(a), victim, victimPort) }, look},
		{"its own, from a new port", situation{gone: true}, func(a string) *Request { return by(release(a), victim, attackerPort) }, look},

		{"another MAC", situation{}, func(a string) *Request { return by(release(a), attacker, attackerPort) }, no},
		{"another MAC, unicast", situation{}, func(a string) *Request { return unicast(by(release(a), attacker, attackerPort)) }, no},
		{"another MAC, unicast DECLINE", situation{}, func(a string) *Request { return unicast(by(decline(a), attacker, attackerPort)) }, no},
		{"another MAC behind the holder's port", situation{}, func(a string) *Request { return unicast(by(release(a), attacker, victimPort)) }, no},
		{"another MAC, port forgotten", situation{forgotten: true}, func(a string) *Request { return unicast(by(release(a), attacker, attackerPort)) }, no},
		{"another MAC, after a restart", situation{restored: true}, func(a string) *Request { return unicast(by(release(a), attacker, attackerPort)) }, no},
		{"its MAC from another port", situation{}, func(a string) *Request { return by(release(a), victim, attackerPort) }, no},
		{"its MAC from another port, while it sends", situation{roaming: true}, func(a string) *Request { return by(release(a), victim, attackerPort) }, no},
		{"giaddr by a guest", situation{}, func(a string) *Request { return relay(release(a), "192.168.10.66", attacker, attackerPort) }, no},
		{"giaddr by a guest, port forgotten", situation{forgotten: true}, func(a string) *Request { return relay(release(a), "192.168.10.66", attacker, attackerPort) }, no},
		{"giaddr of the relay by a guest", situation{}, func(a string) *Request { return relay(release(a), "10.30.0.1", attacker, attackerPort) }, no},
	} {
		for _, addr := range []string{"192.168.10.101", "192.168.10.10"} { // in a range, and reserved outside of them
			t.Run(tt.name+"/"+addr, func(t *testing.T) {
				cfg := labConfig()
				cfg.Reservations[0].MAC = mac(victim)
				if addr == "192.168.10.101" {
					cfg.Reservations = cfg.Reservations[1:]
				}
				w := newWorld(t, cfg, relayedConfig())
				b := &bridge{at: map[lease.MAC]fair.Port{mac(attacker): attackerPort, mac(victim): victimPort}, gone: map[fair.Port]bool{victimPort: tt.in.gone}}
				d := w.answer(by(initReboot(victim, addr), victim, victimPort))
				if !d.Bind {
					t.Fatal(d.Why)
				}
				if d = w.answer(by(initReboot(victim, addr), victim, victimPort)); d.Why != pool.Renewed && d.Why != pool.Bound {
					t.Fatal(d.Why)
				}
				if tt.in.forgotten {
					l, _ := w.leases.Network("lab").ByAddr(ip(addr))
					l.Port = 0
					w.leases.Bind(l, nil)
				}
				if tt.in.forgotten || tt.in.restored {
					w.pool = NewPool(w.pool.svc, w.leases.Network("lab"), w.now)
				}
				req := tt.req(addr)
				b.at[req.From] = req.Origin.Port
				b.roaming, req.FDB = tt.in.roaming, b
				if !req.GIAddr.IsValid() {
					req.GIAddr = netip.IPv4Unspecified()
				}
				if !req.CIAddr.IsValid() {
					req.CIAddr = netip.IPv4Unspecified()
				}
				got := no
				if d = w.pool.Answer(req, w.now); d.End != 0 && d.Probe {
					got = look
				} else if d.End != 0 {
					got = yes
				}
				if got != tt.want {
					t.Errorf("%s (%s), want %s", got, d.Why, tt.want)
				}
			})
		}
	}
}

// A message in another client's name moves it to no other address, gives it no other
// name, and makes the server send no NAK; the holder's port stays the holder's.
func TestForgedRequests(t *testing.T) {
	w := newWorld(t, labConfig(), relayedConfig())
	b := &bridge{at: map[lease.MAC]fair.Port{mac(1): victimPort, mac(66): attackerPort}}
	say := func(r *Request, from int, port fair.Port, name string) Decision {
		r.From, r.Origin, r.FDB = mac(from), fair.Origin{Port: port}, b
		if name != "" {
			r.Hostname = []byte(name)
		}
		return w.answer(r)
	}
	const addr, free = "192.168.10.101", "192.168.10.203"
	say(message(DHCPDISCOVER, 1, addr, ""), 1, victimPort, "www")
	if d := say(selecting(1, addr), 1, victimPort, "www"); d.Lease.Port != int32(victimPort) || d.Lease.Hostname != "www" {
		t.Fatalf("%s, %+v", d.Why, d)
	}
	relayed := func(r *Request, giaddr string) *Request { r.GIAddr, r.Source = ip(giaddr), ip(giaddr); return r }
	for name, r := range map[string]*Request{
		"SELECTING": selecting(1, free), "INIT-REBOOT": initReboot(1, free), "RENEWING": renewing(1, free), "elsewhere": initReboot(1, "10.9.9.9"),
		"by a relay": relayed(selecting(1, "10.30.0.100"), "10.30.0.1"),
	} {
		if d := say(r, 66, attackerPort, ""); d.Reply != 0 && !r.Relayed() || d.Bind {
			t.Errorf("%s: %s, %s", name, d.Reply, d.Why)
		}
	}
	say(message(DHCPDISCOVER, 1, "", ""), 66, attackerPort, "stolen")
	for range 2 {
		if d := say(initReboot(1, addr), 66, attackerPort, "stolen"); d.Lease.Hostname != "www" || d.Lease.Port != int32(victimPort) {
			t.Errorf("renewed as %q, held at %d", d.Lease.Hostname, d.Lease.Port)
		}
	}
	if d := say(message(DHCPRELEASE, 1, "", addr), 66, attackerPort, ""); d.End != 0 {
		t.Errorf("then a RELEASE by the forger: %s", d.Why)
	}
	// A second address under a MAC that is merely claimed is not found by the guest's name.
	w.leases.Bind(lease.Lease{Network: "lab", MAC: mac(2), DUID: "duid", Address: ip("fd00::2"), Hostname: "db2", Start: w.now, Expires: w.now.Add(time.Hour)}, nil)
	say(message(DHCPDISCOVER, 2, "", ""), 66, attackerPort, "db2")
	if d := say(initReboot(2, "192.168.10.204"), 66, attackerPort, "db2"); d.Lease.Hostname != "" {
		t.Errorf("the forger's address is called %q", d.Lease.Hostname)
	}
	if d := say(renewing(1, addr), 1, victimPort, "renamed"); d.Lease.Hostname != "renamed" {
		t.Errorf("the holder is called %q", d.Lease.Hostname)
	}
	if d := say(message(DHCPRELEASE, 1, "", addr), 1, victimPort, ""); d.End != lease.Released || d.Probe {
		t.Errorf("its own RELEASE: %s", d.Why)
	}
}

// A relay in a subnet of the link is answered if the packet comes from its address: a
// guest that merely sets giaddr is not.
func TestRelayOnTheLink(t *testing.T) {
	for _, tt := range []struct {
		giaddr, source string
		why            pool.Reason
	}{
		{"192.168.10.9", "192.168.10.9", Offered},
		{"192.168.10.9", "0.0.0.0", pool.NoSubnet},
		{"192.168.10.9", "192.168.10.66", pool.NoSubnet},
		{"10.30.0.1", "192.168.10.9", Offered}, // declared
		{"192.0.2.9", "192.0.2.9", pool.NoSubnet},
	} {
		w := newWorld(t, labConfig(), relayedConfig())
		r := message(DHCPDISCOVER, 7, "", "")
		r.GIAddr, r.Source = ip(tt.giaddr), ip(tt.source)
		if d := w.answer(r); d.Why != tt.why {
			t.Errorf("%s from %s: %s, want %s", tt.giaddr, tt.source, d.Why, tt.why)
		}
	}
}

// A bridge learns no more MACs than its limit, so that clients behind a new one, a relay's
// say, come from no known port. What they are offered they get, also if it was offered to a
// port that holds nearly all.
func TestClientsOfUnknownPortsGetWhatTheyAreOffered(t *testing.T) {
	for _, tt := range []struct{ origin, attacker fair.Origin }{
		{fair.Origin{Port: fair.Unknown}, fair.Origin{Port: attackerPort}},
		{fair.Origin{Port: fair.Unknown, Circuit: 77}, fair.Origin{Port: attackerPort}},
		{fair.Origin{Port: victimPort}, fair.Origin{Port: attackerPort}},
		{fair.Origin{Port: victimPort}, fair.Origin{Port: fair.Unknown}},
		{fair.Origin{Port: relayPort, Circuit: 77}, fair.Origin{Port: fair.Unknown}},
	} {
		w, origin := newWorld(t, labConfig()), tt.origin
		for n := range 20 {
			w.answer(&Request{Type: DHCPDISCOVER, MAC: mac(100 + n), From: mac(100 + n), Origin: tt.attacker})
		}
		for n := range 4 {
			d := w.answer(&Request{Type: DHCPDISCOVER, MAC: mac(n), From: mac(n), Origin: origin})
			req := selecting(n, d.Address.String())
			req.From, req.Origin = mac(n), origin
			if d := w.answer(req); d.Reply != DHCPACK {
				t.Errorf("%+v: client %d: %s, %s", tt, n, d.Reply, d.Why)
			}
		}
	}
}
