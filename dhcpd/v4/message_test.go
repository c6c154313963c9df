package v4

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

// wire makes a message as a client would, with the library.
func wire(t testing.TB, n int, typ MessageType, requested string, more ...dhcpv4.Modifier) []byte {
	t.Helper()
	m := mac(n)
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageType(typ)), dhcpv4.WithHwAddr(m[:]),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName),
		dhcpv4.WithOption(dhcpv4.OptHostName("guest")),
	}
	if requested != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP(ip(requested).AsSlice()))),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 168, 10, 1})))
		if strings.HasPrefix(requested, "10.") {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{10, 0, 0, 1})))
		}
	}
	msg, err := dhcpv4.New(append(mods, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return msg.ToBytes()
}

func generic(code uint8, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value))
}

func TestParse(t *testing.T) {
	b := wire(t, 1, DHCPREQUEST, "192.168.10.5", generic(61, 1, 2, 3), generic(57, 5, 0xdc), generic(51, 0, 0, 0, 60), dhcpv4.WithBroadcast(true))
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := Request{
		Type: DHCPREQUEST, XID: [4]byte(b[4:]), Flags: 0x8000, MAC: mac(1),
		CIAddr: netip.IPv4Unspecified(), GIAddr: netip.IPv4Unspecified(),
		RequestedIP: ip("192.168.10.5"), ServerID: ip("192.168.10.1"), LeaseTime: time.Minute,
		ClientID: []byte{1, 2, 3}, Hostname: []byte("guest"), Parameters: []byte{1, 3, 6, 15}, MaxSize: 1500,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	change := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	options := func(o ...byte) func([]byte) []byte {
		return func(b []byte) []byte { return append(b[:offOptions], o...) }
	}
	tests := []struct {
		name string
		edit func([]byte) []byte
		want error
	}{
		{"nothing", func([]byte) []byte { return nil }, ErrShort},
		{"no options field", func(b []byte) []byte { return b[:offCookie+3] }, ErrShort},
		{"a reply", change(offOp, 2), ErrNotDHCP},
		{"no magic cookie", change(offCookie, 0), ErrNotDHCP},
		{"BOOTP", options(optEnd), ErrNotDHCP},
		{"Token Ring", change(offHType, 6), ErrHardware},
		{"a long hardware address", change(offHLen, 16), ErrHardware},
		{"a multicast MAC", change(offCHAddr, 0xff), ErrHardware},
		{"an option that ends behind the packet", options(53, 1, 1, 61, 9, 1), ErrOption},
		{"an option without a length", options(53, 1, 1, 61), ErrOption},
		{"a long message type", options(53, 2, 1, 1, 255), ErrOption},
		{"two message types", options(53, 1, 1, 53, 1, 1, 255), ErrOption},
		{"a short address", options(53, 1, 3, 50, 3, 1, 2, 3, 255), ErrOption},
		{"overload into a broken field", func(b []byte) []byte {
			b = append(b[:offOptions], 53, 1, 1, 52, 1, 1, 255)
			b[offCookie-1] = 12
			for i := offFile; i < offCookie-1; i++ {
				b[i] = 0
			}
			return b
		}, ErrOption},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.edit(wire(t, 1, DHCPDISCOVER, "")))
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// RFC 2132 §9.3 and RFC 3396 §5: options field, file, sname, joined.
func TestParseOverload(t *testing.T) {
	b := wire(t, 1, DHCPDISCOVER, "")
	b = append(b[:offOptions], 53, 1, 1, 52, 1, 3, 55, 2, 1, 3, 255)
	copy(b[offFile:], []byte{12, 4, 'n', 'a', 'm', 'e', 55, 1, 6, 255})
	copy(b[offSName:], []byte{55, 1, 15, 255})
	req, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(req.Hostname) != "name" || !bytes.Equal(req.Parameters, []byte{1, 3, 6, 15}) {
		t.Errorf("got hostname %q, parameters %v", req.Hostname, req.Parameters)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	b := wire(t, 1, DHCPDISCOVER, "")
	if got := testing.AllocsPerRun(100, func() { Parse(b) }); got != 0 {
		t.Errorf("got %v allocations", got)
	}
}

func TestHostname(t *testing.T) {
	tests := map[string]string{
		"guest": "guest", "GUEST-1": "guest-1", "guest.lab.test": "guest", "guest\x00": "guest", "1": "1",
		"": "", ".": "", "-a": "", "a-": "", "a_b": "", "a b": "", "gäst": "", "a\n": "", "../etc": "", "*": "",
		strings.Repeat("a", 63): strings.Repeat("a", 63), strings.Repeat("a", 64): "",
	}
	for raw, want := range tests {
		if got := pool.Hostname([]byte(raw)); got != want {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
}

func TestFQDN(t *testing.T) {
	tests := []struct {
		value []byte
		want  string
	}{
		{[]byte("\x00\x00\x00guest.lab.test"), "guest.lab.test"},
		{[]byte("\x04\x00\x00\x05guest\x03lab\x00"), "guest"},
		{[]byte("\x04\x00\x00\x05gue"), ""},
		{[]byte("\x04\x00\x00"), ""},
		{nil, ""},
	}
	for _, tt := range tests {
		var r Request
		if r.setHostname(nil, tt.value); string(r.Hostname) != tt.want {
			t.Errorf("%q: got %q, want %q", tt.value, r.Hostname, tt.want)
		}
	}
}

func TestReply(t *testing.T) {
	w := newWorld(t, labConfig())
	reply := func(b []byte) *dhcpv4.DHCPv4 {
		t.Helper()
		req, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		out := w.pool.svc.subnets[0].AppendReply(nil, &req, &d)
		if len(out) < minMessage {
			t.Errorf("the reply has %d octets", len(out))
		}
		msg, err := dhcpv4.FromBytes(out)
		if err != nil {
			t.Fatal(err)
		}
		if msg.OpCode != dhcpv4.OpcodeBootReply || !bytes.Equal(msg.TransactionID[:], b[4:8]) || !bytes.Equal(msg.ClientHWAddr, b[28:34]) {
			t.Errorf("header of %s does not fit the request", msg.MessageType())
		}
		if !msg.ServerIdentifier().Equal(net.IP{192, 168, 10, 1}) {
			t.Errorf("server identifier: %s", msg.ServerIdentifier())
		}
		return msg
	}
	codes := func(m *dhcpv4.DHCPv4) (all []int) {
		for c := range m.Options {
			if c != 255 {
				all = append(all, int(c))
			}
		}
		slices.Sort(all)
		return all
	}

	offer := reply(wire(t, 10, DHCPDISCOVER, "", generic(61, 9, 9), dhcpv4.WithBroadcast(true)))
	if MessageType(offer.MessageType()) != DHCPOFFER || !offer.IsBroadcast() || offer.YourIPAddr.String() != "192.168.10.10" {
		t.Errorf("offer: %s", offer)
	}
	if diff := cmp.Diff([]int{1, 3, 6, 15, 51, 53, 54, 58, 59, 61}, codes(offer)); diff != "" {
		t.Error("offer: ", diff)
	}

	ack := reply(wire(t, 10, DHCPREQUEST, "192.168.10.10",
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(dhcpv4.GenericOptionCode(3), dhcpv4.GenericOptionCode(12), dhcpv4.GenericOptionCode(26),
			dhcpv4.GenericOptionCode(28), dhcpv4.GenericOptionCode(51), dhcpv4.GenericOptionCode(53), dhcpv4.GenericOptionCode(119), dhcpv4.GenericOptionCode(255)))))
	if diff := cmp.Diff([]int{3, 12, 26, 28, 51, 53, 54, 58, 59}, codes(ack)); diff != "" {
		t.Error("ack: ", diff)
	}
	if ack.HostName() != "web" || ack.IPAddressLeaseTime(0) != time.Hour || ack.IPAddressRenewalTime(0) != 30*time.Minute || ack.IPAddressRebindingTime(0) != 52*time.Minute+30*time.Second {
		t.Errorf("ack: %s", ack.Summary())
	}
	if got := ack.Options[26]; !bytes.Equal(got, []byte{5, 0xaa}) {
		t.Errorf("MTU: %v", got)
	}

	nak := reply(wire(t, 10, DHCPREQUEST, "192.168.10.100", generic(61, 9, 9)))
	if diff := cmp.Diff([]int{53, 54, 56, 61}, codes(nak)); diff != "" || !nak.YourIPAddr.IsUnspecified() {
		t.Error("nak: ", nak.YourIPAddr, diff)
	}

	inform := reply(wire(t, 20, DHCPINFORM, "", dhcpv4.WithClientIP(net.IP{192, 168, 10, 77})))
	if diff := cmp.Diff([]int{1, 3, 6, 15, 53, 54}, codes(inform)); diff != "" || !inform.YourIPAddr.IsUnspecified() || inform.ClientIPAddr.String() != "192.168.10.77" {
		t.Error("inform: ", diff)
	}
}

func TestReplyFitsTheClient(t *testing.T) {
	cfg := labConfig()
	cfg.Domain = strings.Repeat("a", 250)
	for range 60 {
		cfg.DNS = append(cfg.DNS, ip("192.168.10.1"))
	}
	w := newWorld(t, cfg)
	for size, wantDomain := range map[int]bool{0: false, 576: false, 100: false, 1500: true} {
		req, err := Parse(wire(t, 1, DHCPDISCOVER, "", generic(57, byte(size>>8), byte(size))))
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		out := w.pool.svc.subnets[0].AppendReply(nil, &req, &d)
		if len(out) > max(size, 576)-28 {
			t.Errorf("client takes %d, got %d", size, len(out)+28)
		}
		msg, err := dhcpv4.FromBytes(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.DomainName() != ""; got != wantDomain {
			t.Errorf("client takes %d: domain sent: %v", size, got)
		}
	}
}

// RFC 2131 §4.1.
func TestDestination(t *testing.T) {
	zero, c, y := netip.IPv4Unspecified(), ip("192.168.10.7"), ip("192.168.10.8")
	tests := []struct {
		name      string
		reply     MessageType
		ciaddr    netip.Addr
		flags     uint16
		want      string
		broadcast bool
	}{
		{"NAK", DHCPNAK, c, 0, "255.255.255.255", true},
		{"ciaddr", DHCPACK, c, 0x8000, "192.168.10.7", false},
		{"broadcast flag", DHCPOFFER, zero, 0x8000, "255.255.255.255", true},
		{"yiaddr", DHCPOFFER, zero, 0, "192.168.10.8", false},
	}
	for _, tt := range tests {
		d := Decision{Reply: tt.reply, Address: y}
		to, broadcast := d.Destination(&Request{CIAddr: tt.ciaddr, Flags: tt.flags})
		if to.String() != tt.want || broadcast != tt.broadcast {
			t.Errorf("%s: got %s, %v", tt.name, to, broadcast)
		}
	}
}

func TestCompileFindsEverything(t *testing.T) {
	cfg := labConfig()
	cfg.Ranges = []Range{{Start: ip("192.168.20.9"), End: ip("192.168.20.10")}, {Start: ip("192.168.10.9"), End: ip("192.168.10.8")}, {Start: ip("192.168.10.9"), End: ip("192.168.11.0")}}
	cfg.Reservations = []Reservation{
		{MAC: mac(1), Address: ip("192.168.10.1")},
		{MAC: mac(2), Address: ip("192.168.10.2"), Hostname: "a_b"},
		{MAC: mac(3), Address: ip("192.168.10.3"), Hostname: "x"},
		{MAC: mac(3), Address: ip("192.168.10.4")},
		{MAC: mac(5), Address: ip("192.168.10.3")},
		{MAC: mac(6), Address: ip("192.168.10.6"), Hostname: "X"},
	}
	cfg.DNS = []netip.Addr{ip("fd00::1")}
	cfg.MTU = 60
	_, err := Compile(cfg)
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		"ranges[0]: 192.168.20.9 is outside 192.168.10.0/24",
		"ranges[1]: 192.168.10.9 comes after 192.168.10.8",
		"ranges[2]: 192.168.11.0 is outside 192.168.10.0/24",
		`dns[0]: "fd00::1" is not an IPv4 address`,
		"mtu: 60 is not between 68 and 65535",
		"reservations[0]: 192.168.10.1 is not an address for a client of 192.168.10.0/24",
		`reservations[1]: hostname "a_b" is not a label of letters, digits and inner hyphens`,
		"reservations[3]: 02:00:00:00:00:03 has two reservations",
		"reservations[4]: 192.168.10.3 is reserved twice",
		`reservations[5]: hostname "x" is reserved twice`,
	}
	for i := range want {
		want[i] = "subnets[0]." + want[i]
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	if _, err := Compile(Config{}); err == nil {
		t.Error("an empty configuration compiles")
	}
}

func FuzzParse(f *testing.F) {
	for _, typ := range []MessageType{1, 3, 4, 7, 8} {
		f.Add(wire(f, 1, typ, "192.168.10.101", generic(61, 1, 2), generic(81, 4, 0, 0, 1, 'a', 0)))
	}
	f.Add(wire(f, 1, DHCPDISCOVER, "", dhcpv4.WithRelay(net.IP{10, 30, 0, 1}), generic(82, 1, 2, 'e', '0', 5, 4, 10, 30, 0, 1, 11, 4, 10, 30, 0, 2)))
	b := wire(f, 1, DHCPDISCOVER, "")
	f.Add(append(b[:offOptions:offOptions], 53, 1, 1, 52, 1, 3, 55, 2, 1, 3, 255))
	f.Add(append(b[:offOptions:offOptions], 53, 1, 1, 81, 3, 5, 0, 0, 81, 4, 2, 'a', 'b', 0, 60, 1, 'x', 77, 2, 1, 'y', 60, 1, 'z', 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		req, err := Parse(b)
		if !bytes.Equal(before, b) {
			t.Fatal("Parse wrote into the packet")
		}
		if err != nil {
			return
		}
		if name := pool.Hostname(req.Hostname); len(name) > 63 {
			t.Fatalf("hostname %q", name)
		}
		// What we take for a request, the library must not call broken,
		// unless it is about the file and sname fields, which it does not read.
		if msg, err := dhcpv4.FromBytes(b); err == nil && MessageType(msg.MessageType()) != req.Type && len(msg.Options[52]) == 0 {
			t.Fatalf("type %s, the library says %s", req.Type, msg.MessageType())
		}
	})
}

// FuzzAnswer takes a sequence of packets, each with its length before it.
func FuzzAnswer(f *testing.F) {
	pack := func(packets ...[]byte) (all []byte) {
		for _, p := range packets {
			all = append(append(all, byte(len(p)>>8), byte(len(p))), p...)
		}
		return all
	}
	f.Add(pack(
		wire(f, 1, DHCPDISCOVER, ""), wire(f, 1, DHCPREQUEST, "192.168.10.101"),
		wire(f, 2, DHCPREQUEST, "192.168.10.102"), wire(f, 2, DHCPDECLINE, "192.168.10.102"),
		wire(f, 1, DHCPRELEASE, "", dhcpv4.WithClientIP(net.IP{192, 168, 10, 101})),
	))
	f.Add(pack(wire(f, 10, DHCPREQUEST, "192.168.10.10"), wire(f, 11, DHCPINFORM, "", dhcpv4.WithClientIP(net.IP{192, 168, 10, 9}))))
	f.Add(pack(wire(f, 1, DHCPDISCOVER, "", dhcpv4.WithRelay(net.IP{10, 30, 0, 1}), generic(82, 1, 2, 'e', '0')),
		wire(f, 1, DHCPREQUEST, "10.30.0.100", dhcpv4.WithRelay(net.IP{10, 30, 0, 1}), generic(61, 0, 'i', 'd'))))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t, labConfig(), relayedConfig())
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			packet := b[2 : 2+n]
			b = b[2+n:]
			req, err := Parse(packet)
			if err != nil {
				continue
			}
			w.now = w.now.Add(time.Duration(n) * time.Second)
			d := w.answer(&req)
			w.check(&req, &d)
		}
	})
}

// check holds what must be true after any message.
func (w *world) check(req *Request, d *Decision) {
	if d.Reply != 0 {
		out := d.Subnet.AppendReply(nil, req, d)
		if msg, err := dhcpv4.FromBytes(out); err != nil || MessageType(msg.MessageType()) != d.Reply {
			w.t.Fatalf("the reply is broken: %v", err)
		}
	}
	if d.Bind || d.Reply == DHCPOFFER {
		r := w.pool.svc.ReservationOf(d.Address)
		c := w.pool.client(req)
		if !d.Subnet.Usable(d.Address) || r != nil && !r.IsFor(&c) {
			w.t.Fatalf("%s was given to %s", d.Address, req.MAC)
		}
	}
	for _, l := range w.leases.All() {
		if got, ok := w.leases.Network("lab").ByMAC(l.MAC); !ok || got.Address != l.Address {
			w.t.Fatalf("%s has %s and %s", l.MAC, l.Address, got.Address)
		}
	}
}

// What waits for the wire does not point into the buffer of the socket.
func TestCloneIsWhole(t *testing.T) {
	var r Request
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Slice {
			v.Field(i).SetBytes([]byte("there"))
		}
	}
	c := r.Clone()
	if !reflect.DeepEqual(c, r) {
		t.Errorf("%+v is no clone of %+v", c, r)
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Pointer() == reflect.ValueOf(c).Field(i).Pointer() {
			t.Errorf("%s is shared", v.Type().Field(i).Name)
		}
	}
}
