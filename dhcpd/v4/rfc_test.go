package v4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// raw puts options as they are behind the fixed fields of a message of client n.
func raw(t testing.TB, n int, options ...byte) []byte {
	t.Helper()
	return append(wire(t, n, DHCPDISCOVER, "")[:offOptions], options...)
}

// poke changes octets of a message.
func poke(b []byte, at int, value ...byte) []byte {
	copy(b[at:], value)
	return b
}

// What RFCs say of a server, a message and what becomes of it each. The reply is read by
// the library and written as "TYPE to=ADDRESS yi=ADDRESS ci=ADDRESS flags=F opts=53,54 ...";
// what the server remembers as "ends=ADDRESS" or "holds=ADDRESS". Words of want are in it,
// those behind a "!" are not;
// one that ends in "." or "=" is the beginning of a word. Client 1 has 192.168.10.101, and 3 was offered .103.
func TestStatements(t *testing.T) {
	const discover, request, decline, release, inform = DHCPDISCOVER, DHCPREQUEST, DHCPDECLINE, DHCPRELEASE, DHCPINFORM
	ci := func(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }
	reboot := func(n int, a string) []byte {
		return wire(t, n, request, "", dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a))))
	}
	id := []byte{1, 2, 0, 0, 0, 0, 9}
	for _, tt := range []struct {
		rfc, says string
		in        []byte
		want      string
	}{
		{"2131 §2", "a reply has the xid, chaddr and flags of the message, and op 2", wire(t, 7, discover, "", dhcpv4.WithBroadcast(true)), "OFFER op=2 echo flags=8000"},
		{"2131 §2", "what has op 2 is no request", poke(wire(t, 7, discover, ""), offOp, 2), "silence"},
		{"2131 §3 fig. 1", "what has no cookie is no DHCP message", poke(wire(t, 7, discover, ""), offCookie, 1, 2, 3, 4), "silence"},
		{"1534 §2", "BOOTP without option 53 is not answered here", raw(t, 7, optHostname, 1, 'x', optEnd), "silence"},
		{"2131 table 3", "an OFFER has 51, 53, 54, and zero for ciaddr", wire(t, 7, discover, ""), "OFFER ci=0.0.0.0 opts=51 opts=53 opts=54 yi=192.168.10."},
		{"2131 §4.1", "an OFFER goes to yiaddr, or is broadcast if the flag says so", wire(t, 7, discover, ""), "OFFER to=yiaddr"},
		{"2131 §4.1", "the flag asks for broadcast", wire(t, 7, discover, "", dhcpv4.WithBroadcast(true)), "OFFER to=255.255.255.255"},
		{"2131 §4.1", "with ciaddr a reply goes there", wire(t, 1, request, "", ci("192.168.10.101")), "ACK to=192.168.10.101"},
		{"2131 §4.1", "a NAK is broadcast", reboot(7, "10.9.9.9"), "NAK to=255.255.255.255"},
		{"2131 table 3", "a NAK has no address and no lease time", reboot(7, "10.9.9.9"), "NAK yi=0.0.0.0 !opts=51 opts=53 opts=54"},
		{"2131 §4.3.1", "the client's own lease is offered", wire(t, 1, discover, ""), "OFFER yi=192.168.10.101"},
		{"2131 §4.3.1", "a requested address that is free is offered", wire(t, 7, discover, "", dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP("192.168.10.203")))), "OFFER yi=192.168.10.203"},
		{"2131 §4.3.1", "one that another has is not", wire(t, 7, discover, "", dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP("192.168.10.101")))), "OFFER !yi=192.168.10.101"},
		{"2131 §4.3.1", "nor the server's", wire(t, 7, discover, "", dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP("192.168.10.1")))), "OFFER !yi=192.168.10.1"},
		{"2131 §4.3.1", "a shorter lease time may be asked for", wire(t, 7, discover, "", generic(optLeaseTime, 0, 0, 2, 88)), "OFFER lease=600"},
		{"2131 §4.3.1", "a longer one is cut", wire(t, 7, discover, "", generic(optLeaseTime, 255, 255, 255, 255)), "OFFER lease=3600"},
		{"2131 §3.1.2", "an offered address is not offered to another", wire(t, 7, discover, "", dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP("192.168.10.103")))), "OFFER !yi=192.168.10.103"},
		{"2131 §4.3.2", "SELECTING what was offered", wire(t, 3, request, "192.168.10.103"), "ACK yi=192.168.10.103 holds=192.168.10.103"},
		{"2131 §4.3.2", "SELECTING another server is silence", wire(t, 3, request, "192.168.10.103", dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 168, 10, 99}))), "silence"},
		{"2131 §4.3.2", "INIT-REBOOT with the lease", reboot(1, "192.168.10.101"), "ACK yi=192.168.10.101"},
		{"2131 §4.3.2", "INIT-REBOOT on a wrong network", reboot(1, "172.16.0.9"), "NAK"},
		{"2131 §4.3.2", "INIT-REBOOT with what another has", reboot(7, "192.168.10.101"), "NAK"},
		{"2131 §4.3.2, Deviation", "INIT-REBOOT of an unknown client with a free address", reboot(7, "192.168.10.203"), "ACK yi=192.168.10.203"},
		{"2131 table 3", "an ACK to a renewal has its ciaddr", wire(t, 1, request, "", ci("192.168.10.101")), "ACK ci=192.168.10.101 yi=192.168.10.101"},
		{"2131 §4.4.5", "T1 is before T2, and both before the end", wire(t, 1, request, "", ci("192.168.10.101")), "ACK t1=1800 t2=3150 lease=3600"},
		{"2131 §4.3.3", "a declined address rests", wire(t, 1, decline, "192.168.10.101"), "silence ends=192.168.10.101"},
		{"2131 §4.3.4", "a released lease ends", wire(t, 1, release, "", ci("192.168.10.101")), "silence ends=192.168.10.101"},
		{"2131 §4.3.4", "not another's", wire(t, 7, release, "", ci("192.168.10.101")), "silence !ends="},
		{"2131 §4.3.5", "INFORM has an ACK to ciaddr, without times and address", wire(t, 7, inform, "", ci("192.168.10.77")), "ACK to=192.168.10.77 yi=0.0.0.0 !opts=51 !opts=58 !opts=59"},
		{"2131 table 3", "a server's message is not answered", wire(t, 7, DHCPOFFER, ""), "silence"},
		{"2132 §3.1", "pad is skipped", raw(t, 7, 0, 0, 0, optMessageType, 1, 1, 0, 0, optEnd), "OFFER"},
		{"2132 §3.3", "the mask comes before routers", wire(t, 7, discover, ""), "OFFER opts=1 mask-first"},
		{"2132 §9.3", "options are read from file and sname", poke(raw(t, 7, optMessageType, 1, 1, optOverload, 1, 1, optEnd), offFile, optRequestedIP, 4, 192, 168, 10, 203, optEnd), "OFFER yi=192.168.10.203"},
		{"2132 §9.6", "a message type has one octet", raw(t, 7, optMessageType, 2, 1, 1, optEnd), "silence"},
		{"2132 §9.10", "a size below 576 does not count", wire(t, 7, discover, "", generic(optMaxSize, 0, 100)), "OFFER"},
		{"2132 §9.14", "an empty client identifier is none", raw(t, 7, optMessageType, 1, 1, optClientID, 0, optEnd), "OFFER !opts=61"},
		{"3396 §5", "an option in two pieces is one", raw(t, 7, slices.Concat([]byte{optMessageType, 1, 1, optRequestedIP, 2, 192, 168}, []byte{optRequestedIP, 2, 10, 203, optEnd})...), "OFFER yi=192.168.10.203"},
		{"3396 §5", "one that is cut off is malformed", raw(t, 7, optMessageType, 1, 1, optHostname, 200, 'a', optEnd), "silence"},
		{"6842 §3", "the client identifier comes back in an OFFER", wire(t, 7, discover, "", generic(optClientID, id...)), "OFFER opts=61 id"},
		{"6842 §3", "and in a NAK", slices.Concat(reboot(7, "10.9.9.9")[:offOptions], []byte{optMessageType, 1, 3, optRequestedIP, 4, 10, 9, 9, 9, optClientID, 7}, id, []byte{optEnd}), "NAK opts=61 id"},
		{"3046 §2.2", "option 82 comes back as the last", wire(t, 7, discover, "", dhcpv4.WithRelay(net.IP{10, 30, 0, 1}), generic(optRelayInfo, 1, 2, 'a', 'b')), "OFFER opts=82 82-last"},
		{"2131 §4.1", "a relay is answered at giaddr", wire(t, 7, discover, "", dhcpv4.WithRelay(net.IP{10, 30, 0, 1})), "OFFER to=10.30.0.1 yi=10.30.0."},
		{"2131 §4.3.1", "the subnet is the relay's", wire(t, 7, discover, "", dhcpv4.WithRelay(net.IP{192, 0, 2, 1})), "silence"},
		{"3527 §3", "or the one that it selects", wire(t, 7, discover, "", dhcpv4.WithRelay(net.IP{192, 0, 2, 1}), generic(optRelayInfo, subLink, 4, 10, 30, 0, 0)), "OFFER to=192.0.2.1 yi=10.30.0."},
		{"5107 §4", "the relay may name the server", wire(t, 7, discover, "", dhcpv4.WithRelay(net.IP{10, 30, 0, 1}), generic(optRelayInfo, subServerOverride, 4, 10, 30, 0, 1)), "OFFER server=10.30.0.1"},
		{"1542 §2.1", "a message has 300 octets", wire(t, 7, discover, ""), "OFFER long"},
		{"4702 §3.1", "the server says that it keeps the address record", wire(t, 7, discover, "", generic(optFQDN, 0, 0, 0, 'g', 'u', 'e', 's', 't')), "OFFER opts=81"},
	} {
		t.Run(tt.rfc+" "+tt.says, func(t *testing.T) {
			w := newWorld(t, labConfig(), relayedConfig())
			w.bound(1, "192.168.10.101")
			w.answer(message(discover, 3, "192.168.10.103", ""))
			got := outcome(t, w, tt.in, id)
			for word := range strings.FieldsSeq(tt.want) {
				no, is := strings.CutPrefix(word, "!")
				open := strings.HasSuffix(no, "=") || strings.HasSuffix(no, ".")
				has := slices.ContainsFunc(strings.Fields(got), func(w string) bool { return w == no || open && strings.HasPrefix(w, no) })
				if has == is {
					t.Errorf("%s: want %s", got, tt.want)
				}
			}
		})
	}
}

// outcome answers a message and writes what becomes of it.
func outcome(t *testing.T, w *world, in, id []byte) string {
	t.Helper()
	req, err := Parse(in)
	if err != nil {
		return "silence " + err.Error()
	}
	d := w.answer(&req)
	var text []string
	say := func(format string, args ...any) { text = append(text, fmt.Sprintf(format, args...)) }
	if d.End != 0 {
		if l, ok := w.leases.Network("lab").ByMAC(req.MAC); ok && !l.Live(w.now) {
			say("ends=%s", d.Address)
		}
	}
	if d.Bind {
		say("holds=%s", d.Address)
	}
	if d.Reply == 0 {
		return "silence " + strings.Join(text, " ")
	}
	out := d.Subnet.AppendReply(nil, &req, &d)
	m, err := dhcpv4.FromBytes(out)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := d.Destination(&req)
	seconds := func(code uint8) uint32 {
		b := m.Options.Get(dhcpv4.GenericOptionCode(code))
		if len(b) != 4 {
			return 0
		}
		return binary.BigEndian.Uint32(b)
	}
	say("%s op=%d to=%s yi=%s ci=%s flags=%x server=%s lease=%d t1=%d t2=%d", m.MessageType(), m.OpCode, to, m.YourIPAddr, m.ClientIPAddr, m.Flags,
		m.ServerIdentifier(), seconds(optLeaseTime), seconds(optT1), seconds(optT2))
	if to.String() == m.YourIPAddr.String() {
		say("to=yiaddr")
	}
	if bytes.Equal(m.TransactionID[:], in[offXID:offXID+4]) && bytes.Equal(m.ClientHWAddr, in[offCHAddr:offCHAddr+6]) && m.Flags == req.Flags {
		say("echo")
	}
	codes, _ := decode(t, out)
	for _, code := range codes {
		say("opts=%d ", code)
	}
	if mask := slices.Index(codes, optMask); mask >= 0 && (mask < slices.Index(codes, optRouter) || !slices.Contains(codes, optRouter)) {
		say("mask-first")
	}
	if len(codes) > 0 && codes[len(codes)-1] == optRelayInfo {
		say("82-last")
	}
	if bytes.Equal(m.Options.Get(dhcpv4.OptionClientIdentifier), id) {
		say("id")
	}
	if len(out) >= minMessage {
		say("long")
	}
	return strings.Join(text, " ")
}
