package v4

import (
	"hash/maphash"
	"iter"
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/fair"
)

// The sub-options of option 82 that are read here.
const (
	subCircuit        = 1
	subRemote         = 2
	subLink           = 5  // RFC 3527
	subServerOverride = 11 // RFC 5107
)

// takeRelayInfo reads option 82 (RFC 3046). One that cannot be read to its end is
// sent back all the same: it is the relay's. One in several pieces is nobody's:
// a relay adds a single one.
func (r *Request) takeRelayInfo(b []byte) {
	if len(b) > 255 {
		return
	}
	r.RelayInfo = b
	if !r.Relayed() {
		return // a switch added it, or the client itself, whose word this is not
	}
	for code, value := range subOptions(b) {
		switch {
		case len(value) != 4:
		case code == subLink:
			r.Link = netip.AddrFrom4([4]byte(value))
		case code == subServerOverride:
			r.ServerOverride = netip.AddrFrom4([4]byte(value))
		}
	}
}

// subOptions are those of option 82, to the first that is cut off.
func subOptions(b []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for len(b) >= 2 && len(b) >= 2+int(b[1]) {
			value := b[2 : 2+int(b[1])]
			if !yield(b[0], value) {
				return
			}
			b = b[2+len(value):]
		}
	}
}

var circuitSeed = maphash.MakeSeed()

// Circuit tells apart, for fairness, who is behind a relay: by its address and
// what it says of the circuit and of who is at its end (RFC 3046 §3.1, §3.2), or,
// if it says nothing, by the client's MAC. It is 0 for a payload that no relay has
// sent on, and for one that is no message.
func Circuit(payload []byte) fair.Circuit {
	if len(payload) < offOptions || [4]byte(payload[offGIAddr:]) == [4]byte{} {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(circuitSeed)
	_, _ = h.Write(payload[offGIAddr : offGIAddr+4])
	said := false
	for code, value := range subOptions(relayInfo(payload[offOptions:])) {
		if code == subCircuit || code == subRemote {
			_, _ = h.Write([]byte{code, byte(len(value))})
			_, _ = h.Write(value)
			said = true
		}
	}
	if !said {
		_, _ = h.Write(payload[offCHAddr : offCHAddr+6])
	}
	return fair.Circuit(h.Sum64() | 1)
}

// relayInfo finds the last option 82: a relay adds its own behind what the client
// has sent.
func relayInfo(b []byte) (value []byte) {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			break
		}
		if b[0] == optRelayInfo {
			value = b[2 : 2+int(b[1])]
		}
		b = b[2+int(b[1]):]
	}
	return value
}
