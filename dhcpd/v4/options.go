package v4

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/option"
)

// The options that a Config may hold, by their names in RFC 2132 and as noted.
const (
	OptRouters       uint16 = optRouter
	OptDNSServers    uint16 = optDNS
	OptDomain        uint16 = optDomain
	OptMTU           uint16 = optMTU
	OptNTPServers    uint16 = 42
	OptVendor        uint16 = 43
	OptVendorClass   uint16 = optVendorClass
	OptTFTPServer    uint16 = 66
	OptBootFile      uint16 = 67
	OptIPv6Only      uint16 = optIPv6Only
	OptCaptivePortal uint16 = 114 // RFC 8910
	OptSearch        uint16 = 119 // RFC 3397
	OptRoutes        uint16 = optRoutes
)

// A Route is one of option 121 (RFC 3442). Via 0.0.0.0 means that the prefix is
// on the link.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr
}

// Routes returns the value of option 121, nil for none: prefixes without the octets
// that are all host part. A default route is added to it where routers are sent, as
// clients ignore those then.
func Routes(routes []Route) []byte {
	var b []byte
	for _, r := range routes {
		bits := r.Destination.Bits()
		to, via := r.Destination.Addr().As4(), r.Via.As4()
		b = append(append(b, byte(bits)), to[:(bits+7)/8]...)
		b = append(b, via[:]...)
	}
	return b
}

// render writes an option, RFC 3396: in pieces of 255 octets if it is longer. Routes get
// one by the first router, which they hide otherwise (RFC 3442).
func render(o option.Option, all option.List) []byte {
	value := o.Value
	if o.Code == optRoutes {
		rest := value
		for len(rest) > 0 && rest[0] != 0 { // to the default route, if there is one
			rest = rest[min(len(rest), 1+(int(rest[0])+7)/8+4):]
		}
		for _, r := range all {
			if r.Code == optRouter && len(r.Value) >= 4 && len(rest) == 0 {
				value = append(append([]byte{0}, r.Value[:4]...), value...)
				break
			}
		}
	}
	b := appendLong(make([]byte, 0, len(value)+2*pieces(len(value))+1), byte(o.Code), value)
	if o.Code == optBootFile {
		return append(b, optPad) // see addBoot
	}
	return b
}
