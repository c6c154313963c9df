package v6

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"github.com/vnetd/vnetd/dhcpd/lease"

	"github.com/vnetd/vnetd/dhcpd/pool"
)

// built is a message made by the library.
func built(t testing.TB, typ MessageType, mods ...dhcpv6.Modifier) []byte {
	t.Helper()
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageType(typ), TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	for _, mod := range mods {
		mod(m)
	}
	return m.ToBytes()
}

func clientMods() []dhcpv6.Modifier {
	return []dhcpv6.Modifier{
		dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}),
		dhcpv6.WithIAID([4]byte{0, 0, 0, 7}),
		dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("fd00:10::105")}),
		dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionFQDN),
		dhcpv6.WithOption(&dhcpv6.OptFQDN{Flags: 1, DomainName: &rfc1035label.Labels{Labels: []string{"web.old.test"}}}),
		dhcpv6.WithRapidCommit,
	}
}

func TestParse(t *testing.T) {
	r, err := Parse(built(t, solicit, clientMods()...))
	if err != nil {
		t.Fatal(err)
	}
	if r.Type != solicit || r.XID != [3]byte{1, 2, 3} || string(r.ClientID) != DUIDLL(mac(1)) || r.ServerID != nil || !r.Rapid ||
		string(r.Hostname) != "web" || !r.FQDN || r.FQDNFlags != 1 ||
		!slices.Contains(slices.Collect(r.requested()), optDNS) || slices.Contains(slices.Collect(r.requested()), optRefresh) {
		t.Errorf("%+v", r)
	}
	if ias := r.IAs(); len(ias) != 1 || ias[0].ID != 7 || len(ias[0].Addrs()) != 1 || ias[0].Addrs()[0] != ip("fd00:10::105") {
		t.Errorf("%+v", r.IAs())
	}
	if a := testing.AllocsPerRun(100, func() { _, _ = Parse(built(t, solicit)) }) - testing.AllocsPerRun(100, func() { built(t, solicit) }); a > 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestMACOfAClient(t *testing.T) {
	llt := append([]byte{0, 1, 0, 1, 9, 9, 9, 9}, 2, 0, 0, 0, 0, 3)
	tests := []struct {
		name string
		req  Request
		want lease.MAC
	}{
		{"the frame's", Request{FrameMAC: mac(1), From: ip("fe80::ff:fe00:2"), ClientID: llt}, mac(1)},
		{"of the link-local address", Request{From: ip("fe80::ff:fe00:2"), ClientID: llt}, mac(2)},
		{"of a DUID-LLT", Request{From: ip("fe80::2"), ClientID: llt}, mac(3)},
		{"of a DUID-LL", Request{From: ip("fe80::2"), ClientID: []byte(DUIDLL(mac(4)))}, mac(4)},
		{"none", Request{From: ip("fe80::2"), ClientID: []byte("\x00\x02enterprise")}, lease.MAC{}},
	}
	for _, tt := range tests {
		if got := tt.req.MAC(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := built(t, solicit, clientMods()...)
	long := bytes.Repeat([]byte{7}, 130+1)
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"a torn header":       good[:3],
		"a torn option":       good[:len(good)-2],
		"a reply":             built(t, REPLY),
		"a relay's":           append([]byte{12}, good...),
		"too long":            append(good, make([]byte, maxSize)...),
		"a long DUID":         appendOption(built(t, solicit), optClientID, long),
		"a short DUID":        appendOption(built(t, solicit), optClientID, []byte{0, 1}),
		"two DUIDs":           appendOption(good, optClientID, []byte("0123")),
		"a short IA":          appendOption(good, optIANA, make([]byte, 11)),
		"a short address":     appendOption(good, optIANA, append(make([]byte, 12), appendOption(nil, optIAAddr, make([]byte, 23))...)),
		"a torn option of IA": appendOption(good, optIANA, make([]byte, 14)),
	} {
		if r, err := Parse(b); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestManyAssociations(t *testing.T) {
	b := built(t, solicit)
	for i := range byte(100) {
		value := append(make([]byte, 3), i)
		value = append(value, make([]byte, 8)...)
		for range 100 {
			value = appendOption(value, optIAAddr, make([]byte, 24))[:len(value)]
		}
		b = appendOption(b, optIANA, value)
	}
	r, err := Parse(b)
	if err != nil || len(r.IAs()) != maxIAs {
		t.Errorf("%d associations, %v", len(r.IAs()), err)
	}
}

// What is written is what the library reads.
func TestReply(t *testing.T) {
	cfg := config()
	w := newWorld(t, cfg)
	r, err := Parse(built(t, solicit, clientMods()...))
	if err != nil {
		t.Fatal(err)
	}
	r.FrameMAC = mac(1)
	d, text := w.ask(&r)
	m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, &r, &d))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if MessageType(m.MessageType) != REPLY || m.TransactionID != (dhcpv6.TransactionID{1, 2, 3}) || m.GetOneOption(dhcpv6.OptionRapidCommit) == nil {
		t.Errorf("%v", m.MessageType)
	}
	if got := m.Options.ServerID().ToBytes(); string(got) != us {
		t.Errorf("server %x", got)
	}
	if got := m.Options.ClientID().ToBytes(); string(got) != DUIDLL(mac(1)) {
		t.Errorf("client %x", got)
	}
	na := m.Options.OneIANA()
	a := na.Options.OneAddress()
	if na.IaId != [4]byte{0, 0, 0, 7} || na.T1 != 30*time.Minute || na.T2 != 48*time.Minute || !a.IPv6Addr.Equal(net.ParseIP("fd00:10::105")) ||
		a.PreferredLifetime != time.Hour || a.ValidLifetime != time.Hour {
		t.Errorf("%v", na)
	}
	if dns := m.Options.DNS(); len(dns) != 1 || !dns[0].Equal(net.ParseIP("fd00:10::1")) {
		t.Errorf("DNS %v", dns)
	}
	if s := m.Options.DomainSearchList(); len(s.Labels) != 2 || s.Labels[0] != "lab.test" || s.Labels[1] != "example.com" {
		t.Errorf("search %v", s)
	}
	if f := m.Options.FQDN(); f == nil || f.Flags != fqdnS || f.DomainName.Labels[0] != "web.lab.test" {
		t.Errorf("FQDN %v", f)
	}
}

func TestAdvertiseEndsTheSearch(t *testing.T) {
	w := newWorld(t, config())
	r := req(solicit, 1, ia(1), IA{Code: optIAPD, ID: 2}, IA{Code: optIATA, ID: 3})
	d, _ := w.ask(r)
	m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, r, &d))
	if err != nil {
		t.Fatal(err)
	}
	if p := m.GetOneOption(dhcpv6.OptionPreference); p == nil || p.ToBytes()[0] != 255 {
		t.Errorf("preference %v", p)
	}
	if pd := m.Options.OneIAPD(); pd == nil || pd.Options.Status() == nil || StatusCode(pd.Options.Status().StatusCode) != NoPrefixAvail {
		t.Errorf("IA_PD %v", pd)
	}
	if len(m.Options.DNS()) != 1 {
		t.Error("no DNS for a client that asks for nothing in particular")
	}
}

func TestInfiniteLease(t *testing.T) {
	cfg := config()
	cfg.Subnets[0].LeaseTime = pool.Infinite
	w := newWorld(t, cfg)
	r := req(request, 1, ia(1))
	d, _ := w.ask(r)
	m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, r, &d))
	if err != nil || !d.Bind[0].Expires.IsZero() {
		t.Fatalf("%v, %v", err, d)
	}
	if na := m.Options.OneIANA(); na.T1 != pool.InfiniteSeconds*time.Second || na.Options.OneAddress().ValidLifetime != pool.InfiniteSeconds*time.Second {
		t.Errorf("%v", na)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, typ := range []MessageType{solicit, request, confirm, renew, rebind, release, decline, inform} {
		mods := clientMods()
		if rules[typ]&needsServer != 0 {
			id, _ := dhcpv6.DUIDFromBytes([]byte(us))
			mods = append(mods, dhcpv6.WithServerID(id))
		}
		f.Add(built(f, typ, mods...))
	}
	f.Add(built(f, solicit, dhcpv6.WithIAPD([4]byte{1})))
	for n := range hopLimit + 2 {
		f.Add(relayedBy(built(f, solicit, clientMods()...), n))
	}
	f.Add(built(f, inform, dhcpv6.WithRequestedOptions(59, 900, 56, 59, 900, 82, 32),
		dhcpv6.WithUserClass([]byte("desk")), dhcpv6.WithOption(&dhcpv6.OptVendorClass{Data: [][]byte{[]byte("phone1")}})))
	cfg := rich()
	cfg.Subnets = append(cfg.Subnets, farSubnet())
	svc, err := Compile(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		if !r.Relayed() {
			r.FrameMAC, r.From = mac(1), netip.IPv6LinkLocalAllNodes()
		}
		table := lease.Memory(nil)
		w := &world{t: t, pool: NewPool(svc, table.Network("lab"), time.Now()), leases: table, now: time.Unix(1, 0)}
		for range 2 {
			d, _ := w.ask(&r)
			if d.Reply == 0 {
				continue
			}
			out := svc.AppendReply(nil, &r, &d)
			if len(out) > 2048+maxSize {
				t.Errorf("%d octets", len(out))
			}
			if _, err := dhcpv6.FromBytes(out); err != nil {
				// The library checks DUIDs more strictly than RFC 8415 §11 wants.
				if _, bad := dhcpv6.DUIDFromBytes(r.ClientID); r.ClientID == nil || bad == nil {
					t.Errorf("%v: %x", err, out)
				}
			}
			for _, l := range d.Bind {
				if sub := svc.Subnet(l.Address); sub == nil || !sub.Usable(l.Address) {
					t.Errorf("bound %s", l.Address)
				}
			}
		}
	})
}

func BenchmarkSolicitAndRequest(b *testing.B) {
	cfg := config()
	cfg.Subnets[0].Ranges = []Range{{Start: ip("fd00:10::"), End: ip("fd00:10::ffff:ffff:ffff:ffff")}}
	svc, _ := Compile(cfg)
	table := lease.Memory(nil)
	p := NewPool(svc, table.Network("lab"), time.Now())
	msg := built(b, solicit, clientMods()...)
	out := make([]byte, 0, 1024)
	now := time.Now()
	for b.Loop() {
		r, _ := Parse(msg)
		r.FrameMAC = mac(1)
		d := p.Answer(&r, now)
		out = svc.AppendReply(out[:0], &r, &d)
	}
}
