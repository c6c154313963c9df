package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/kernel"
)

// leaseBacklog is how many lease events may wait to be published: a host's
// guests booting all at once.
const leaseBacklog = 4096

const refusedEvery = 10 * time.Second

var leaseEvents = map[lease.Kind]event.Kind{
	lease.Bound:    event.LeaseBound,
	lease.Renewed:  event.LeaseRenewed,
	lease.Released: event.LeaseReleased,
	lease.Expired:  event.LeaseExpired,
	lease.Declined: event.LeaseDeclined,
}

// publishLeases tells the watchers of the contract what the lease table tells,
// until ctx ends.
func (d *Daemon) publishLeases(ctx context.Context) error {
	events, stop := d.leases.Watch(leaseBacklog)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if e.Missed > 0 {
				d.log.Warn("lease events lost", "events", e.Missed)
				d.engine.Notice()
			}
			if e.Kind == lease.NameRefused {
				d.publishRefused(e.Lease)
				continue
			}
			if e.Kind != lease.Renewed || e.Missed > 0 {
				d.engine.GuestNews()
			}
			d.engine.LeaseChanged(e.Lease.Network)
			if e.Kind == lease.Bound {
				d.engine.LookForGuests()
			}
			d.events.Publish(event.Event{Kind: leaseEvents[e.Kind], About: e.Lease.Network, Lease: &e.Lease})
		}
	}
}

// publishRefused tells that a guest asked for a name which is another's, once in ten
// seconds for each network.
func (d *Daemon) publishRefused(l lease.Lease) {
	now := time.Now()
	if now.Sub(d.refused[l.Network]) < refusedEvery {
		return
	}
	d.refused[l.Network] = now
	has := "a declared guest"
	if mac, held := d.leases.Network(l.Network).Holder(l.Wanted, now); held {
		has = mac.String()
	}
	d.log.Warn("hostname refused", "network", l.Network, "mac", l.MAC, "hostname", l.Wanted, "holder", has)
	d.events.Publish(event.Event{
		Kind: event.NameRefused, About: l.Network, Lease: &l,
		Message: fmt.Sprintf("asked for the name %s, which %s has", l.Wanted, has),
	})
}

// publishExhausted tells the watchers that a pool had no address for a guest.
func (d *Daemon) publishExhausted(p dhcpd.ExhaustedPool) {
	d.events.Publish(event.Event{Kind: event.PoolExhausted, About: p.Network, Message: p.String()})
}

// publishReservationInUse tells the watchers that a guest does not get its address.
func (d *Daemon) publishReservationInUse(r dhcpd.ReservationInUse) {
	d.events.Publish(event.Event{Kind: event.ReservationInUse, About: r.Network, Message: r.String()})
}

// guestPorts tells the DHCP and the DNS server behind which ports guests are.
type guestPorts struct{ *kernel.FDB }

func (p guestPorts) Port(bridge int, mac [6]byte) (int, bool) { return p.FDB.Port(bridge, mac) }

func (p guestPorts) Settled(bridge int, mac [6]byte, port int) bool {
	return p.FDB.Settled(bridge, mac, port)
}

// leaseNames shows the lease table to the DNS server.
type leaseNames struct{ *lease.Table }

func (l leaseNames) Names(network string) dnsd.Names { return l.Network(network) }

// Addresses shows it to the firewall.
func (l leaseNames) Addresses(network string) map[netdrv.MAC][]netip.Addr {
	out, now := map[netdrv.MAC][]netip.Addr{}, time.Now()
	l.Network(network).Each(func(held *lease.Lease) bool {
		if held.Live(now) {
			out[netdrv.MAC(held.MAC)] = append(out[netdrv.MAC(held.MAC)], held.Address)
		}
		return true
	})
	return out
}

// Held are the addresses of one client.
func (l leaseNames) Held(network string, mac netdrv.MAC) []netip.Addr {
	return l.Network(network).Held(lease.MAC(mac), time.Now())
}

// endedOfGuest bounds what Ended tells of one guest: in IPv6 it may have had many.
const endedOfGuest = 16

// Ended shows the firewall what guests had last, the latest first.
func (l leaseNames) Ended(network string) (ended, revoked map[netdrv.MAC][]netip.Addr) {
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

// Link is what reconcile asks about a guest.
func (l leaseNames) Link(network string, mac netdrv.MAC) (index int, ok bool) {
	for _, held := range l.Leases(network) {
		if held.MAC == lease.MAC(mac) {
			return int(held.Port), true
		}
	}
	return 0, false
}

// Release ends leases, of both families.
func (l leaseNames) Release(network string, which func(mac netdrv.MAC, link int) bool) error {
	var errs []error
	for _, held := range l.Leases(network) {
		if which(netdrv.MAC(held.MAC), int(held.Port)) {
			errs = append(errs, l.Table.Release(network, held.Address))
		}
	}
	return errors.Join(errs...)
}
