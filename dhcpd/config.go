package dhcpd

import (
	"reflect"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

// Config says what is served on one interface. Do not change it after Set, nor
// what it points to.
type Config struct {
	Network   string // its name, in leases, events and the log
	Interface string // where it is served

	// V4 has one for each subnet, in the order in which their addresses are given
	// to clients that may have any; none: no DHCPv4.
	V4 []v4.Config

	// V6 and RA need an IPv6 link-local address on the interface, from which
	// they are sent. V6.DUID may be "": it is then made of the interface's MAC;
	// so may RA.MAC, which then is the interface's.
	V6 *v6.Config // DHCPv6; nil: none
	RA *ra.Config // router advertisements; nil: none
}

// Infinite is the LeaseTime of leases that never end.
const Infinite = v4.Infinite

func (c *Config) v4() []v4.Config {
	if len(c.V4) == 0 {
		return nil
	}
	cfgs := slices.Clone(c.V4)
	first := &cfgs[0]
	first.Reservations = slices.Clone(first.Reservations)
	for _, n := range c.names() {
		if !slices.ContainsFunc(cfgs, func(s v4.Config) bool { return slices.ContainsFunc(s.Reservations, n.meets4) }) {
			first.Reservations = append(first.Reservations, v4.Reservation{MAC: n.mac, DUID: n.duid, Hostname: n.hostname})
		}
	}
	return cfgs
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
			first.Reservations = append(first.Reservations, v6.Reservation{MAC: n.mac, DUID: n.duid, Hostname: n.hostname})
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
// else may have it in the other. Who is known by a client identifier or by the
// name alone cannot be known in the other.
type name struct {
	mac      lease.MAC
	duid     string
	hostname string
}

func (c *Config) names() []name {
	var all []name
	add := func(mac lease.MAC, duid, hostname string) {
		if (mac != (lease.MAC{}) || duid != "") && hostname != "" {
			all = append(all, name{mac, duid, hostname})
		}
	}
	for _, s := range c.V4 {
		for _, r := range s.Reservations {
			add(r.MAC, r.DUID, r.Hostname)
		}
	}
	if c.V6 == nil {
		return all
	}
	for _, s := range c.V6.Subnets {
		for _, r := range s.Reservations {
			add(r.MAC, r.DUID, r.Hostname)
		}
	}
	return all
}

func (n *name) is(mac lease.MAC, duid string) bool { return mac == n.mac && duid == n.duid }

// meets4 and meets6 say whether a reservation is for the guest or has the name.
func (n *name) meets4(r v4.Reservation) bool {
	return n.is(r.MAC, r.DUID) || strings.EqualFold(r.Hostname, n.hostname)
}

func (n *name) meets6(r v6.Reservation) bool {
	return n.is(r.MAC, r.DUID) && r.Hostname != "" || strings.EqualFold(r.Hostname, n.hostname)
}

func (c *Config) equal(o *Config) bool { return reflect.DeepEqual(c, o) }
