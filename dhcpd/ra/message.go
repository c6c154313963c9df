package ra

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
)

// compose is an advertisement as the codec has it.
func compose(c *Config, gone []gone, now time.Time) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit:      64,
		ManagedConfiguration: c.Managed,
		OtherConfiguration:   c.Other,
		RouterLifetime:       max(0, c.Lifetime),
	}
	// RFC 4191 §2.2: a router that is none must not have a preference.
	if c.Lifetime > 0 {
		m.RouterSelectionPreference = preference(c.Preference)
	}
	if c.MAC != [6]byte{} {
		m.Options = append(m.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: c.MAC[:]})
	}
	if c.MTU != 0 {
		m.Options = append(m.Options, ndp.NewMTU(uint32(c.MTU)))
	}
	m.Options = append(m.Options, currentOptions(c)...)
	for i := range gone {
		m.Options = append(m.Options, gone[i].option(now))
	}
	return m
}

func currentOptions(c *Config) []ndp.Option {
	var all []ndp.Option
	for _, p := range c.Prefixes {
		all = append(all, prefixOption(p))
	}
	for _, r := range c.Routes {
		all = append(all, routeOption(r, preference(c.Preference), c.dnsLifetime()))
	}
	if len(c.DNS) > 0 {
		all = append(all, &ndp.RecursiveDNSServer{Lifetime: c.dnsLifetime(), Servers: c.DNS})
	}
	if len(c.Search) > 0 {
		all = append(all, &ndp.DNSSearchList{Lifetime: c.dnsLifetime(), DomainNames: c.Search})
	}
	if c.CaptivePortal != "" {
		all = append(all, &ndp.CaptivePortal{URI: c.CaptivePortal})
	}
	return all
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

// wire is a lifetime as 32 bits can say it, all ones for ever.
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
