package pool

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// A few addresses of a port are believed, whatever MACs it invents, and no more; another
// port is not held to that.
func TestClaimsAreBounded(t *testing.T) {
	c, now := Claims{}, time.Unix(1, 0)
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
	for n := range 10 {
		for range 2 { // it may repeat itself
			if got := c.Accept(3, lease.MAC{2, byte(n)}, addr(n), now); got != (n < MaxClaims) {
				t.Errorf("claim %d: %v", n, got)
			}
		}
	}
	if !c.Accept(4, lease.MAC{2, 99}, addr(20), now) {
		t.Error("another port is not believed")
	}
	if c.Accept(3, lease.MAC{2}, addr(0), now.Add(QuarantineTime)) || !c.Accept(3, lease.MAC{2}, addr(0), now.Add(QuarantineTime+1)) {
		t.Error("a port is not believed again when its claims are over")
	}
	for n := range MaxClaims + 1 { // ports are not known
		if got := c.Accept(fair.Unknown, lease.MAC{2, 1}, addr(n), now); got != (n < MaxClaims) {
			t.Errorf("claim %d of a MAC: %v", n, got)
		}
	}
	for n := range 10 * maxClaimants {
		c.Accept(fair.Port(n+10), lease.MAC{2}, addr(1), now)
	}
	if len(c) > maxClaimants {
		t.Errorf("%d claimants are remembered", len(c))
	}
}
