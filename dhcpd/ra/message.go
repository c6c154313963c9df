package ra

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
)

// compose makes an advertisement for the codec.
func compose(c *Config, removed []withdrawn, now time.Time) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit:      64,
		ManagedConfiguration: c.Managed,
		OtherConfiguration:   c.Other,
		RouterLifetime:       max(0, c.Lifetime),
	}
	// RFC 4191 §2.2: without a lifetime there must be no preference.
	if c.Lifetime > 0 {
		m.RouterSelectionPreference = preference(c.Preference)
	}
	if c.MAC != [6]byte{} {
		m.Options = append(m.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: c.MAC[:]})
	}
	if c.MTU != 0 {
		m.Options = append(m.Options, ndp.NewMTU(uint32(c.MTU)))
	}
	for _, p := range c.Prefixes {
		m.Options = append(m.Options, prefixOption(p))
	}
	for _, r := range c.Routes {
		m.Options = append(m.Options, routeOption(r, preference(c.Preference), c.dnsLifetime()))
	}
	if len(c.DNS) > 0 {
		m.Options = append(m.Options, &ndp.RecursiveDNSServer{Lifetime: c.dnsLifetime(), Servers: c.DNS})
	}
	if len(c.Search) > 0 {
		m.Options = append(m.Options, &ndp.DNSSearchList{Lifetime: c.dnsLifetime(), DomainNames: c.Search})
	}
	if c.CaptivePortal != "" {
		m.Options = append(m.Options, &ndp.CaptivePortal{URI: c.CaptivePortal})
	}
	for i := range removed {
		m.Options = append(m.Options, removed[i].option(now))
	}
	return m
}

func prefixOption(p Prefix) ndp.Option {
	return &ndp.PrefixInformation{
		PrefixLength: uint8(p.Prefix.Bits()), Prefix: p.Prefix.Addr(),
		OnLink: p.OnLink, AutonomousAddressConfiguration: p.Autonomous,
		ValidLifetime: wire(p.Valid), PreferredLifetime: wire(p.Preferred),
	}
}

func routeOption(r netip.Prefix, prf ndp.Preference, lifetime time.Duration) ndp.Option {
	return &ndp.RouteInformation{
		PrefixLength: uint8(r.Bits()), Prefix: r.Addr(), Preference: prf, RouteLifetime: lifetime,
	}
}

// wire limits a lifetime to 32 bits; all ones is infinite.
func wire(d time.Duration) time.Duration { return min(d, ndp.Infinity) }

func preference(p int) ndp.Preference {
	switch {
	case p < 0:
		return ndp.Low
	case p > 0:
		return ndp.High
	}
	return ndp.Medium
}

func marshal(m *ndp.RouterAdvertisement) ([]byte, error) {
	b, err := ndp.MarshalMessage(m)
	if err != nil {
		return nil, fmt.Errorf("router advertisement: %w", err)
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("router advertisement: %d octets are more than fit into a packet of %d", len(b), minMTU)
	}
	return b, nil
}
