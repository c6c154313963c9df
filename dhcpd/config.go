package dhcpd

import (
	"reflect"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
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
const Infinite = pool.Infinite

func (c *Config) v4() []v4.Config {
	if len(c.V4) == 0 {
		return nil
	}
	cfgs, taken := slices.Clone(c.V4), newNames()
	for i := range cfgs {
		for j := range cfgs[i].Reservations {
			r := &cfgs[i].Reservations[j]
			taken.add(guest{r.MAC, r.DUID}, r.Hostname)
		}
	}
	first := &cfgs[0]
	first.Reservations = slices.Clone(first.Reservations)
	for _, n := range c.names() {
		if !taken.has(n) {
			first.Reservations = append(first.Reservations, v4.Reservation{MAC: n.mac, DUID: n.duid, Hostname: n.hostname})
			taken.add(n.guest, n.hostname)
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
	taken := newNames()
	for i := range cfg.Subnets {
		for j := range cfg.Subnets[i].Reservations {
			if r := &cfg.Subnets[i].Reservations[j]; r.Hostname != "" {
				taken.add(guest{r.MAC, r.DUID}, r.Hostname)
			}
		}
	}
	cfg.Subnets = slices.Clone(cfg.Subnets)
	first := &cfg.Subnets[0]
	first.Reservations = slices.Clone(first.Reservations)
	for _, n := range c.names() {
		if !taken.has(n) {
			first.Reservations = append(first.Reservations, v6.Reservation{MAC: n.mac, DUID: n.duid, Hostname: n.hostname})
			taken.add(n.guest, n.hostname)
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

// guest is a client as the reservations of both families can know it: by MAC or by
// DUID. One that is known by a client identifier or by its name alone cannot be
// recognised in the other family.
type guest struct {
	mac  lease.MAC
	duid string
}

// name is a hostname that is reserved for a guest, in either family: no other
// client may have it in the other.
type name struct {
	guest
	hostname string
}

// names are the guests and the hostnames that the reservations of a family hold.
type names struct {
	guests    map[guest]bool
	hostnames map[string]bool // in lower case
}

func newNames() names { return names{map[guest]bool{}, map[string]bool{}} }

func (t names) add(g guest, hostname string) {
	t.guests[g] = true
	if hostname != "" {
		t.hostnames[strings.ToLower(hostname)] = true
	}
}

func (t names) has(n name) bool { return t.guests[n.guest] || t.hostnames[strings.ToLower(n.hostname)] }

func (c *Config) names() []name {
	var all []name
	add := func(mac lease.MAC, duid, hostname string) {
		if (mac != (lease.MAC{}) || duid != "") && hostname != "" {
			all = append(all, name{guest{mac, duid}, hostname})
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

func (c *Config) equal(o *Config) bool { return reflect.DeepEqual(c, o) }
