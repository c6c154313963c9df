package v4

import "net/netip"

// The sub-options of option 82 that are read here.
const (
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
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		value := b[2 : 2+b[1]]
		switch {
		case len(value) != 4:
		case b[0] == subLink:
			r.Link = netip.AddrFrom4([4]byte(value))
		case b[0] == subServerOverride:
			r.ServerOverride = netip.AddrFrom4([4]byte(value))
		}
		b = b[2+len(value):]
	}
}
