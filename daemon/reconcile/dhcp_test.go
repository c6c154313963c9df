package reconcile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// The lifetime of a router is what network.proto says of ra.lifetime.
func TestRouterLifetime(t *testing.T) {
	for _, tt := range []struct {
		mode           netdrv.Mode
		interval, life time.Duration
		want           time.Duration
	}{
		{netdrv.NAT, 0, 0, 30 * time.Minute},
		{netdrv.NAT, 4 * time.Second, 0, 12 * time.Second},
		{netdrv.NAT, 30 * time.Minute, 0, 90 * time.Minute},
		{netdrv.NAT, time.Minute, time.Hour, time.Hour},
		{netdrv.Isolated, time.Minute, 0, -1},
	} {
		n := &netdrv.Network{
			Name: "lab", Mode: tt.mode, Subnets: []netdrv.Subnet{{Address: netip.MustParsePrefix("fd00:10::1/64")}},
			RA: netdrv.RA{Interval: tt.interval, Lifetime: tt.life},
		}
		if got := raConfig(n, 0).Lifetime; got != tt.want {
			t.Errorf("%s, interval %s, lifetime %s: %s, want %s", tt.mode, tt.interval, tt.life, got, tt.want)
		}
	}
}
