package dhcpd

import (
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

// Config is what is served on one interface. Do not change it after Set, nor
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
	cfgs := slices.Clone(c.V4)
	cfgs[0].Reservations = c.withHostnames(false)
	return cfgs
}

func (c *Config) v6(mac lease.MAC) v6.Config {
	cfg := *c.V6
	if cfg.DUID == "" {
		cfg.DUID = v6.DUIDLL(mac)
	}
	if len(cfg.Subnets) > 0 {
		cfg.Subnets = slices.Clone(cfg.Subnets)
		cfg.Subnets[0].Reservations = c.withHostnames(true)
	}
	return cfg
}

// withHostnames returns the reservations of the first subnet of a family, with one more for
// each hostname that is reserved for a guest in the other family: no other client may have it
// in this one. A guest is known in both families by its MAC or its DUID; one that is known by
// a client identifier or by its hostname alone is not.
func (c *Config) withHostnames(ipv6 bool) []pool.Reservation {
	var families [2][][]pool.Reservation // of each subnet
	for i := range c.V4 {
		families[0] = append(families[0], c.V4[i].Reservations)
	}
	if c.V6 != nil {
		for i := range c.V6.Subnets {
			families[1] = append(families[1], c.V6.Subnets[i].Reservations)
		}
	}
	own := families[0]
	if ipv6 {
		own = families[1]
	}
	type guest struct {
		mac  lease.MAC
		duid string
	}
	guests, hostnames := map[guest]bool{}, map[string]bool{} // that have a reservation in this family
	for _, rs := range own {
		for i := range rs {
			if r := &rs[i]; !ipv6 || r.Hostname != "" {
				guests[guest{r.MAC, r.DUID}] = true
				hostnames[strings.ToLower(r.Hostname)] = r.Hostname != ""
			}
		}
	}
	first := slices.Clone(own[0])
	for _, rs := range slices.Concat(families[0], families[1]) {
		for i := range rs {
			r := &rs[i]
			g, name := guest{r.MAC, r.DUID}, strings.ToLower(r.Hostname)
			if g == (guest{}) || name == "" || guests[g] || hostnames[name] {
				continue
			}
			first = append(first, pool.Reservation{MAC: r.MAC, DUID: r.DUID, Hostname: r.Hostname})
			guests[g], hostnames[name] = true, true
		}
	}
	return first
}
