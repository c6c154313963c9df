package v6

import (
	"net"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

func farSubnet() Subnet {
	return Subnet{
		Server: prefix("fd00:10::1/64"), Relayed: prefix("fd00:30::/64"), Ranges: []Range{{Start: ip("fd00:30::100"), End: ip("fd00:30::109")}},
		Reservations: []Reservation{{Hostname: "named", Address: ip("fd00:30::7")}},
	}
}

// relayedBy wraps a message as n relays would, the first of which is on
// fd00:30::/64.
func relayedBy(message []byte, n int) []byte {
	for i := range n {
		b := append([]byte{byte(RELAYFORW), byte(i)}, make([]byte, 32)...)
		if i == 0 {
			copy(b[2:], net.ParseIP("fd00:30::1"))
		}
		copy(b[18:], net.ParseIP("fe80::ff:fe00:99"))
		b = appendOption(b, optInterface, []byte{'e', byte('0' + i)})
		message = appendOption(b, optRelayMsg, message)
	}
	return message
}

// The library reads what goes back, with every relay's words in it.
func TestRelayed(t *testing.T) {
	cfg := config()
	cfg.Subnets = append(cfg.Subnets, farSubnet())
	for n := 1; n <= hopLimit; n++ {
		w := newWorld(t, cfg)
		r, err := Parse(relayedBy(built(t, solicit, clientMods()...), n))
		if err != nil {
			t.Fatal(err)
		}
		if r.MAC() != (lease.MAC{2, 0, 0, 0, 0, 0x99}) {
			t.Errorf("the client is %s", r.MAC())
		}
		d, text := w.ask(&r)
		back, err := dhcpv6.FromBytes(w.pool.Service().AppendReply(nil, &r, &d))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for i := n - 1; i >= 0; i-- {
			m, ok := back.(*dhcpv6.RelayMessage)
			if !ok || int(m.HopCount) != i || string(m.Options.InterfaceID()) != "e"+string(rune('0'+i)) || m.PeerAddr.String() != "fe80::ff:fe00:99" {
				t.Fatalf("relay %d of %d: %v", i, n, back)
			}
			back = m.Options.RelayMessage()
		}
		inner, ok := back.(*dhcpv6.Message)
		if !ok || MessageType(inner.MessageType) != REPLY {
			t.Fatalf("%v", back)
		}
		if a := inner.Options.OneIANA().Options.OneAddress(); a == nil || !farSubnet().Relayed.Contains(ip(a.IPv6Addr.String())) {
			t.Errorf("given %v", a)
		}
	}
	if _, err := Parse(relayedBy(built(t, solicit), hopLimit+1)); err == nil {
		t.Error("more relays than there can be")
	}
}

// RFC 6939's option counts before the address, and a link that is not served is
// not answered.
func TestRelaysWords(t *testing.T) {
	cfg := config()
	cfg.Subnets = append(cfg.Subnets, farSubnet())
	b := relayedBy(built(t, solicit, clientMods()...), 1)
	r, err := Parse(appendOption(slices.Clone(b), optLinkLayer, []byte{0, 1, 2, 0, 0, 0, 0, 0x42}))
	if err != nil || r.MAC() != (lease.MAC{2, 0, 0, 0, 0, 0x42}) {
		t.Errorf("%s, %v", r.MAC(), err)
	}
	copy(b[2:], net.ParseIP("fd00:31::1"))
	r, _ = Parse(b)
	if _, text := newWorld(t, cfg).ask(&r); text != "silence: no subnet for this relay" {
		t.Error(text)
	}
	r.Hostname = []byte("named")
	r.Relays[0].link = ip("fd00:30::1")
	if d, text := newWorld(t, cfg).ask(&r); len(d.IAs) != 1 || d.IAs[0].Address != ip("fd00:30::7") {
		t.Error(text)
	}
}

// Clones have one DUID, and never one address.
func TestClonesShareNoAddress(t *testing.T) {
	w := newWorld(t, config())
	ask := func(n int) string {
		r := req(request, n, ia(1))
		r.ClientID = []byte(duid(51)) // it has a reservation
		_, text := w.ask(r)
		return text
	}
	one, two := ask(1), ask(2)
	if one != "REPLY 1=fd00:10::103" || two == one {
		t.Errorf("one: %s, two: %s", one, two)
	}
	if again := ask(1); again != one {
		t.Errorf("one again: %s", again)
	}
}
