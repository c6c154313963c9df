package lease

import (
	"net/netip"
	"testing"
	"time"
)

// Where a lease was bound, and whether by a relay, is the same when it is read back.
func TestPortIsStored(t *testing.T) {
	clock := newTable("", nil).clock.Load()
	for _, port := range []int32{0, 1, 7, 1<<30 - 1, goneLink} {
		for _, relay := range []bool{false, true} {
			l := Lease{Network: "lab", MAC: MAC{2}, Address: netip.MustParseAddr("192.0.2.1"), Port: port, Relay: relay, Start: time.Now()}
			err := records(appendBind(nil, &l, clock), func(r record) {
				if r.lease.Port != port || r.lease.Relay != relay {
					t.Errorf("%d, %v: read back as %d, %v", port, relay, r.lease.Port, r.lease.Relay)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}
