package netdrv

import (
	"net/netip"
	"time"
)

// RFC 4861 section 6.2.1: what MaxRtrAdvInterval and AdvDefaultLifetime may be.
const (
	minRAInterval = 4 * time.Second
	maxRAInterval = 30 * time.Minute
	maxRALifetime = 9000 * time.Second
)

func validateRA(fs *Findings, n *Network) {
	a := n.RA
	if a.Enabled == Default && a.Interval == 0 && a.Lifetime == 0 && a.Preference == Medium && len(a.Routes) == 0 {
		return
	}
	if !n.HasIPv6() || !n.Mode.OwnsBridge() {
		fs.Add("ra", "is for networks with an IPv6 subnet that vnetd serves")
	}
	if a.Interval != 0 && (a.Interval < minRAInterval || a.Interval > maxRAInterval) {
		fs.Add("ra.interval", "%s is outside %s to %s", a.Interval, minRAInterval, maxRAInterval)
	}
	if a.Lifetime != 0 && (a.Lifetime < a.Interval || a.Lifetime > maxRALifetime) {
		fs.Add("ra.lifetime", "%s is outside the interval to %s", a.Lifetime, maxRALifetime)
	}
	for i, r := range a.Routes {
		if r.IsValid() && !r.Addr().Is6() {
			fs.Add(index("ra.routes", i), "%s is not IPv6", r)
		}
	}
}

func validateRoutes(fs *Findings, n *Network) {
	if len(n.Routes) > 0 && !n.Mode.OwnsBridge() {
		fs.Add("routes", "are not vnetd's in mode %s", n.Mode)
		return
	}
	seen, subnets := map[netip.Prefix]int{}, newRangeIndex(rangesOf(n.prefixes()[:len(n.Subnets)]))
	for i, r := range n.Routes {
		path := index("routes", i)
		if !r.Destination.IsValid() || !r.Via.IsValid() {
			continue // the parser has said so
		}
		validateVia(fs, n, &subnets, path, r)
		if j := subnets.overlapping(rangeOf(r.Destination)); j >= 0 {
			fs.Add(path+".destination", "%s overlaps %s.address %s", r.Destination, index("subnets", j), n.Subnets[j].Address)
		}
		once(fs, path+".destination", "routes", seen, r.Destination, i)
	}
}

func validateVia(fs *Findings, n *Network, subnets *rangeIndex, path string, r StaticRoute) {
	if r.Via.Is4() != r.Destination.Addr().Is4() {
		fs.Add(path+".via", "%s and %s are of two families", r.Via, r.Destination)
		return
	}
	if r.Destination.Bits() == 0 {
		fs.Add(path+".destination", "a default route into a network would take the host's own")
	}
	i := subnets.overlapping(Range{r.Via, r.Via})
	if i < 0 {
		fs.Add(path+".via", "%s is in none of the network's subnets", r.Via)
	} else if why := reservedProblem(r.Via, n.Subnets[i].Address); why != "" {
		fs.Add(path+".via", "%s", why)
	}
}

func validateHostAccess(fs *Findings, n *Network) {
	h := n.HostAccess
	switch {
	case n.VeryIsolated() && len(h.Services) > 0:
		fs.Add("hostServices", "need a subnet: the host has no address on this network")
	case h.Limited && n.Mode == Open:
		fs.Add("hostServices", "would be a firewall rule, and mode open has none; use mode route")
	case h.Limited && !n.Mode.OwnsBridge():
		fs.Add("hostServices", "are not vnetd's to limit in mode %s", n.Mode)
	}
}
