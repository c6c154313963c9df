package v4

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

func behind(r *Request) *Request {
	r.GIAddr, r.From = ip("10.30.0.1"), lease.MAC{2, 9}
	return r
}

// Where a relayed message is answered from, and by what a client is known there.
func TestRelayed(t *testing.T) {
	discover := func() *Request { return &Request{Type: DHCPDISCOVER, MAC: mac(1)} }
	with := func(r *Request, f func(*Request)) *Request { f(r); return r }
	tests := []struct {
		name string
		req  *Request
		want string // "": silence
		why  pool.Reason
	}{
		{"the relay's subnet", behind(discover()), "10.30.0.10x", Offered},
		{"a client identifier", with(behind(discover()), func(r *Request) { r.ClientID = []byte("id") }), "10.30.0.5", Offered},
		{"the same with a type", with(behind(discover()), func(r *Request) { r.ClientID = []byte("\x00id") }), "10.30.0.5", Offered},
		{"a DUID in it", with(behind(discover()), func(r *Request) { r.ClientID = []byte("\xff\x01\x02\x03\x04\x00\x03\x00\x01\x02") }), "10.30.0.6", Offered},
		{"a name", with(behind(discover()), func(r *Request) { r.Hostname = []byte("Named.example") }), "10.30.0.7", Offered},
		{"not on the link", with(discover(), func(r *Request) { r.ClientID = []byte("id") }), "192.168.10.10x", Offered},
		{"not a reservation of the link", with(behind(discover()), func(r *Request) { r.MAC = mac(10) }), "10.30.0.10x", Offered},
		{"link selection", with(behind(discover()), func(r *Request) { r.GIAddr, r.Link = ip("192.0.2.1"), ip("10.30.0.0") }), "10.30.0.10x", Offered},
		{"link selection of nothing", with(behind(discover()), func(r *Request) { r.Link = ip("192.0.2.0") }), "", pool.NoSubnet},
		{"our own link, by a relay", with(discover(), func(r *Request) { r.GIAddr = ip("192.168.10.9") }), "192.168.10.10x", Offered},
		{"a subnet that is not ours", with(discover(), func(r *Request) { r.GIAddr = ip("192.0.2.9") }), "", pool.NoSubnet},
		{"an address of the link", behind(initReboot(1, "192.168.10.101")), "", WrongNetwork},
		{"another server's name, by the relay's word", with(behind(selecting(1, "10.30.0.100")), func(r *Request) {
			r.ServerID, r.ServerOverride = ip("10.30.0.1"), ip("10.30.0.1")
		}), "10.30.0.100", pool.Bound},
		{"another server's name", with(behind(selecting(1, "10.30.0.100")), func(r *Request) { r.ServerID = ip("10.30.0.1") }), "", pool.OtherServer},
		{"by unicast through a router", with(renewing(1, "10.30.0.102"), func(r *Request) { r.From = lease.MAC{2, 9} }), "10.30.0.102", pool.Bound},
		{"by broadcast on the link", rebinding(1, "10.30.0.102"), "", WrongNetwork},
	}
	for _, tt := range tests {
		w := newWorld(t, labConfig(), relayedConfig())
		d := w.answer(tt.req)
		got := ""
		if d.Address.IsValid() {
			got = d.Address.String()
		}
		if n := len(tt.want) - 1; n > 0 && tt.want[n] == 'x' && len(got) == n+1 {
			got = got[:n] + "x"
		}
		if got != tt.want && !(tt.want == "192.168.10.10x" && d.Address.Is4() && w.pool.svc.subnets[0].InRange(d.Address)) || d.Why != tt.why {
			t.Errorf("%s: got %s, %s; want %s, %s", tt.name, got, d.Why, tt.want, tt.why)
		}
	}
}

// What the relay said comes back last and as it was, also to a client that takes
// little, in a NAK, and where the server goes by another name.
func TestRelayInfoComesBack(t *testing.T) {
	info := append([]byte{1, 200}, bytes.Repeat([]byte{7}, 200)...)
	info = append(info, subServerOverride, 4, 10, 30, 0, 1)
	for _, typ := range []MessageType{DHCPDISCOVER, DHCPREQUEST} {
		b := wire(t, 1, typ, "192.0.2.7", dhcpv4.WithRelay([]byte{10, 30, 0, 1}), generic(82, info...))
		req, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		req.ServerID = netip.Addr{}
		w := newWorld(t, labConfig(), relayedConfig())
		d := w.answer(&req)
		if d.Reply == 0 {
			t.Fatal(d.Why)
		}
		out := d.Subnet.AppendReply(nil, &req, &d)
		want := append(append([]byte{82, byte(len(info))}, info...), 255)
		if !bytes.HasSuffix(bytes.TrimRight(out, "\x00"), want) || len(out) > minMaxSize-ipAndUDPHeaders {
			t.Errorf("%s: % x", d.Reply, out[offOptions:])
		}
		msg, err := dhcpv4.FromBytes(out)
		if err != nil || msg.ServerIdentifier().String() != "10.30.0.1" || msg.GatewayIPAddr.String() != "10.30.0.1" ||
			msg.IsBroadcast() != (d.Reply == DHCPNAK) {
			t.Errorf("%s: %v, %s", d.Reply, err, msg.Summary())
		}
		if to, broadcast := d.Destination(&req); to != ip("10.30.0.1") || broadcast {
			t.Errorf("%s goes to %s", d.Reply, to)
		}
	}
}

// Clones share everything but the MAC: one has what is reserved, and its name,
// until it is done with it.
func TestClonesShareNoAddress(t *testing.T) {
	w := newWorld(t, labConfig(), relayedConfig())
	ask := func(n int) (got Decision) {
		r := behind(&Request{Type: DHCPDISCOVER, MAC: mac(n), Hostname: []byte("named")})
		o := w.answer(r)
		r = behind(selecting(n, o.Address.String()))
		r.Hostname = []byte("named")
		return w.answer(r)
	}
	one, two := ask(1), ask(2)
	if one.Address != ip("10.30.0.7") || two.Address == one.Address || two.Reply != DHCPACK {
		t.Errorf("one has %s, two has %s", one.Address, two.Address)
	}
	if one.Lease.Hostname != "named" || two.Lease.Hostname != "" {
		t.Errorf("one is %q, two is %q", one.Lease.Hostname, two.Lease.Hostname)
	}
	w.leases.End(lease.Released, "lab", mac(1), one.Address, w.now, nil)
	if again := ask(2); again.Address != one.Address {
		t.Errorf("then two has %s", again.Address)
	}
}

func TestSubnetsInTheirOrder(t *testing.T) {
	first, second := labConfig(), labConfig()
	first.Ranges = []Range{{Start: ip("192.168.10.200"), End: ip("192.168.10.201")}}
	second.Server, second.Ranges = netip.MustParsePrefix("192.168.20.1/24"), []Range{{Start: ip("192.168.20.5"), End: ip("192.168.20.6")}}
	second.Reservations = []Reservation{{MAC: mac(10), Address: ip("192.168.20.9"), Hostname: "web"}, {MAC: mac(20), Address: ip("192.168.20.10")}}
	w := newWorld(t, first, second)
	for i, want := range []string{"192.168.10.20", "192.168.10.20", "192.168.20.", "192.168.20."} {
		if got := w.take(100 + i); len(got) <= len(want) || got[:len(want)] != want {
			t.Errorf("client %d has %s, want one of %s", i, got, want)
		}
	}
	if d := w.discover(200); d.Why != pool.Exhausted || len(w.pool.Reach(&Request{})) != 2 {
		t.Errorf("a fifth: %s", d.Why)
	}
	if got := w.take(20); got != "192.168.20.10" {
		t.Errorf("the reservation in the second: %s", got)
	}
	// Reserved in both: either is right.
	for _, a := range []string{"192.168.10.10", "192.168.20.9"} {
		if d := w.answer(renewing(10, a)); d.Reply != DHCPACK {
			t.Errorf("%s: %s", a, d.Why)
		}
	}
	w.now = w.now.Add(2 * time.Hour)
	for n := range 4 {
		if w.take(300+n) == "" {
			t.Errorf("client %d got nothing of what is over", n)
		}
	}
}
