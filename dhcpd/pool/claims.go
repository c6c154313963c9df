package pool

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// MaxClaims bounds the addresses that one port may claim, and the probes of one exchange.
const MaxClaims = 3

const maxClaimants = 1024

// Claims are the addresses that hosts claim when they are probed, by port, or by MAC
// where ports are not known. A host with a few static addresses in a range is believed;
// one that claims every probed address would keep all others from getting any.
type Claims map[claimant]*claim

type claimant struct {
	port fair.Port
	mac  lease.MAC
}

type claim struct {
	addrs []netip.Addr
	since time.Time
}

// Accept reports whether the claim of an address is believed.
func (c Claims) Accept(port fair.Port, mac lease.MAC, addr netip.Addr, now time.Time) bool {
	key := claimant{port: port}
	if port <= 0 {
		key.mac = mac
	}
	claimed := c[key]
	if claimed == nil || now.Sub(claimed.since) > QuarantineTime {
		if claimed == nil && len(c) >= maxClaimants {
			clear(c)
		}
		claimed = &claim{since: now}
		c[key] = claimed
	}
	if !slices.Contains(claimed.addrs, addr) && len(claimed.addrs) <= MaxClaims {
		claimed.addrs = append(claimed.addrs, addr)
	}
	return len(claimed.addrs) <= MaxClaims
}
