package dhcpd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	maxClaims    = 3 // of one guest, and in one exchange
	maxClaimants = 1024
	claimTime    = 10 * time.Minute // as long as an address rests
)

// claims are the addresses that guests say they use when the server asks, by port, or by
// MAC where ports cannot be told. A guest with a few static addresses in a range is
// believed; one that claims whatever is asked for would keep others from any.
type claims map[claimant]*claim

type claimant struct {
	port fair.Port
	mac  lease.MAC
}

type claim struct {
	addrs []netip.Addr
	since time.Time
}

// believe reports whether a guest may have the address that it claims.
func (c claims) believe(port fair.Port, mac lease.MAC, addr netip.Addr, now time.Time) bool {
	who := claimant{port: port}
	if port <= 0 {
		who.mac = mac
	}
	said := c[who]
	if said == nil || now.Sub(said.since) > claimTime {
		if said == nil && len(c) >= maxClaimants {
			clear(c)
		}
		said = &claim{since: now}
		c[who] = said
	}
	if !slices.Contains(said.addrs, addr) && len(said.addrs) <= maxClaims {
		said.addrs = append(said.addrs, addr)
	}
	return len(said.addrs) <= maxClaims
}
