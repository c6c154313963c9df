package lease

import (
	"net/netip"
	"time"
)

// names finds live leases by hostname. The leases of one name are those of one
// guest: one MAC, and in IPv6 one DUID. They form a list by their mates.
type names map[string]*entry

// nameLink is an entry's part in names.
type nameLink struct {
	mate  *entry        // the next lease of the name
	own   [1]netip.Addr // the lease's address
	addrs []netip.Addr  // of the whole list, in its head; never changed, only replaced
	until time.Time     // in the head: when the first of them ends; zero: never
}

// add enters a lease by its hostname. Another guest that has the name loses
// it: whoever decided knew.
func (ns names) add(e *entry) {
	e.own[0], e.mate = e.Address, nil
	if e.Hostname == "" {
		return
	}
	for other := ns[e.Hostname]; other != nil; {
		next := other.mate
		if other.sameGuest(e) {
			other.mate = e.mate
			e.mate = other
		} else {
			other.Hostname, other.mate = "", nil
		}
		other = next
	}
	ns[e.Hostname] = e
	e.gather()
}

// remove takes a lease out; the others of its name stay.
func (ns names) remove(e *entry) {
	head := ns[e.Hostname]
	switch {
	case head == nil:
		return
	case head != e:
		before := head
		for before != nil && before.mate != e {
			before = before.mate
		}
		if before == nil {
			return // it has no name, or lost it
		}
		before.mate = e.mate
	case e.mate == nil:
		delete(ns, e.Hostname)
	default:
		head = e.mate
		ns[e.Hostname] = head
	}
	e.mate = nil
	if head != e {
		head.gather()
	}
}

// sameGuest says whether two leases may share a hostname: IPv4 and IPv6 of an
// interface, or several addresses of one. A guest that was installed anew has
// a new DUID, and its old address should not be found by its name.
func (e *entry) sameGuest(o *entry) bool {
	return e.MAC == o.MAC && (e.DUID == o.DUID || e.DUID == "" || o.DUID == "")
}

// gather makes what Addrs hands out. A single lease needs no memory for it.
func (e *entry) gather() {
	e.addrs, e.until = e.own[:], e.Expires
	if e.mate == nil {
		return
	}
	e.addrs = nil
	for m := e; m != nil; m = m.mate {
		e.addrs = append(e.addrs, m.Address)
		if !m.Expires.IsZero() && (e.until.IsZero() || m.Expires.Before(e.until)) {
			e.until = m.Expires
		}
	}
}

// liveAddrs returns the addresses of a name's leases that are in force.
func (e *entry) liveAddrs(now time.Time) []netip.Addr {
	if e == nil {
		return nil
	}
	if e.until.IsZero() || now.Before(e.until) {
		return e.addrs
	}
	// One is over, and the timer that ends it is a little late.
	var live []netip.Addr
	for m := e; m != nil; m = m.mate {
		if m.Live(now) {
			live = append(live, m.Address)
		}
	}
	return live
}
