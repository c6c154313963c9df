package dhcpd

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

// Config says what is served on one interface. Do not change it after Set, nor
// what V6 and RA point to.
type Config struct {
	Network      string        // its name, in leases, events and the log
	Interface    string        // where it is served
	Server       netip.Prefix  // our address there, and the subnet; zero: no IPv4
	Ranges       []Range       // for clients without a reservation
	LeaseTime    time.Duration // 0: an hour
	RenewTime    time.Duration // 0: half of it
	RebindTime   time.Duration // 0: seven eighths of it
	Reservations []Reservation
	Routers      []netip.Addr // none: no route is handed out
	DNS          []netip.Addr
	Domain       string
	MTU          int         // 0: not handed out
	Options      option.List // for IPv4; they count before the four above
	Tags         []option.Tag

	// V6 and RA need an IPv6 link-local address on the interface, from which
	// they are sent. V6.DUID may be "": it is then made of the interface's MAC;
	// so may RA.MAC, which then is the interface's.
	V6 *v6.Config // DHCPv6; nil: none
	RA *ra.Config // router advertisements; nil: none
}

// Range and Reservation are v4's.
type (
	Range       = v4.Range
	Reservation = v4.Reservation
)

// Infinite is the LeaseTime of leases that never end.
const Infinite = v4.Infinite

func (c *Config) v4() v4.Config {
	cfg := v4.Config{
		Server: c.Server, Ranges: c.Ranges, LeaseTime: c.LeaseTime, RenewTime: c.RenewTime, RebindTime: c.RebindTime,
		Reservations: slices.Clone(c.Reservations), Routers: c.Routers, DNS: c.DNS, Domain: c.Domain, MTU: c.MTU,
		Options: c.Options, Tags: c.Tags,
	}
	for _, n := range c.names() {
		if !slices.ContainsFunc(cfg.Reservations, n.meets4) {
			cfg.Reservations = append(cfg.Reservations, Reservation{MAC: n.mac, Hostname: n.hostname})
		}
	}
	return cfg
}

func (c *Config) v6(mac lease.MAC) v6.Config {
	cfg := *c.V6
	if cfg.DUID == "" {
		cfg.DUID = v6.DUIDLL(mac)
	}
	if len(cfg.Subnets) == 0 {
		return cfg
	}
	cfg.Subnets = slices.Clone(cfg.Subnets)
	first := &cfg.Subnets[0]
	first.Reservations = slices.Clone(first.Reservations)
	for _, n := range c.names() {
		if !slices.ContainsFunc(cfg.Subnets, func(s v6.Subnet) bool { return slices.ContainsFunc(s.Reservations, n.meets6) }) {
			first.Reservations = append(first.Reservations, v6.Reservation{MAC: n.mac, Hostname: n.hostname})
		}
	}
	return cfg
}

func (c *Config) ra(mac lease.MAC) ra.Config {
	cfg := *c.RA
	if cfg.MAC == [6]byte{} {
		cfg.MAC = mac
	}
	return cfg
}

// name is a hostname that is reserved for a guest, in either family: nobody
// else may have it in the other.
type name struct {
	mac      lease.MAC
	hostname string
}

func (c *Config) names() []name {
	var all []name
	add := func(mac lease.MAC, hostname string) {
		if mac != (lease.MAC{}) && hostname != "" {
			all = append(all, name{mac, hostname})
		}
	}
	for _, r := range c.Reservations {
		add(r.MAC, r.Hostname)
	}
	if c.V6 == nil {
		return all
	}
	for _, s := range c.V6.Subnets {
		for _, r := range s.Reservations {
			add(r.MAC, r.Hostname)
		}
	}
	return all
}

// meets4 and meets6 say whether a reservation is for the guest or has the name.
func (n *name) meets4(r v4.Reservation) bool {
	return r.MAC == n.mac || strings.EqualFold(r.Hostname, n.hostname)
}

func (n *name) meets6(r v6.Reservation) bool {
	return r.MAC == n.mac && r.Hostname != "" || strings.EqualFold(r.Hostname, n.hostname)
}

func (c *Config) equal(o *Config) bool { return reflect.DeepEqual(c, o) }
