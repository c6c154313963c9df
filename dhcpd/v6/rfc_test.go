package v6

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// What RFC 8415 and others say of a server, a message and the outcome of it each, as
// Decision.text and reply write it. Client 1 has fd00:10::105 in its association 1, and
// was offered another address for its association 2.
func TestStatements(t *testing.T) {
	const (
		request, renew, rebind = REQUEST, RENEW, REBIND
		release, decline       = RELEASE, DECLINE
		confirm, information   = CONFIRM, INFORMATIONREQUEST
	)
	with := func(r *Request, f func(*Request)) *Request { f(r); return r }
	noServer := func(r *Request) { r.ServerID = nil }
	byUnicast := func(r *Request) { r.Unicast = true }
	for _, tt := range []struct {
		section, says string
		req           func(offered string) *Request
		want          string
	}{
		{"§16.2", "a SOLICIT names the client", func(string) *Request {
			return with(req(solicit, 7, ia(1)), func(r *Request) { r.ClientID = nil })
		}, "silence"},
		{"§16.2", "and no server", func(string) *Request {
			return with(req(solicit, 7, ia(1)), func(r *Request) { r.ServerID = []byte(us) })
		}, "silence"},
		{"§16.2", "a SOLICIT by unicast is dropped", func(string) *Request { return with(req(solicit, 7, ia(1)), byUnicast) }, "silence"},
		{"§16.4", "a REQUEST names the server", func(string) *Request { return with(req(request, 7, ia(1)), noServer) }, "silence"},
		{"§16.4", "and this one", func(string) *Request {
			return with(req(request, 7, ia(1)), func(r *Request) { r.ServerID = []byte("other") })
		}, "silence"},
		{"§16.12", "an INFORMATION-REQUEST has no association", func(string) *Request { return req(information, 7, ia(1)) }, "silence"},
		{"§18.3.1", "an ADVERTISE has an address, which is asked for if it is free", func(string) *Request { return req(solicit, 7, ia(1, "fd00:10::108")) }, "ADVERTISE 1=fd00:10::108"},
		{"§18.3.1", "with Rapid Commit it is a REPLY", func(string) *Request {
			return with(req(solicit, 7, ia(1, "fd00:10::108")), func(r *Request) { r.Rapid = true })
		}, "REPLY rapid 1=fd00:10::108"},
		{"§18.3.2", "a REQUEST for an address of another link is NotOnLink", func(string) *Request { return req(request, 7, ia(1, "2001:db8::1")) }, "REPLY 1=NotOnLink"},
		{"§18.3.3", "a CONFIRM on the link is Success", func(string) *Request { return req(confirm, 1, ia(1, "fd00:10::105")) }, "REPLY Success"},
		{"§18.3.3", "off the link it is NotOnLink", func(string) *Request { return req(confirm, 1, ia(1, "2001:db8::1")) }, "REPLY NotOnLink"},
		{"§18.3.3", "without addresses it is not answered", func(string) *Request { return req(confirm, 1, ia(1)) }, "silence"},
		{"§18.3.4", "a RENEW keeps its address", func(string) *Request { return req(renew, 1, ia(1, "fd00:10::105")) }, "REPLY 1=fd00:10::105"},
		{"§18.3.4", "addresses of another link have lifetimes of zero", func(string) *Request { return req(renew, 1, ia(1, "2001:db8::1")) }, "-2001:db8::1"},
		{"§18.3.4", "what another client has is NoBinding", func(string) *Request { return req(renew, 7, ia(1, "fd00:10::105")) }, "REPLY 1=NoBinding"},
		{"§18.3.5", "a REBIND keeps its address", func(string) *Request { return req(rebind, 1, ia(1, "fd00:10::105")) }, "REPLY 1=fd00:10::105"},
		{"§18.3.4, Deviation", "an unknown client keeps a free address", func(string) *Request { return req(renew, 7, ia(1, "fd00:10::108")) }, "REPLY 1=fd00:10::108"},
		{"§18.3.7", "a RELEASE of a lease is Success, without an association", func(string) *Request { return req(release, 1, ia(1, "fd00:10::105")) }, "REPLY Success ends=fd00:10::105"},
		{"§18.3.7", "of another association it is NoBinding", func(string) *Request { return req(release, 1, ia(3, "fd00:10::105")) }, "REPLY Success 3=NoBinding"},
		{"§18.3.7", "of another DUID, too", func(string) *Request {
			return with(req(release, 1, ia(1, "fd00:10::105")), func(r *Request) { r.ClientID = []byte(duid(2)) })
		}, "REPLY Success 1=NoBinding"},
		{"§18.3.7", "what was only offered is no binding", func(a string) *Request { return req(release, 1, ia(2, a)) }, "REPLY Success 2=NoBinding"},
		{"§18.3.8", "it can be declined", func(a string) *Request { return req(decline, 1, ia(2, a)) }, "REPLY Success ends="},
		{"§18.3.8", "a DECLINE of another's is NoBinding", func(string) *Request { return req(decline, 7, ia(1, "fd00:10::105")) }, "REPLY Success 1=NoBinding"},
		{"§18.3.6", "an INFORMATION-REQUEST has options only", func(string) *Request { return req(information, 7) }, "REPLY"},
		{"§21.4", "there are no temporary addresses", func(string) *Request {
			return with(req(solicit, 7, ia(1)), func(r *Request) { r.ias[0].Code = optIATA })
		}, "ADVERTISE 1=NoAddrsAvail"},
		{"§18.3.1", "and no prefixes", func(string) *Request {
			return with(req(solicit, 7, ia(1)), func(r *Request) { r.ias[0].Code = optIAPD })
		}, "ADVERTISE 1=NoPrefixAvail"},
		{"§19.3", "a relay of no subnet is not answered", func(string) *Request {
			return with(req(solicit, 7, ia(1)), func(r *Request) { r.Relays = []Relay{{link: ip("2001:db8::1"), peer: ip("fe80::1")}} })
		}, "silence"},
	} {
		t.Run(tt.section+" "+tt.says, func(t *testing.T) {
			w := newWorld(t, config())
			if _, got := w.ask(req(request, 1, ia(1, "fd00:10::105"))); got != "REPLY 1=fd00:10::105" {
				t.Fatal(got)
			}
			offered, _ := w.ask(req(solicit, 1, ia(2)))
			d, got := w.ask(tt.req(offered.IAs[0].Address.String()))
			for _, e := range d.End {
				got += " ends=" + e.Address.String()
			}
			if !strings.Contains(got, tt.want) || tt.want == "silence" && d.Reply != 0 {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// What a REPLY on the wire has, as the library reads it.
func TestStatementsOfReplies(t *testing.T) {
	answer := func(b []byte) *dhcpv6.Message {
		t.Helper()
		w := newWorld(t, config())
		r, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		r.FrameMAC, r.From = mac(1), ip("fe80::99")
		d, _ := w.ask(&r)
		m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, &r, &d))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := answer(built(t, solicit, clientMods()...))
	one := m.Options.OneIANA()
	for says, holds := range map[string]bool{
		"8415 §18.3: the transaction is the client's":            m.TransactionID == dhcpv6.TransactionID{1, 2, 3},
		"8415 §18.3: client and server are named":                m.Options.ClientID() != nil && string(m.Options.ServerID().ToBytes()) == us,
		"8415 §21.14: Rapid Commit is said":                      m.GetOneOption(dhcpv6.OptionRapidCommit) != nil,
		"8415 §21.4: T1 is not after T2, nor that after the end": one.T1 <= one.T2 && one.T2 <= one.Options.OneAddress().ValidLifetime,
		"8415 §21.6: preferred is not longer than valid":         one.Options.OneAddress().PreferredLifetime <= one.Options.OneAddress().ValidLifetime,
		"3646 §3: name servers if asked for":                     len(m.Options.DNS()) == 1,
		"3646 §4: a search list if asked for":                    m.Options.DomainSearchList() != nil,
		"4704 §6: the server keeps the record":                   m.Options.FQDN() != nil && m.Options.FQDN().Flags&1 != 0,
		"8415 §21.23: no refresh time in what gives addresses":   m.GetOneOption(dhcpv6.OptionInformationRefreshTime) == nil,
	} {
		if !holds {
			t.Errorf("%s\n%s", says, m.Summary())
		}
	}
	// RFC 4704 §4.2: a name with a first label longer than the option is none. Its
	// length overflows an octet.
	b := built(t, solicit, dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}))
	for _, first := range []byte{63, 253, 254, 255} {
		name := append([]byte{0, first}, make([]byte, 300)...)
		r, err := Parse(appendOption(slices.Clone(b), optFQDN, name))
		if err != nil || len(r.Hostname) != int(first) {
			t.Errorf("a label of %d octets: %d, %v", first, len(r.Hostname), err)
		}
	}
}
