package ra

import (
	"errors"
	"net/netip"

	"github.com/mdlayher/ndp"
)

// ErrSolicitation: a message is not a router solicitation that may be
// answered.
var ErrSolicitation = errors.New("not a valid router solicitation")

// CheckSolicitation validates an ICMPv6 message with its source and its hop limit
// by the rules of RFC 4861 §6.1.1. The checksum is not verified.
func CheckSolicitation(icmp []byte, source netip.Addr, hopLimit uint8) error {
	if hopLimit != 255 || len(icmp) < 8 || icmp[1] != 0 {
		return ErrSolicitation
	}
	m, err := ndp.ParseMessage(icmp)
	if err != nil {
		return ErrSolicitation
	}
	s, ok := m.(*ndp.RouterSolicitation)
	if !ok || source.IsMulticast() {
		return ErrSolicitation
	}
	for _, o := range s.Options {
		if l, is := o.(*ndp.LinkLayerAddress); is && l.Direction == ndp.Source && source.IsUnspecified() {
			return ErrSolicitation
		}
	}
	return nil
}
