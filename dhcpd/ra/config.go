package ra

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// Infinite is a lifetime that never ends.
const Infinite = time.Duration(math.MaxInt64)

// Defaults of a Config. They are long, so that a guest keeps its addresses
// and its route while the daemon is upgraded or down for a while: the
// kernel goes on forwarding.
const (
	DefaultInterval  = 10 * time.Minute   // RFC 4861 §6.2.1
	DefaultLifetime  = 9000 * time.Second // the longest that RFC 4861 allows
	DefaultValid     = 24 * time.Hour
	DefaultPreferred = 4 * time.Hour
)

const (
	maxLifetime = math.MaxUint16 * time.Second // RFC 8319 §4
	minMTU      = 1280
	maxPortal   = 255
	maxMessage  = minMTU - 40 // an advertisement is never fragmented (RFC 6980)
)

// A Config is what is advertised on a link. The zero value advertises a default
// router, and nothing else.
type Config struct {
	Prefixes   []Prefix
	Managed    bool           // the M flag: addresses by DHCPv6
	Other      bool           // the O flag: other configuration by DHCPv6
	Interval   time.Duration  // the longest between two advertisements, 4 s to 30 min; 0: DefaultInterval
	Lifetime   time.Duration  // as default router; 0: DefaultLifetime; negative: not a default router
	Preference int            // as default router (RFC 4191): -1, 0, 1
	MTU        int            // 0: not advertised
	DNS        []netip.Addr   // RFC 8106
	Search     []string       // RFC 8106
	Routes     []netip.Prefix // RFC 4191; for a link without a default router
	MAC        [6]byte        // the router's own; zero: not advertised
	// CaptivePortal is a URL (RFC 8910); not advertised if empty.
	CaptivePortal string
}

// A Prefix is on the link, or for SLAAC, or both.
type Prefix struct {
	Prefix     netip.Prefix
	OnLink     bool
	Autonomous bool          // SLAAC (RFC 4862); the prefix should be a /64
	Valid      time.Duration // 0: DefaultValid
	Preferred  time.Duration // 0: DefaultPreferred, or Valid if that is shorter
}

// withDefaults returns a deep copy of c with its defaults.
func (c Config) withDefaults() Config {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Lifetime == 0 {
		c.Lifetime = max(DefaultLifetime, c.Interval)
	}
	c.Prefixes = append([]Prefix(nil), c.Prefixes...)
	for i := range c.Prefixes {
		p := &c.Prefixes[i]
		p.Prefix = p.Prefix.Masked()
		if p.Valid == 0 {
			p.Valid = DefaultValid
		}
		if p.Preferred == 0 {
			p.Preferred = min(DefaultPreferred, p.Valid)
		}
	}
	c.DNS = append([]netip.Addr(nil), c.DNS...)
	c.Search = append([]string(nil), c.Search...)
	for i, d := range c.Search {
		c.Search[i] = strings.ToLower(strings.TrimSuffix(d, "."))
	}
	c.Routes = append([]netip.Prefix(nil), c.Routes...)
	for i := range c.Routes {
		c.Routes[i] = c.Routes[i].Masked()
	}
	return c
}

// dnsLifetime is the lifetime of name servers, search domains and routes: that of the
// router, so that they end together.
func (c *Config) dnsLifetime() time.Duration {
	if c.Lifetime > 0 {
		return c.Lifetime
	}
	return max(DefaultLifetime, 3*c.Interval)
}

// validate returns all errors, each with its path.
func (c *Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Interval < 4*time.Second || c.Interval > 30*time.Minute {
		wrong("interval: %s is not between 4s and 30m", c.Interval)
	}
	if c.Lifetime > maxLifetime || c.Lifetime > 0 && c.Lifetime < c.Interval {
		wrong("lifetime: %s is not between the interval and %s", c.Lifetime, maxLifetime)
	}
	if c.Preference < -1 || c.Preference > 1 {
		wrong("preference: %d is not -1, 0 or 1", c.Preference)
	}
	if c.MTU != 0 && (c.MTU < minMTU || c.MTU > math.MaxUint16) {
		wrong("mtu: %d is not between 1280 and 65535", c.MTU)
	}
	for i, p := range c.Prefixes {
		if err := p.validate(); err != nil {
			wrong("prefixes[%d]: %w", i, err)
		}
	}
	for i, a := range c.DNS {
		if !isIPv6(a) {
			wrong("dns[%d]: %q is not an IPv6 address", i, a)
		}
	}
	for i, d := range c.Search {
		if !isDomain(d) {
			wrong("search[%d]: %q is not a domain", i, d)
		}
	}
	for i, r := range c.Routes {
		if !isIPv6(r.Addr()) {
			wrong("routes[%d]: %q is not an IPv6 prefix", i, r)
		}
	}
	if len(c.CaptivePortal) > maxPortal {
		wrong("captivePortal: longer than %d octets", maxPortal)
	}
	return errors.Join(errs...)
}

func (p *Prefix) validate() error {
	switch {
	case !isIPv6(p.Prefix.Addr()) || p.Prefix.Addr().IsLinkLocalUnicast() || p.Prefix.Addr().IsMulticast():
		return fmt.Errorf("%q is not an IPv6 prefix for guests", p.Prefix)
	case p.Valid < 0 || p.Preferred < 0:
		return fmt.Errorf("a lifetime of %s is negative", min(p.Valid, p.Preferred))
	case p.Preferred > p.Valid:
		return fmt.Errorf("preferred for %s, but valid for %s", p.Preferred, p.Valid)
	case p.Autonomous && p.Prefix.Bits() != 64:
		return fmt.Errorf("%s is not a /64, as SLAAC requires (RFC 4862 §5.5.3)", p.Prefix)
	}
	return nil
}

func isIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

func isDomain(d string) bool {
	if d == "" || len(d) > 253 {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return false
		}
	}
	return true
}
