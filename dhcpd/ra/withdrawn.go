package ra

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

const (
	// withdrawTime is how long withdrawn options are advertised. Guests do not reduce a
	// valid lifetime below it (RFC 4862 §5.5.3 e).
	withdrawTime = 2 * time.Hour
	maxWithdrawn = 12
)

// withdrawn is an option that was advertised and is not any more. One of the fields
// prefix, route, dns and search is set.
type withdrawn struct {
	prefix Prefix
	route  netip.Prefix
	dns    netip.Addr
	search string
	until  time.Time // when it has expired at the guests
}

// option returns the option with a lifetime of zero.
func (w *withdrawn) option(now time.Time) ndp.Option {
	switch {
	case w.prefix.Prefix.IsValid():
		p := w.prefix
		p.Preferred, p.Valid = 0, max(0, w.until.Sub(now).Truncate(time.Second))
		return prefixOption(p)
	case w.route.IsValid():
		return routeOption(w.route, ndp.Medium, 0)
	case w.dns.IsValid():
		return &ndp.RecursiveDNSServer{Servers: []netip.Addr{w.dns}}
	}
	return &ndp.DNSSearchList{DomainNames: []string{w.search}}
}

// removed returns the options of old that c does not have.
func removed(old, c *Config, now time.Time) []withdrawn {
	var all []withdrawn
	for _, p := range old.Prefixes {
		q, on := c.prefix(p.Prefix)
		if on && (q.Autonomous || !p.Autonomous) {
			continue
		}
		p.OnLink = p.OnLink && !on // else it is still advertised, but not for SLAAC
		all = append(all, withdrawn{prefix: p, until: now.Add(min(withdrawTime, p.Valid))})
	}
	until := now.Add(min(withdrawTime, old.dnsLifetime()))
	for _, r := range old.Routes {
		if !slices.Contains(c.Routes, r) {
			all = append(all, withdrawn{route: r, until: until})
		}
	}
	for _, a := range old.DNS {
		if !slices.Contains(c.DNS, a) {
			all = append(all, withdrawn{dns: a, until: until})
		}
	}
	for _, d := range old.Search {
		if !slices.Contains(c.Search, d) {
			all = append(all, withdrawn{search: d, until: until})
		}
	}
	return all
}

// restored reports whether the configuration has it again.
func (w *withdrawn) restored(c *Config) bool {
	if p, on := c.prefix(w.prefix.Prefix); on {
		return p.Autonomous || !w.prefix.Autonomous
	}
	return slices.Contains(c.Routes, w.route) || slices.Contains(c.DNS, w.dns) || slices.Contains(c.Search, w.search)
}

func (c *Config) prefix(p netip.Prefix) (Prefix, bool) {
	i := slices.IndexFunc(c.Prefixes, func(q Prefix) bool { return q.Prefix == p })
	if i < 0 {
		return Prefix{}, false
	}
	return c.Prefixes[i], true
}
