package v4

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

var (
	now      = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	server   = addr("192.168.10.1")
	somebody = lease.MAC{2, 0, 0, 0, 0, 1}
	another  = lease.MAC{2, 0, 0, 0, 0, 2}
	printer  = lease.MAC{2, 0, 0, 0, 0, 15}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// newPool has five addresses, .100 to .104, and a reservation of .15.
func newPool(t testing.TB) (*Pool, *lease.Table) {
	t.Helper()
	sub, err := Compile(Config{
		Server:       netip.MustParsePrefix("192.168.10.1/24"),
		Ranges:       []Range{{addr("192.168.10.100"), addr("192.168.10.104")}},
		Reservations: []Reservation{{printer, addr("192.168.10.15"), "printer"}},
		Routers:      []netip.Addr{server}, DNS: []netip.Addr{server}, Domain: "lab.test", MTU: 1400,
	})
	if err != nil {
		t.Fatal(err)
	}
	table := lease.Memory(slog.New(slog.DiscardHandler))
	return NewPool(sub, table.Network("lab"), now), table
}

// message is a client's message, read as it comes off the wire.
func message(t testing.TB, mac lease.MAC, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) *Request {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(net.HardwareAddr(mac[:])), dhcpv4.WithMessageType(kind),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	req, err := Parse(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return &req
}

func wants(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func from(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}

func has(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }

// bind gives a client a lease by the whole exchange.
func bind(t testing.TB, p *Pool, table *lease.Table, mac lease.MAC) netip.Addr {
	t.Helper()
	offer := p.Answer(message(t, mac, dhcpv4.MessageTypeDiscover), now)
	ack := p.Answer(message(t, mac, dhcpv4.MessageTypeRequest, wants(offer.Address.String()), from("192.168.10.1")), now)
	if offer.Reply != dhcpv4.MessageTypeOffer || ack.Reply != dhcpv4.MessageTypeAck || !ack.Bind || ack.Address != offer.Address {
		t.Fatalf("offer %+v, ack %+v", offer, ack)
	}
	ack.Lease.Network = "lab"
	table.Bind(ack.Lease, nil)
	return ack.Address
}

// RFC 2131 §4.3.2, by the names that it gives the states.
func TestRequest(t *testing.T) {
	const ack, nak, silence = dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak, dhcpv4.MessageTypeNone
	request := func(more ...dhcpv4.Modifier) []dhcpv4.Modifier { return more }
	for name, c := range map[string]struct {
		mac     lease.MAC
		how     func(held string) []dhcpv4.Modifier
		unicast bool
		state   State
		want    dhcpv4.MessageType
	}{
		"SELECTING takes what it holds":        {somebody, func(h string) []dhcpv4.Modifier { return request(wants(h), from("192.168.10.1")) }, false, SELECTING, ack},
		"SELECTING of another server":          {somebody, func(h string) []dhcpv4.Modifier { return request(wants(h), from("192.168.10.9")) }, false, SELECTING, silence},
		"INIT-REBOOT with its own":             {somebody, func(h string) []dhcpv4.Modifier { return request(wants(h)) }, false, INITREBOOT, ack},
		"INIT-REBOOT from another network":     {somebody, func(string) []dhcpv4.Modifier { return request(wants("10.0.0.5")) }, false, INITREBOOT, nak},
		"INIT-REBOOT with another's":           {another, func(h string) []dhcpv4.Modifier { return request(wants(h)) }, false, INITREBOOT, nak},
		"INIT-REBOOT with the server's":        {somebody, func(string) []dhcpv4.Modifier { return request(wants("192.168.10.1")) }, false, INITREBOOT, nak},
		"INIT-REBOOT outside of the ranges":    {another, func(string) []dhcpv4.Modifier { return request(wants("192.168.10.50")) }, false, INITREBOOT, nak},
		"INIT-REBOOT past a reservation":       {printer, func(string) []dhcpv4.Modifier { return request(wants("192.168.10.104")) }, false, INITREBOOT, nak},
		"INIT-REBOOT with another's reserved":  {another, func(string) []dhcpv4.Modifier { return request(wants("192.168.10.15")) }, false, INITREBOOT, nak},
		"RENEWING its own":                     {somebody, func(h string) []dhcpv4.Modifier { return request(has(h)) }, true, RENEWING, ack},
		"RENEWING another's":                   {another, func(h string) []dhcpv4.Modifier { return request(has(h)) }, true, RENEWING, nak},
		"REBINDING its own":                    {somebody, func(h string) []dhcpv4.Modifier { return request(has(h)) }, false, REBINDING, ack},
		"REBINDING on the wrong network":       {somebody, func(string) []dhcpv4.Modifier { return request(has("10.0.0.5")) }, false, REBINDING, nak},
		"REBINDING, its lease lost, not taken": {another, func(string) []dhcpv4.Modifier { return request(has("192.168.10.103")) }, false, REBINDING, ack},
	} {
		t.Run(name, func(t *testing.T) {
			p, table := newPool(t)
			held := bind(t, p, table, somebody)
			if held == addr("192.168.10.103") {
				t.Skip("the free address of this case is taken")
			}
			req := message(t, c.mac, dhcpv4.MessageTypeRequest, c.how(held.String())...)
			req.Unicast = c.unicast
			d := p.Answer(req, now)
			if d.State != c.state || d.Reply != c.want || d.Bind != (c.want == ack) {
				t.Errorf("got %v %v (%v), bind %v; want %v %v", d.State, d.Reply, d.Why, d.Bind, c.state, c.want)
			}
		})
	}
}

func TestReservation(t *testing.T) {
	p, table := newPool(t)
	if got := bind(t, p, table, printer); got != addr("192.168.10.15") {
		t.Errorf("the printer got %s", got)
	}
	d := p.Answer(message(t, printer, dhcpv4.MessageTypeDiscover), now)
	if d.Hostname != "printer" {
		t.Errorf("it is called %q", d.Hostname)
	}
}

// Ten guests want five addresses: five get one each, the others nothing, and
// nobody the same as another.
func TestExhaustion(t *testing.T) {
	p, table := newPool(t)
	seen := map[netip.Addr]bool{}
	for n := range byte(5) {
		a := bind(t, p, table, lease.MAC{2, 0, 0, 0, 1, n})
		if seen[a] {
			t.Errorf("%s was given twice", a)
		}
		seen[a] = true
	}
	if d := p.Answer(message(t, another, dhcpv4.MessageTypeDiscover), now); d.Reply != 0 || d.Why != Exhausted {
		t.Errorf("the sixth got %v %s (%v)", d.Reply, d.Address, d.Why)
	}
	// An hour later the leases are over.
	if d := p.Answer(message(t, another, dhcpv4.MessageTypeDiscover), now.Add(2*time.Hour)); d.Reply != dhcpv4.MessageTypeOffer {
		t.Errorf("after the leases ended: %v (%v)", d.Reply, d.Why)
	}
}

func TestDeclineRestsTheAddress(t *testing.T) {
	p, table := newPool(t)
	a := bind(t, p, table, somebody)
	d := p.Answer(message(t, somebody, dhcpv4.MessageTypeDecline, wants(a.String()), from("192.168.10.1")), now)
	if d.Reply != 0 || d.End != lease.Declined || d.Address != a {
		t.Fatalf("got %+v", d)
	}
	table.End(d.End, "lab", somebody, a, now, nil)
	for n := range byte(4) {
		if got := bind(t, p, table, lease.MAC{2, 0, 0, 0, 1, n}); got == a {
			t.Errorf("%s was given out right after it was declined", a)
		}
	}
}

func TestReleaseOnlyByTheHolder(t *testing.T) {
	p, table := newPool(t)
	a := bind(t, p, table, somebody)
	if d := p.Answer(message(t, another, dhcpv4.MessageTypeRelease, has(a.String()), from("192.168.10.1")), now); d.Why != NotHolder {
		t.Errorf("a stranger's RELEASE: %+v", d)
	}
	if d := p.Answer(message(t, somebody, dhcpv4.MessageTypeRelease, has(a.String()), from("192.168.10.1")), now); d.End != lease.Released {
		t.Errorf("the holder's RELEASE: %+v", d)
	}
}

// RFC 2131 §4.3.5: parameters, and neither an address nor a time.
func TestInform(t *testing.T) {
	p, _ := newPool(t)
	req := message(t, somebody, dhcpv4.MessageTypeInform, has("192.168.10.77"))
	d := p.Answer(req, now)
	m, err := dhcpv4.FromBytes(p.Subnet().AppendReply(nil, req, &d))
	if err != nil || m.MessageType() != dhcpv4.MessageTypeAck || !m.YourIPAddr.IsUnspecified() || m.IPAddressLeaseTime(0) != 0 || d.Bind {
		t.Errorf("got %v, %v", m.Summary(), err)
	}
}

// The reply as the library reads it.
func TestReply(t *testing.T) {
	p, _ := newPool(t)
	req := message(t, somebody, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU))
	d := p.Answer(req, now)
	m, err := dhcpv4.FromBytes(p.Subnet().AppendReply(nil, req, &d))
	if err != nil {
		t.Fatal(err)
	}
	mtu, _ := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, m.Options)
	if m.OpCode != dhcpv4.OpcodeBootReply || m.ServerIdentifier().String() != "192.168.10.1" || m.SubnetMask().String() != "ffffff00" ||
		m.Router()[0].String() != "192.168.10.1" || m.DNS()[0].String() != "192.168.10.1" || m.DomainName() != "lab.test" ||
		mtu != 1400 || m.IPAddressLeaseTime(0) != time.Hour {
		t.Errorf("got %s", m.Summary())
	}
	bare := message(t, another, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask))
	d = p.Answer(bare, now)
	m, err = dhcpv4.FromBytes(p.Subnet().AppendReply(nil, bare, &d))
	if err != nil || m.Router() != nil || m.DomainName() != "" {
		t.Errorf("options that nobody asked for: %s, %v", m.Summary(), err)
	}
}

// Whatever comes off the wire, nobody gets the server's address or one outside
// of the subnet, and what is sent can be read.
func FuzzAnswer(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeRelease} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr(somebody[:])), dhcpv4.WithMessageType(kind), wants("192.168.10.100"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := Parse(in)
		if err != nil {
			return
		}
		p, _ := newPool(t)
		d := p.Answer(&req, now)
		if d.Bind && (d.Address == server || !p.Subnet().prefix.Contains(d.Address)) {
			t.Errorf("%s was given out", d.Address)
		}
		if d.Reply == 0 {
			return
		}
		if _, err := dhcpv4.FromBytes(p.Subnet().AppendReply(nil, &req, &d)); err != nil {
			t.Errorf("a reply that cannot be read: %v", err)
		}
	})
}
