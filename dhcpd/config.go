package dhcpd

import (
	"net/netip"
	"reflect"
	"time"

	"github.com/vnetd/vnetd/dhcpd/v4"
)

// Config says what is served on one interface. Do not change it after Set.
type Config struct {
	Network      string        // its name, in leases, events and the log
	Interface    string        // where it is served
	Server       netip.Prefix  // our address there, and the subnet
	Ranges       []Range       // for clients without a reservation
	LeaseTime    time.Duration // 0: an hour
	Reservations []Reservation
	Routers      []netip.Addr // none: no route is handed out
	DNS          []netip.Addr
	Domain       string
	MTU          int // 0: not handed out
}

// Range and Reservation are v4's.
type (
	Range       = v4.Range
	Reservation = v4.Reservation
)

// Infinite is the LeaseTime of leases that never end.
const Infinite = v4.Infinite

func (c *Config) v4() v4.Config {
	return v4.Config{
		Server: c.Server, Ranges: c.Ranges, LeaseTime: c.LeaseTime, Reservations: c.Reservations,
		Routers: c.Routers, DNS: c.DNS, Domain: c.Domain, MTU: c.MTU,
	}
}

func (c *Config) equal(o *Config) bool { return reflect.DeepEqual(c, o) }
