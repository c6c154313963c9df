package v6

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	hopLimit    = 8      // HOP_COUNT_LIMIT, RFC 8415 §7.6
	relayHeader = 2 + 32 // msg-type, hop-count, link-address, peer-address (§9)
)

// A Relay is what one relay agent said when it sent a message on, RFC 8415 §9.
type Relay struct {
	hops        byte
	link, peer  netip.Addr
	interfaceID []byte // option 18; nil if missing
	remoteID    []byte // option 37 (RFC 4649); nil if missing
}

// Relayed says whether a relay agent sent the message on.
func (r *Request) Relayed() bool { return len(r.Relays) > 0 }

// unwrap takes the relays' wrappings off, and returns the client's message. What
// is known of the client is what the relay next to it says.
func (r *Request) unwrap(b []byte) ([]byte, error) {
	for len(b) > 0 && MessageType(b[0]) == RELAYFORW {
		if len(r.Relays) == hopLimit {
			return nil, ErrType
		}
		relay, mac, message, err := readRelay(b)
		if err != nil {
			return nil, err
		}
		r.Relays = append(r.Relays, relay)
		r.From, r.FrameMAC, b = relay.peer, mac, message
	}
	return b, nil
}

func readRelay(b []byte) (relay Relay, mac lease.MAC, message []byte, err error) {
	if len(b) < relayHeader {
		return relay, mac, nil, ErrSize
	}
	relay.hops = b[1]
	relay.link, relay.peer = netip.AddrFrom16([16]byte(b[2:])), netip.AddrFrom16([16]byte(b[18:]))
	for b = b[relayHeader:]; len(b) > 0; {
		code, value, rest, ok := nextOption(b)
		if !ok {
			return relay, mac, nil, ErrOption
		}
		b = rest
		switch code {
		case optRelayMsg:
			message = value
		case optInterface:
			relay.interfaceID = value
		case optRemoteID:
			relay.remoteID = value
		case optLinkLayer:
			if len(value) == 8 && binary.BigEndian.Uint16(value) == 1 {
				mac = lease.MAC(value[2:])
			}
		}
	}
	if message == nil {
		return relay, mac, nil, ErrOption
	}
	return relay, mac, message, nil
}

var circuitSeed = maphash.MakeSeed()

// Circuit tells apart, for fairness, who is behind a relay: by what the relay next
// to us says of where the message came from, or, if it says nothing, by whom it
// has it from. What is said further inside may be a guest's invention. It is 0 for
// a payload that no relay has sent on, and for one that is no message.
func Circuit(payload []byte) fair.Circuit {
	if len(payload) == 0 || MessageType(payload[0]) != RELAYFORW {
		return 0
	}
	relay, _, _, err := readRelay(payload)
	if err != nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(circuitSeed)
	link, peer := relay.link.As16(), relay.peer.As16()
	_, _ = h.Write(link[:])
	for _, id := range [][]byte{relay.interfaceID, relay.remoteID} {
		_, _ = h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(id))))
		_, _ = h.Write(id)
	}
	if relay.interfaceID == nil && relay.remoteID == nil {
		_, _ = h.Write(peer[:])
	}
	return fair.Circuit(h.Sum64() | 1)
}

// link returns an address of the client's link: that of the relay which is
// nearest to it and says one. The zero Addr is our own link. Relays on a switch
// say none (RFC 6221).
func (r *Request) link() netip.Addr {
	for _, relay := range slices.Backward(r.Relays) {
		if !relay.link.IsUnspecified() {
			return relay.link
		}
	}
	return netip.Addr{}
}

// wrap puts the message that begins at start into what goes back by the relays
// (RFC 8415 §19.3).
func (r *Request) wrap(b []byte, start int) []byte {
	for _, relay := range slices.Backward(r.Relays) {
		message := slices.Clone(b[start:])
		b = append(b[:start], byte(RELAYREPL), relay.hops)
		link, peer := relay.link.As16(), relay.peer.As16()
		b = append(append(b, link[:]...), peer[:]...)
		if relay.interfaceID != nil {
			b = appendOption(b, optInterface, relay.interfaceID)
		}
		b = appendOption(b, optRelayMsg, message)
	}
	return b
}
