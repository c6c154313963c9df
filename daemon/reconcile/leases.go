package reconcile

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/netdrv"
)

// LeaseTable implements Leases by the DHCP servers' lease table.
type LeaseTable struct{ *lease.Table }

// Names returns the names of a network's leases.
func (l LeaseTable) Names(network string) dnsd.Names { return l.Network(network) }

// Addresses returns the addresses of the leases in force, by client.
func (l LeaseTable) Addresses(network string) map[netdrv.MAC][]netip.Addr {
	out, now := map[netdrv.MAC][]netip.Addr{}, time.Now()
	l.Network(network).Each(func(held *lease.Lease) bool {
		if held.Live(now) {
			out[netdrv.MAC(held.MAC)] = append(out[netdrv.MAC(held.MAC)], held.Address)
		}
		return true
	})
	return out
}

// Held returns the addresses of one client.
func (l LeaseTable) Held(network string, mac netdrv.MAC) []netip.Addr {
	return l.Network(network).Held(lease.MAC(mac), time.Now())
}

// endedOfGuest bounds what Ended returns of one guest: in IPv6 it may have had many.
const endedOfGuest = 16

// Ended returns what guests had last, the latest first.
func (l LeaseTable) Ended(network string) (ended, revoked map[netdrv.MAC][]netip.Addr) {
	all, now := map[netdrv.MAC][]lease.Lease{}, time.Now()
	l.Network(network).Each(func(had *lease.Lease) bool {
		if mac := netdrv.MAC(had.MAC); !had.Live(now) {
			all[mac] = append(all[mac], *had)
		}
		return true
	})
	ended, revoked = map[netdrv.MAC][]netip.Addr{}, map[netdrv.MAC][]netip.Addr{}
	for mac, had := range all {
		slices.SortFunc(had, func(a, b lease.Lease) int { return b.Expires.Compare(a.Expires) })
		for _, h := range had[:min(len(had), endedOfGuest)] {
			if h.Revoked {
				revoked[mac] = append(revoked[mac], h.Address)
				continue
			}
			ended[mac] = append(ended[mac], h.Address)
		}
	}
	return ended, revoked
}

// Link returns the index of the link that a client has its lease through.
func (l LeaseTable) Link(network string, mac netdrv.MAC) (index int, ok bool) {
	for _, held := range l.Leases(network) {
		if held.MAC == lease.MAC(mac) {
			return int(held.Port), true
		}
	}
	return 0, false
}

// Release ends the chosen leases, of both families.
func (l LeaseTable) Release(network string, which func(mac netdrv.MAC, link int) bool) error {
	var errs []error
	for _, held := range l.Leases(network) {
		if which(netdrv.MAC(held.MAC), int(held.Port)) {
			errs = append(errs, l.Table.Release(network, held.Address))
		}
	}
	return errors.Join(errs...)
}
