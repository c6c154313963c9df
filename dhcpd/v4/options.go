package v4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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

// A Route is one of option 121 (RFC 3442). Via 0.0.0.0 says that the prefix is
// on the link.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr
}

// Routes returns the value of option 121, nil for none. A default route is added
// to it where routers are sent, as clients ignore those then.
func Routes(routes []Route) []byte {
	var b []byte
	for _, r := range routes {
		b = appendRoute(b, r)
	}
	return b
}

// appendRoute writes a prefix without the octets that are all host part.
func appendRoute(b []byte, r Route) []byte {
	bits := r.Destination.Bits()
	to, via := r.Destination.Addr().As4(), r.Via.As4()
	b = append(append(b, byte(bits)), to[:octets(bits)]...)
	return append(b, via[:]...)
}

func octets(bits int) int { return (bits + 7) / 8 }

// hasDefault says whether one of the routes of option 121 is a default route.
func hasDefault(routes []byte) bool {
	for len(routes) > 0 && routes[0] != 0 {
		routes = routes[min(len(routes), 1+octets(int(routes[0]))+4):]
	}
	return len(routes) > 0
}

// render writes an option, RFC 3396: in pieces of 255 octets if it is longer.
func render(o option.Option, all option.List) []byte {
	value := o.Value
	if o.Code == optRoutes {
		value = withDefault(value, all)
	}
	b := appendLong(make([]byte, 0, len(value)+2*pieces(len(value))+1), byte(o.Code), value)
	if o.Code == optBootFile {
		return append(b, optPad) // see writer.pad
	}
	return b
}

func appendLong(b []byte, code byte, value []byte) []byte {
	for len(value) > math.MaxUint8 {
		b = append(append(b, code, math.MaxUint8), value[:math.MaxUint8]...)
		value = value[math.MaxUint8:]
	}
	return append(append(b, code, byte(len(value))), value...)
}

// withDefault adds a route by the first router to routes, which otherwise hide
// it (RFC 3442).
func withDefault(routes []byte, all option.List) []byte {
	for _, o := range all {
		if o.Code == optRouter && len(o.Value) >= 4 && !hasDefault(routes) {
			return append(append([]byte{0}, o.Value[:4]...), routes...)
		}
	}
	return routes
}

// setOptions makes the options ready.
func (s *Subnet) setOptions(cfg *Config) error {
	given, err := s.given(cfg)
	book, wrong := option.NewBook(option.Merge(cfg.Options, given), cfg.Tags, render)
	s.book = book
	return errors.Join(err, wrong, checkTimes(cfg))
}

// given are the options that follow from the rest of the configuration.
func (s *Subnet) given(cfg *Config) (option.List, error) {
	var l option.List
	l.Bytes(optMask, binary.BigEndian.AppendUint32(nil, math.MaxUint32<<(32-s.prefix.Bits())))
	if s.broadcast.IsValid() {
		l.Addrs(optBroadcast, []netip.Addr{s.broadcast})
	}
	l.Addrs(optRouter, cfg.Routers)
	l.Addrs(optDNS, cfg.DNS)
	l.Text(optDomain, cfg.Domain)
	l.Uint16(optMTU, cfg.MTU)
	err := errors.Join(checkAddrs("routers", cfg.Routers), checkAddrs("dns", cfg.DNS))
	if len(cfg.Domain) > 253 {
		err = errors.Join(err, errors.New("domain: longer than 253 octets"))
	}
	if cfg.MTU != 0 && (cfg.MTU < 68 || cfg.MTU > math.MaxUint16) {
		err = errors.Join(err, fmt.Errorf("mtu: %d is not between 68 and 65535", cfg.MTU))
	}
	return l, err
}

func checkAddrs(path string, addrs []netip.Addr) error {
	for i, a := range addrs {
		if !a.Is4() {
			return fmt.Errorf("%s[%d]: %q is not an IPv4 address", path, i, a)
		}
	}
	return nil
}

func checkTimes(cfg *Config) error {
	if cfg.RenewTime < 0 || cfg.RebindTime < 0 {
		return fmt.Errorf("renewTime, rebindTime: %s is negative", min(cfg.RenewTime, cfg.RebindTime))
	}
	return nil
}

// own is what a client's reservation in a subnet says, or nil.
func (s *Service) own(c *client, sub *Subnet) *option.Own {
	for r := range s.reservations(c) {
		if r.own != nil && r.subnet == sub {
			return r.own
		}
	}
	return nil
}

// options returns what counts for a client.
func (s *Subnet) options(req *Request, d *Decision) *option.Set {
	c := option.Client{
		MAC: req.MAC, Hostname: req.Hostname,
		VendorClass: option.Class{Value: req.VendorClass},
		UserClass:   option.Class{Value: req.UserClass, Width: 1},
	}
	return s.book.Set(&c, d.own)
}
