package v4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

// decode reads a reply as RFC 3396 §7 and RFC 2132 §9.3 tell clients to, and
// returns the codes in the order in which they came. It is not the parser that
// is tested.
func decode(t testing.TB, b []byte) (codes []byte, values map[byte][]byte) {
	t.Helper()
	values = map[byte][]byte{}
	read := func(field []byte, name string) {
		for {
			if len(field) == 0 {
				t.Fatalf("%s has no end", name)
			}
			switch code := field[0]; {
			case code == 0:
				field = field[1:]
			case code == 255:
				return
			case len(field) < 2 || len(field) < 2+int(field[1]):
				t.Fatalf("option %d of %s ends behind it", code, name)
			default:
				if _, again := values[code]; !again {
					codes = append(codes, code)
				}
				end := 2 + int(field[1])
				values[code] = append(values[code], field[2:end]...)
				field = field[end:]
			}
		}
	}
	read(b[240:], "the options field")
	over := byte(0)
	if v := values[52]; v != nil {
		over = v[0]
	}
	if over&1 != 0 {
		read(b[108:236], "the file field")
	}
	if over&2 != 0 {
		read(b[44:108], "the sname field")
	}
	return codes, values
}

// ask has a client of a subnet ask for options, and returns the OFFER.
func ask(t testing.TB, cfg Config, codes []byte, more ...dhcpv4.Modifier) ([]byte, []byte, map[byte][]byte) {
	t.Helper()
	w := newWorld(t, cfg)
	req, err := Parse(wire(t, 1, DHCPDISCOVER, "", append([]dhcpv4.Modifier{generic(55, codes...)}, more...)...))
	if err != nil {
		t.Fatal(err)
	}
	d := w.answer(&req)
	b := d.Subnet.AppendReply(nil, &req, &d)
	got, values := decode(t, b)
	return b, got, values
}

var maxSize1500 = generic(57, 5, 0xdc)

// RFC 3396, with the library at the other end.
func TestLongOptionsAreSplit(t *testing.T) {
	for _, size := range []int{0, 1, 254, 255, 256, 509, 510, 511, 1000} {
		value := bytes.Repeat([]byte("x"), size)
		b := appendLong(nil, 150, value)
		if pieces(size)*2+size != len(b) {
			t.Errorf("%d octets: %d with codes, %d pieces", size, len(b), pieces(size))
		}
		var o dhcpv4.Options = map[uint8][]byte{}
		if err := o.FromBytes(append(b, 255)); err != nil || !bytes.Equal(o[150], value) {
			t.Errorf("%d octets came back as %d: %v", size, len(o[150]), err)
		}
	}
	cfg := labConfig()
	cfg.Options.Bytes(150, bytes.Repeat([]byte("ab"), 300))
	b, _, values := ask(t, cfg, []byte{150}, maxSize1500)
	if string(values[150]) != strings.Repeat("ab", 300) {
		t.Errorf("%d octets", len(values[150]))
	}
	if m, err := dhcpv4.FromBytes(b); err != nil || string(m.Options[150]) != strings.Repeat("ab", 300) {
		t.Errorf("the library reads %d octets: %v", len(m.Options[150]), err)
	}
}

// The examples of RFC 3442, and its default route.
func TestRoutes(t *testing.T) {
	for in, want := range map[string]string{
		"0.0.0.0/0": "00", "10.0.0.0/8": "080a", "10.0.0.0/24": "180a0000", "10.17.0.0/16": "100a11",
		"10.27.129.0/24": "180a1b81", "10.229.0.128/25": "190a e50080", "10.198.122.47/32": "200ac67a2f",
	} {
		b := Routes([]Route{{netip.MustParsePrefix(in), ip("1.2.3.4")}})
		if got := fmt.Sprintf("%x", b); got != strings.ReplaceAll(want, " ", "")+"01020304" {
			t.Errorf("%s: %s", in, got)
		}
	}
	ten := Route{netip.MustParsePrefix("10.0.0.0/8"), ip("192.168.10.2")}
	onLink := Route{netip.MustParsePrefix("192.168.11.0/24"), ip("0.0.0.0")}
	for _, tt := range []struct {
		name   string
		routes []Route
		edit   func(*Config)
		want   string
	}{
		{"with the router's", []Route{ten, onLink}, nil, "00c0a80a01" + "080ac0a80a02" + "18c0a80b00000000"},
		{"with one of its own", []Route{ten, {netip.MustParsePrefix("0.0.0.0/0"), ip("192.168.10.9")}}, nil, "080ac0a80a02" + "00c0a80a09"},
		{"without a router", []Route{ten}, func(c *Config) { c.Options.Omit(OptRouters) }, "080ac0a80a02"},
		{"with another router", []Route{ten}, func(c *Config) { c.Options.Addrs(OptRouters, []netip.Addr{ip("192.168.10.7")}) }, "00c0a80a07" + "080ac0a80a02"},
	} {
		cfg := labConfig()
		cfg.Options.Bytes(OptRoutes, Routes(tt.routes))
		if tt.edit != nil {
			tt.edit(&cfg)
		}
		_, codes, values := ask(t, cfg, []byte{3, 121, 33})
		if got := fmt.Sprintf("%x", values[121]); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if slices.Contains(codes, 3) {
			t.Errorf("%s: routers besides routes", tt.name)
		}
		if _, codes, _ := ask(t, cfg, []byte{3}); slices.Contains(codes, 3) != (tt.name != "without a router") || slices.Contains(codes, 121) {
			t.Errorf("%s: a client that does not know 121 gets %v", tt.name, codes)
		}
	}
}

// What is not asked for is not sent, whatever is configured; what is asked for
// comes in the order of need, and then of the client's preference.
func TestOnlyWhatWasAskedFor(t *testing.T) {
	cfg := labConfig()
	for _, code := range []uint16{42, 66, 67, 114, 119, 150, 200} {
		cfg.Options.Bytes(code, []byte{1, 2, 3, 4})
	}
	for _, tt := range []struct{ asked, want []byte }{
		{[]byte{1}, []byte{1}},
		{[]byte{200, 42, 3, 6, 1, 250}, []byte{1, 3, 6, 200, 42}},
		{[]byte{150, 150, 66}, []byte{150, 66}},
		{[]byte{52, 53, 54, 57, 58, 61, 82, 255, 0, 15}, []byte{15}},
		{[]byte{}, nil},
	} {
		_, codes, _ := ask(t, cfg, tt.asked)
		if len(codes) < 5 || !bytes.Equal(codes[:5], []byte{53, 54, 51, 58, 59}) || !bytes.Equal(codes[5:], tt.want) {
			t.Errorf("asked for %v, got %v, want %v behind what every reply has", tt.asked, codes, tt.want)
		}
	}
}

// A client of 576 octets: what does not fit goes into the fields of the boot
// file and the server name, and at last the least needed is left out.
func TestSmallClients(t *testing.T) {
	all := []byte{150, 151, 152, 119, 121, 42, 26, 15, 6, 3, 1}
	for _, tt := range []struct {
		size     int // of 150, 151 and 152
		max      []byte
		overload []byte
		missing  []byte
	}{
		{40, nil, nil, []byte{3}},
		{80, nil, []byte{1}, []byte{3}},
		{60, []byte{1, 0}, nil, []byte{3}}, // 256: no client may take less than 576
		{100, nil, []byte{1}, []byte{3}},
		{130, nil, nil, []byte{3, 151, 152}},
		{130, []byte{5, 0xdc}, nil, []byte{3}},
		{255, []byte{5, 0xdc}, nil, []byte{3}},
		{255, []byte{255, 255}, nil, []byte{3}},
		{400, []byte{255, 255}, nil, []byte{3, 152}}, // the link carries 1450
	} {
		cfg := labConfig()
		for code := uint16(150); code <= 152; code++ {
			cfg.Options.Bytes(code, bytes.Repeat([]byte{byte(code)}, tt.size))
		}
		cfg.Options.Names(OptSearch, []string{"a.lab.test", "b.lab.test"})
		cfg.Options.Addrs(OptNTPServers, []netip.Addr{ip("192.168.10.1")})
		cfg.Options.Bytes(OptRoutes, Routes([]Route{{netip.MustParsePrefix("10.0.0.0/8"), ip("192.168.10.2")}}))
		var more []dhcpv4.Modifier
		limit := 576
		if tt.max != nil {
			more = append(more, generic(57, tt.max...))
			limit = max(576, min(int(tt.max[0])<<8|int(tt.max[1]), 1450))
		}
		b, codes, values := ask(t, cfg, all, more...)
		if len(b)+28 > limit {
			t.Errorf("%d octets each, %v: the reply has %d", tt.size, tt.max, len(b)+28)
		}
		if !bytes.Equal(values[52], tt.overload) {
			t.Errorf("%d octets each, %v: overload %v, want %v", tt.size, tt.max, values[52], tt.overload)
		}
		var missing []byte
		for _, code := range all {
			if !slices.Contains(codes, code) {
				missing = append(missing, code)
			}
		}
		slices.Sort(missing)
		if !bytes.Equal(missing, tt.missing) {
			t.Errorf("%d octets each, %v: %v are missing, want %v", tt.size, tt.max, missing, tt.missing)
		}
	}
}

// Every size of what fits, or just does not, in any of the fields.
func TestFieldsToTheirLastOctet(t *testing.T) {
	fields := map[byte]bool{}
	for size := range 256 {
		cfg := labConfig()
		var codes []byte
		for code := byte(150); code <= 162; code++ {
			cfg.Options.Bytes(uint16(code), bytes.Repeat([]byte{code}, size/int(code-149)))
			codes = append(codes, code)
		}
		b, _, values := ask(t, cfg, codes)
		if len(b)+28 > 576 {
			t.Fatalf("%d octets each: the reply has %d", size, len(b)+28)
		}
		fields[append(values[52], 0)[0]] = true
	}
	if !fields[0] || !fields[1] || !fields[3] {
		t.Errorf("option 52 was only %v", fields)
	}
}

// Where the routes do not fit, their client is not cut off.
func TestRouterWhereRoutesDoNotFit(t *testing.T) {
	cfg := labConfig()
	var routes []Route
	for i := range 60 {
		routes = append(routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24), ip("192.168.10.2")})
	}
	cfg.Options.Bytes(OptRoutes, Routes(routes))
	if _, codes, _ := ask(t, cfg, []byte{1, 3, 121}); !slices.Contains(codes, 3) || slices.Contains(codes, 121) {
		t.Errorf("got %v", codes)
	}
	if _, codes, values := ask(t, cfg, []byte{1, 3, 121}, maxSize1500); slices.Contains(codes, 3) || len(values[121]) != 60*8+5 {
		t.Errorf("got %v", codes)
	}
}

func TestReservationsAndTags(t *testing.T) {
	cfg := labConfig()
	cfg.Options.Text(150, "subnet")
	cfg.Tags = []option.Tag{
		{Name: "pxe", Match: option.Match{VendorClass: "PXEClient*"}},
		{Name: "ipxe", Match: option.Match{UserClass: "iPXE"}},
		{Name: "vip"},
	}
	for i := range cfg.Tags {
		cfg.Tags[i].Options.Text(150, cfg.Tags[i].Name)
		cfg.Tags[i].Options.Text(uint16(151+i), cfg.Tags[i].Name)
	}
	cfg.Reservations = []Reservation{{MAC: mac(1), Address: ip("192.168.10.50"), Tags: []string{"vip"}}, {MAC: mac(2), Address: ip("192.168.10.51")}}
	cfg.Reservations[1].Options.Text(150, "own")
	for _, tt := range []struct {
		n    int
		more []dhcpv4.Modifier
		want string
	}{
		{3, nil, "subnet"},
		{3, []dhcpv4.Modifier{generic(60, []byte("PXEClient:Arch:00000")...)}, "pxe pxe"},
		{3, []dhcpv4.Modifier{generic(60, []byte("PXEClient:Arch:00000")...), generic(77, []byte("iPXE")...)}, "pxe pxe ipxe"},
		{3, []dhcpv4.Modifier{generic(77, []byte("\x04iPXE")...)}, "ipxe  ipxe"},
		{1, nil, "vip   vip"},
		{2, []dhcpv4.Modifier{generic(60, []byte("PXEClient")...)}, "own pxe"},
	} {
		w := newWorld(t, cfg)
		req, err := Parse(wire(t, tt.n, DHCPDISCOVER, "", append(tt.more, generic(55, 150, 151, 152, 153))...))
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		_, values := decode(t, d.Subnet.AppendReply(nil, &req, &d))
		got := fmt.Sprintf("%s %s %s %s", values[150], values[151], values[152], values[153])
		if strings.TrimRight(got, " ") != tt.want {
			t.Errorf("client %d: got %q, want %q", tt.n, got, tt.want)
		}
	}
	cfg.Reservations[0].Tags = []string{"vip", "none"}
	cfg.Tags = append(cfg.Tags, cfg.Tags[0])
	if _, err := Compile(cfg); err == nil || err.Error() != `subnets[0].tags[3]: "pxe" is the name of tags[0], too` {
		t.Errorf("got %v", err)
	}
	cfg.Tags = cfg.Tags[:3]
	if _, err := Compile(cfg); err == nil || err.Error() != `subnets[0].reservations[0]: tags[1]: there is no tag "none"` {
		t.Errorf("got %v", err)
	}
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		lease, renew, rebind, asked time.Duration
		want                        string // 51, 58 and 59 in seconds
	}{
		{time.Hour, 0, 0, 0, "3600 1800 3150"},
		{time.Hour, 20 * time.Minute, 0, 0, "3600 1200 3150"},
		{time.Hour, 20 * time.Minute, 30 * time.Minute, 0, "3600 1200 1800"},
		{time.Hour, 0, 10 * time.Minute, 0, "3600 600 600"},
		{time.Hour, 20 * time.Minute, 30 * time.Minute, 10 * time.Minute, "600 300 525"}, // a shorter lease than they are for
		{pool.Infinite, 0, 0, 0, "4294967295"},
		{pool.Infinite, time.Hour, 0, 0, "4294967295 3600"},
		{pool.Infinite, time.Hour, 2 * time.Hour, 0, "4294967295 3600 7200"},
	} {
		cfg := labConfig()
		cfg.LeaseTime, cfg.RenewTime, cfg.RebindTime = tt.lease, tt.renew, tt.rebind
		w := newWorld(t, cfg)
		d := w.answer(&Request{Type: DHCPDISCOVER, MAC: mac(1), LeaseTime: tt.asked})
		_, values := decode(t, d.Subnet.AppendReply(nil, &Request{}, &d))
		var got []string
		for _, code := range []byte{51, 58, 59} {
			if v := values[code]; len(v) == 4 {
				got = append(got, fmt.Sprint(binary.BigEndian.Uint32(v)))
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%+v: %s", tt, diff)
		}
	}
	cfg := labConfig()
	cfg.RenewTime = -1
	if _, err := Compile(cfg); err == nil {
		t.Error("a negative renewTime compiles")
	}
}

// RFC 4702: to one that sent it, with the name that is in the DNS, in its own
// encoding; and option 81 alone is enough for a name.
func TestFQDNReply(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fqdn     string
		hostname string
		want     string
		bound    string
	}{
		{"wire format", "\x05\x00\x00\x05guest\x03old\x04test\x00", "", "\x05\xff\xff\x05guest\x03lab\x04test\x00", "guest"},
		{"a client that would do it itself", "\x04\x00\x00\x05guest\x00", "", "\x07\xff\xff\x05guest\x03lab\x04test\x00", "guest"},
		{"a partial name", "\x05\x00\x00\x05guest", "", "\x05\xff\xff\x05guest\x03lab\x04test\x00", "guest"},
		{"ASCII", "\x01\x00\x00Guest.old.test", "", "\x01\xff\xffguest.lab.test", "guest"},
		{"both", "\x05\x00\x00\x03one\x00", "two", "\x05\xff\xff\x03one\x03lab\x04test\x00", "one"},
		{"asks for a name", "\x05\x00\x00", "two", "\x05\xff\xff\x03two\x03lab\x04test\x00", "two"},
		{"no name at all", "\x05\x00\x00", "", "", ""},
		{"reserved for another", "\x05\x00\x00\x02db\x00", "", "", ""},
		{"too short", "\x05\x00", "two", "", "two"},
	} {
		w := newWorld(t, labConfig())
		mods := []dhcpv4.Modifier{generic(81, []byte(tt.fqdn)...), dhcpv4.WithoutOption(dhcpv4.OptionHostName)}
		if tt.hostname != "" {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(tt.hostname)))
		}
		for _, typ := range []MessageType{DHCPDISCOVER, DHCPREQUEST} {
			req, err := Parse(wire(t, 1, typ, "192.168.10.101", mods...))
			if err != nil {
				t.Fatal(err)
			}
			d := w.answer(&req)
			_, values := decode(t, d.Subnet.AppendReply(nil, &req, &d))
			if string(values[81]) != tt.want {
				t.Errorf("%s, %s: got %q, want %q", tt.name, typ, values[81], tt.want)
			}
			if d.Bind && d.Lease.Hostname != tt.bound {
				t.Errorf("%s: the lease's name is %q", tt.name, d.Lease.Hostname)
			}
		}
	}
	if _, codes, _ := ask(t, labConfig(), []byte{81}); slices.Contains(codes, 81) {
		t.Error("option 81 to one that did not send it")
	}
}

// Replies are put together without allocating, also where options are a
// combination of tags and reservation.
func TestReplyDoesNotAllocate(t *testing.T) {
	cfg := labConfig()
	cfg.Options.Text(66, "boot")
	cfg.Tags = []option.Tag{{Name: "pxe", Match: option.Match{VendorClass: "PXEClient*", UserClass: "x", Hostname: "GUEST"}}}
	cfg.Tags[0].Options.Text(67, "pxelinux.0")
	cfg.Reservations[1].Options.Text(66, "other")
	svc, err := Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sub := svc.subnets[0]
	out := make([]byte, 0, 1500)
	for _, n := range []int{1, 11} {
		req, err := Parse(wire(t, n, DHCPDISCOVER, "", generic(60, []byte("PXEClient:1")...), generic(77, 1, 'x'),
			generic(81, 5, 0, 0), generic(55, 1, 3, 6, 12, 15, 66, 67)))
		if err != nil {
			t.Fatal(err)
		}
		d := Decision{Reply: DHCPOFFER, Address: ip("192.168.10.101"), Seconds: 3600, Hostname: "a", Name: "a"}
		d.own, _, _ = svc.Profile(&pool.Client{Key: lease.Client{MAC: mac(n)}}, sub.Subnet)
		if _, values := decode(t, sub.AppendReply(out, &req, &d)); string(values[67]) != "pxelinux.0" || values[81] == nil || (string(values[66]) == "other") != (n == 11) {
			t.Errorf("client %d: got %q", n, values)
		}
		if a := testing.AllocsPerRun(100, func() { sub.AppendReply(out, &req, &d) }); a != 0 {
			t.Errorf("client %d: %v allocations", n, a)
		}
	}
}

// FuzzReply has a client ask for anything, as anybody. Replies keep to its
// size, hold what it asked for and nothing twice, and can be read.
func FuzzReply(f *testing.F) {
	cfg := labConfig()
	for code := uint16(1); code < 255; code += 3 {
		if code != optMask && !automatic.has(byte(code)) {
			cfg.Options.Bytes(code, bytes.Repeat([]byte{byte(code)}, int(code)*3))
		}
	}
	cfg.Options.Bytes(OptRoutes, Routes([]Route{{netip.MustParsePrefix("10.0.0.0/8"), ip("192.168.10.2")}}))
	cfg.Tags = []option.Tag{
		{Name: "a", Match: option.Match{VendorClass: "a*"}},
		{Name: "b", Match: option.Match{UserClass: "b"}},
		{Name: "c", Match: option.Match{Hostname: "c*", MACPrefix: "\x02"}},
	}
	for i := range cfg.Tags {
		cfg.Tags[i].Options.Text(uint16(100+i), "tag")
		cfg.Tags[i].Options.Omit(uint16(4 + 3*i))
	}
	svc, err := Compile(cfg)
	if err != nil {
		f.Fatal(err)
	}
	sub := svc.subnets[0]
	f.Add([]byte{1, 3, 6, 121, 15, 12}, []byte("abc"), []byte("\x01b"), []byte("\x05\x00\x00\x01c\x00"), []byte{1, 2, 3}, uint16(0), uint8(2))
	f.Add([]byte{121, 3, 33, 52, 53}, []byte{}, []byte("b"), []byte("\x00\x00\x00c.d"), bytes.Repeat([]byte{9}, 300), uint16(1500), uint8(5))
	f.Fuzz(func(t *testing.T, asked, vendor, user, fqdn, id []byte, size uint16, reply uint8) {
		req := Request{
			Type: DHCPDISCOVER, MAC: mac(1), CIAddr: netip.IPv4Unspecified(), GIAddr: netip.IPv4Unspecified(),
			Parameters: asked, VendorClass: vendor, UserClass: user, ClientID: id[:min(len(id), 1000)], MaxSize: int(size),
		}
		req.setHostname(vendor, fqdn)
		d := Decision{
			Reply: MessageType(reply%8 + 1), Address: ip("192.168.10.101"), Seconds: uint32(size),
			Hostname: pool.Hostname(user), Name: pool.Hostname(req.Hostname),
		}
		b := sub.AppendReply(nil, &req, &d)
		if len(b)+28 > max(576, min(int(size), 1450)) || len(b) < 300 {
			t.Fatalf("%d octets to a client that takes %d", len(b), size)
		}
		codes, values := decode(t, b)
		if len(values[53]) != 1 || values[53][0] != byte(d.Reply) || len(values[54]) != 4 {
			t.Fatalf("got %v", codes)
		}
		if d.Reply == DHCPNAK {
			return
		}
		if asked == nil {
			asked = defaultParameters
		}
		for _, code := range codes {
			if !slices.Contains(asked, code) && !automatic.has(code) && code != optFQDN {
				t.Fatalf("option %d was not asked for: %v", code, asked)
			}
		}
		if values[optFQDN] != nil && !req.FQDN {
			t.Fatal("option 81 to one that did not send it")
		}
	})
}
