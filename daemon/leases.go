package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
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
