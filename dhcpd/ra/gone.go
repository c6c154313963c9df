package ra

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

const (
	// goneTime is how long that which is gone is advertised as gone. A guest
	// does not let a valid lifetime be cut below it (RFC 4862 §5.5.3 e).
	goneTime = 2 * time.Hour
	maxGone  = 12
)

// gone is one thing that was advertised and is not any more. One of the fields
// prefix, route, dns and search is set.
type gone struct {
	prefix Prefix
	route  netip.Prefix
	dns    netip.Addr
	search string
	until  time.Time // when guests have forgotten it
}

// option says that it is gone.
func (g *gone) option(now time.Time) ndp.Option {
	switch {
	case g.prefix.Prefix.IsValid():
		p := g.prefix
		p.Preferred, p.Valid = 0, max(0, g.until.Sub(now).Truncate(time.Second))
		return prefixOption(p)
	case g.route.IsValid():
		return routeOption(g.route, ndp.Medium, 0)
	case g.dns.IsValid():
		return &ndp.RecursiveDNSServer{Servers: []netip.Addr{g.dns}}
	}
	return &ndp.DNSSearchList{DomainNames: []string{g.search}}
}

// missing lists what is in old and not in c.
func missing(old, c *Config, now time.Time) []gone {
	var all []gone
	for _, p := range old.Prefixes {
		q, on := c.prefix(p.Prefix)
		if on && (q.Autonomous || !p.Autonomous) {
			continue
		}
		p.OnLink = p.OnLink && !on // else it is still there, but not for SLAAC
		all = append(all, gone{prefix: p, until: now.Add(min(goneTime, p.Valid))})
	}
	until := now.Add(min(goneTime, old.dnsLifetime()))
	for _, r := range old.Routes {
		if !slices.Contains(c.Routes, r) {
			all = append(all, gone{route: r, until: until})
		}
	}
	for _, a := range old.DNS {
		if !slices.Contains(c.DNS, a) {
			all = append(all, gone{dns: a, until: until})
		}
	}
	for _, d := range old.Search {
		if !slices.Contains(c.Search, d) {
			all = append(all, gone{search: d, until: until})
		}
	}
	return all
}

// back says whether the configuration has it again.
func (g *gone) back(c *Config) bool {
	if p, on := c.prefix(g.prefix.Prefix); on {
		return p.Autonomous || !g.prefix.Autonomous
	}
	return slices.Contains(c.Routes, g.route) || slices.Contains(c.DNS, g.dns) || slices.Contains(c.Search, g.search)
}

func (c *Config) prefix(p netip.Prefix) (Prefix, bool) {
	i := slices.IndexFunc(c.Prefixes, func(q Prefix) bool { return q.Prefix == p })
	if i < 0 {
		return Prefix{}, false
	}
	return c.Prefixes[i], true
}
