package netdrv

import (
	"net/netip"
	"strings"
)

// validateRelayed is about the subnets behind relay agents of all subnets.
func validateRelayed(fs *Findings, n *Network) {
	var taken []netip.Prefix
	var where []string
	for i, s := range n.Subnets {
		taken, where = append(taken, s.Address), append(where, index("subnets", i)+".address")
	}
	for i, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		for j, r := range s.DHCP.Relayed {
			at := index(index("subnets", i)+".dhcp.relayed", j)
			taken, where = append(taken, r.Subnet), append(where, at+".subnet")
			validateRelayedSubnet(fs, at, &s, r)
		}
	}
	all := newRangeIndex(rangesOf(taken))
	for _, p := range all.overlaps() {
		if p[0] >= len(n.Subnets) { // the others are validateOverlaps'
			fs.Add(where[p[0]], "%s overlaps %s %s", taken[p[0]], where[p[1]], taken[p[1]])
		}
	}
}

func validateRelayedSubnet(fs *Findings, at string, s *Subnet, r RelayedSubnet) {
	if !r.Subnet.IsValid() {
		return // the parser has said so
	}
	if r.Subnet.Addr().Is4() == s.IsIPv6() {
		fs.Add(at+".subnet", "%s is not of the family of %s, the address that is to reply", r.Subnet, s.Address)
		return
	}
	if s.DHCP.Stateless {
		fs.Add(at, "gives addresses, and this subnet is stateless")
	}
	if len(r.Ranges) == 0 && len(r.Reservations) == 0 {
		fs.Add(at, "has neither ranges nor reservations: nothing could be handed out")
	}
	switch {
	case !r.Router.IsValid():
	case s.IsIPv6():
		fs.Add(at+".router", "is for IPv4; IPv6 guests hear of their router by its advertisements")
	default:
		if why := hostProblem(r.Router, r.Subnet); why != "" {
			fs.Add(at+".router", "%s", why)
		}
	}
	validateLeaseTime(fs, at, r.LeaseTime)
	validateRanges(fs, at, r.Ranges, r.Exclude, r.Subnet)
	validateReservations(fs, at+".reservations", r.Reservations, s.DHCP.Boot, r.Subnet)
}

// validateReservedNames: a hostname is one guest's, who may have it in several subnets.
func validateReservedNames(fs *Findings, n *Network) {
	type owner struct{ key, path string }
	seen := map[bool]map[string]owner{false: {}, true: {}} // by family
	check := func(six bool, path string, rs []Reservation) {
		for i, r := range rs {
			name, at := strings.ToLower(r.Hostname), index(path, i)
			if name == "" {
				continue
			}
			if o, ok := seen[six][name]; ok && o.key != r.key() && !strings.HasPrefix(o.path, path+"[") {
				fs.Add(at+".hostname", "%s is given to another guest in %s", r.Hostname, o.path)
			}
			seen[six][name] = owner{r.key(), at}
		}
	}
	for i, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		path := index("subnets", i) + ".dhcp"
		check(s.IsIPv6(), path+".reservations", s.DHCP.Reservations)
		for j, r := range s.DHCP.Relayed {
			check(s.IsIPv6(), index(path+".relayed", j)+".reservations", r.Reservations)
		}
	}
}
