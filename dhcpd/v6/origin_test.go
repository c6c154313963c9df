package v6

import (
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// bridge is a fair.FDB.
type bridge struct {
	at      fair.Port // of who sends
	roaming bool
	gone    bool // the victim's port
}

func (b *bridge) Lookup([6]byte) (fair.Port, bool) { return b.at, !b.roaming }
func (b *bridge) Up(fair.Port) bool                { return !b.gone }

const (
	victimPort   fair.Port = 3
	attackerPort fair.Port = 4
)

// A lease ends by a message from where it was bound only, and a relay that the definition
// does not declare is no other place.
func TestOnlyTheHolder(t *testing.T) {
	const no, yes, look = "no", "ends", "ends if unused"
	direct := func(*Request) {}
	relayed := func(link string) func(*Request) {
		return func(r *Request) {
			r.Relays, r.Origin.Circuit = []Relay{{link: ip(link), peer: ip("fe80::99")}}, 77
		}
	}
	for _, tt := range []struct {
		name      string
		port      fair.Port
		how       func(*Request)
		b         bridge
		forgotten bool // since a restart
		unknown   bool // since the host booted
		want      string
	}{
		{"its own", victimPort, direct, bridge{}, false, false, yes},
		{"its own, after a restart", victimPort, direct, bridge{}, true, false, yes},
		{"its own, port unknown", victimPort, direct, bridge{}, true, true, look},
		{"its own, while another sends in its name", victimPort, direct, bridge{roaming: true}, false, false, look},
		{"its own, from a new port", attackerPort, direct, bridge{gone: true}, false, false, look},
		{"its MAC from another port", attackerPort, direct, bridge{}, false, false, no},
		{"its MAC from another port, after a restart", attackerPort, direct, bridge{}, true, false, no},
		{"by a relay that says no link", attackerPort, relayed("::"), bridge{}, false, false, no},
		{"by a relay of our link", attackerPort, relayed("fd00:10::66"), bridge{}, false, false, no},
		{"by a relay, after a restart", attackerPort, relayed("::"), bridge{}, true, false, no},
		{"by a relay, port unknown", attackerPort, relayed("::"), bridge{}, true, true, no},
		{"by the declared relay's name", attackerPort, relayed("fd00:30::1"), bridge{}, false, false, no},
	} {
		for addr, n := range map[string]int{"fd00:10::105": 1, "fd00:10::50": 50} { // in a range, and reserved outside of them
			for _, kind := range []MessageType{RELEASE, DECLINE} {
				cfg := config()
				cfg.Subnets = append(cfg.Subnets, farSubnet())
				w := newWorld(t, cfg)
				r := req(request, n, ia(1, addr))
				r.Origin.Port, r.Sender = victimPort, mac(n)
				if _, got := w.ask(r); got != "REPLY 1="+addr {
					t.Fatal(got)
				}
				if tt.unknown {
					l, _ := w.leases.Network("lab").ByAddr(ip(addr))
					l.Port = 0
					w.leases.Bind(l, nil)
				}
				if tt.forgotten {
					w.pool = NewPool(w.pool.Service(), w.leases.Network("lab"), time.Now())
				}
				r = req(kind, n, ia(1, addr))
				b := tt.b
				r.Origin.Port, r.Sender, r.FDB, b.at = tt.port, mac(n), &b, tt.port
				tt.how(r)
				d := w.pool.Answer(r, w.now)
				got := no
				if len(d.EndUnused) > 0 {
					got = look
				} else if len(d.End) > 0 {
					got = yes
				}
				if got != tt.want {
					t.Errorf("%s, %s of %s: %s (%s), want %s", tt.name, kind, addr, got, d.Why, tt.want)
				}
			}
		}
	}
}

// A relay on our own link that claims a guest's MAC gets an address, and not the guest's
// name; and it changes nothing of what the guest has.
func TestForgedMAC(t *testing.T) {
	w := newWorld(t, config())
	w.leases.Bind(lease.Lease{Network: "lab", MAC: mac(1), Address: ip("192.168.10.5"), Hostname: "web", Start: w.now, Expires: w.now.Add(time.Hour)}, nil)
	r := req(request, 1, ia(1))
	r.Origin.Port, r.Sender, r.FDB = victimPort, mac(1), &bridge{at: victimPort}
	if d, _ := w.ask(r); len(d.Bind) != 1 || d.Bind[0].Hostname != "web" || d.Bind[0].Port != int32(victimPort) {
		t.Fatalf("the guest's own: %+v", d.Bind)
	}
	forged := func(duid string, name string) *Request {
		r := req(request, 1, ia(1))
		r.ClientID, r.Hostname = []byte(duid), []byte(name)
		r.Relays, r.Sender, r.Origin = []Relay{{link: ip("::"), peer: ip("fe80::99")}}, mac(66), fair.Origin{Port: attackerPort, Circuit: 77}
		r.FDB = &bridge{at: attackerPort}
		return r
	}
	for _, name := range []string{"web", ""} {
		r := forged("another DUID", name)
		if name == "" {
			r.Hostname = nil
		}
		if d, _ := w.ask(r); len(d.Bind) != 1 || d.Bind[0].Hostname != "" {
			t.Errorf("a second address under its MAC: %+v", d.Bind)
		}
	}
	r = req(request, 50, ia(1)) // it has a reservation
	r.Origin.Port, r.Sender, r.FDB = victimPort, mac(50), &bridge{at: victimPort}
	if d, _ := w.ask(r); len(d.Bind) != 1 || d.Bind[0].Address != ip("fd00:10::50") {
		t.Fatalf("the guest's own: %+v", d.Bind)
	}
	r = forged("another DUID", "mail")
	r.FrameMAC = mac(50)
	if d, _ := w.ask(r); len(d.Bind) != 1 || d.Bind[0].Address == ip("fd00:10::50") || d.Bind[0].Hostname != "" {
		t.Errorf("what is reserved for its MAC: %+v", d.Bind)
	}
	r = req(request, 50, ia(1))
	r.ClientID = []byte("installed anew")
	r.Origin.Port, r.Sender, r.FDB = victimPort, mac(50), &bridge{at: victimPort}
	if d, _ := w.ask(r); len(d.Bind) != 1 || d.Bind[0].Address != ip("fd00:10::50") {
		t.Errorf("installed anew: %+v", d.Bind)
	}
	if d, _ := w.ask(forged(duid(1), "stolen")); len(d.Bind) != 1 || d.Bind[0].Hostname != "web" || d.Bind[0].Port != int32(victimPort) || d.Bind[0].Relay {
		t.Errorf("in its name: %+v", d.Bind)
	}
}
