package v6

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/vnetd/vnetd/dhcpd/option"

	"github.com/vnetd/vnetd/dhcpd/pool"
)

// rich has options on the link, in two subnets, in tags and in a reservation.
func rich() Config {
	cfg := config()
	cfg.Options.Text(OptBootFile, "link")
	cfg.Options.Seconds(OptSolMaxRT, time.Minute)
	s := &cfg.Subnets[0]
	s.Options.Text(OptBootFile, "subnet")
	s.Options.Bytes(OptNTPServers, NTPServers([]netip.Addr{ip("fd00:10::5"), ip("fd00:10::6")}))
	s.Options.Text(900, "by number")
	s.Tags = []option.Tag{
		{Name: "phones", Match: option.Match{VendorClass: "phone*"}}, {Name: "desk", Match: option.Match{UserClass: "desk"}}, {Name: "named"},
	}
	for i := range s.Tags {
		s.Tags[i].Options.Text(OptBootFile, s.Tags[i].Name)
	}
	s.Tags[0].Options.Omit(OptDNSServers)
	s.Reservations[0].Tags = []string{"named"}
	s.Reservations[1].Options.Text(OptBootFile, "own")
	cfg.Subnets = append(cfg.Subnets, Subnet{Server: prefix("fd00:11::1/64")})
	return cfg
}

func oro(codes ...uint16) (b []byte) {
	for _, c := range codes {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return b
}

// told asks for options and returns what came of them, in its order.
func (w *world) told(r *Request) string {
	w.t.Helper()
	d, _ := w.ask(r)
	m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, r, &d))
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, o := range m.Options.Options {
		switch o.Code() {
		case dhcpv6.OptionClientID, dhcpv6.OptionServerID, dhcpv6.OptionIANA, dhcpv6.OptionPreference:
		case dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionNTPServer, dhcpv6.OptionDomainSearchList:
			got = append(got, fmt.Sprint(uint16(o.Code())))
		default:
			got = append(got, fmt.Sprintf("%d=%s", uint16(o.Code()), printable(o.ToBytes())))
		}
	}
	return strings.Join(got, " ")
}

func printable(b []byte) string {
	if len(b) == 4 && b[0] == 0 {
		return fmt.Sprint(binary.BigEndian.Uint32(b))
	}
	return string(b)
}

func TestOptions(t *testing.T) {
	all := oro(59, 900, 56, 23, 24, 82, 32, 59, 900)
	class := func(r *Request, vendor, user string) *Request {
		r.VendorClass, r.UserClass = []byte(vendor), []byte(user)
		return r
	}
	for _, tt := range []struct {
		name string
		r    *Request
		oro  []byte
		want string
	}{
		{"who does not say", req(solicit, 1, ia(1)), nil, "23 24"},
		{"who wants nothing", req(solicit, 1, ia(1)), []byte{}, ""},
		{"in its order", req(solicit, 1, ia(1)), all, "59=subnet 900=by number 56 23 24"},
		{"no refresh time with addresses", req(request, 1, ia(1)), oro(32), ""},
		{"no address, no subnet", req(inform, 1), all, "59=link 23 24 82=60 32=3600"},
		{"a tag", class(req(solicit, 1, ia(1)), "\x00\x05phone", ""), all, "59=phones 900=by number 56 24"},
		{"two tags", class(req(solicit, 1, ia(1)), "\x00\x05phone", "\x00\x04desk"), all, "59=phones 900=by number 56 24"},
		{"the other", class(req(solicit, 1, ia(1)), "\x00\x03pho", "\x00\x01x\x00\x04desk"), oro(59), "59=desk"},
		{"one that a reservation names", req(solicit, 50, ia(1)), oro(59), "59=named"},
		{"a reservation", class(req(solicit, 51, ia(1)), "\x00\x05phone", ""), oro(59, 23), "59=own"},
		{"a reservation, without an address", req(inform, 51), oro(59, 23), "59=own 23"},
	} {
		tt.r.ORO = tt.oro
		if got := newWorld(t, rich()).told(tt.r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// RFC 5908 §4.1.
func TestNTPServers(t *testing.T) {
	if got := fmt.Sprintf("%x", NTPServers([]netip.Addr{ip("fd00::1")})); got != "00010010fd000000000000000000000000000001" {
		t.Errorf("got %s", got)
	}
	if NTPServers(nil) != nil {
		t.Error("nothing is something")
	}
}

// A reply fits into one packet of any link, with what the client prefers.
func TestReplyFits(t *testing.T) {
	cfg := config()
	for code := uint16(900); code < 910; code++ {
		cfg.Subnets[0].Options.Bytes(code, bytes.Repeat([]byte("x"), 400))
	}
	w := newWorld(t, cfg)
	r := req(solicit, 1, ia(1))
	r.ORO = oro(905, 901, 907, 900, 23)
	d, _ := w.ask(r)
	b := w.pool.Service().AppendReply(nil, r, &d)
	if len(b) > 1280-48 {
		t.Errorf("%d octets", len(b))
	}
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[uint16]bool{905: true, 901: true, 907: false, 900: false, 23: true} {
		if got := m.Options.GetOne(dhcpv6.OptionCode(code)) != nil; got != want {
			t.Errorf("option %d: %v", code, got)
		}
	}
}

func TestTimes6(t *testing.T) {
	for _, tt := range []struct {
		lease, renew, rebind time.Duration
		want                 string
	}{
		{time.Hour, 0, 0, "30m0s 48m0s"},
		{time.Hour, 10 * time.Minute, 0, "10m0s 48m0s"},
		{time.Hour, 10 * time.Minute, 20 * time.Minute, "10m0s 20m0s"},
		{time.Hour, 0, 20 * time.Minute, "20m0s 20m0s"},
		{pool.Infinite, 10 * time.Minute, 0, "10m0s " + (pool.InfiniteSeconds * time.Second).String()},
	} {
		cfg := config()
		s := &cfg.Subnets[0]
		s.LeaseTime, s.RenewTime, s.RebindTime = tt.lease, tt.renew, tt.rebind
		w := newWorld(t, cfg)
		r := req(request, 1, ia(1))
		d, _ := w.ask(r)
		m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, r, &d))
		if err != nil {
			t.Fatal(err)
		}
		if na := m.Options.OneIANA(); fmt.Sprint(na.T1, na.T2) != tt.want {
			t.Errorf("%+v: got %s %s", tt, na.T1, na.T2)
		}
	}
}
