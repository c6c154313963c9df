package dhcpd

import (
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// bridge has every MAC on one port, and counts who asks.
type bridge struct{ port, asked int }

func (b *bridge) Port(int, [6]byte) (int, bool) {
	b.asked++
	return b.port, true
}

// A flood of invented MACs has those of others asked for no more often than the clock
// does, and a guest that moves is where it is now after a second.
func TestPortsAreRemembered(t *testing.T) {
	b := &bridge{port: 3}
	c := portCache{ports: b}
	guest, now := lease.MAC{2, 1}, time.Unix(1, 0)
	if p := c.port(guest, now); p != 3 || b.asked != 1 {
		t.Fatalf("port %d after %d questions", p, b.asked)
	}
	for i := range cachedPorts {
		c.port(lease.MAC{4, byte(i >> 8), byte(i)}, now)
	}
	if b.asked = 0; c.port(guest, now) != 3 || b.asked != 0 {
		t.Errorf("asked %d times for a guest after as many others as are remembered", b.asked)
	}
	if len(c.known)+len(c.before) > 2*cachedPorts+1 {
		t.Errorf("%d are remembered", len(c.known)+len(c.before))
	}
	b.port = 4
	for passed := time.Duration(0); passed <= time.Second; passed += 100 * time.Millisecond {
		c.port(lease.MAC{6}, now.Add(passed))
	}
	if p := c.port(guest, now.Add(time.Second+time.Millisecond)); p != fair.Port(4) {
		t.Errorf("port %d after a second, want 4", p)
	}
}
