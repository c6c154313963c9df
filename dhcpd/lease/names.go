package lease

import (
	"net/netip"
	"time"
)

// names are the hostnames of active leases, and the leases that want a hostname which another
// client has.
//
// The leases that have a name are those of one guest: one MAC, and in IPv6 one
// DUID. They form a list by sameName. A guest keeps its name from others as
// long as its port is up; then the name passes to the guest that asked for it first.
type names struct {
	held    map[string]*entry
	waiting map[string]*entryList
	passed  []*entry // that got the name which they waited for
}

// nameLink is an entry's part in names.
type nameLink struct {
	sameName *entry        // the next lease of the name
	own      [1]netip.Addr // the lease's address
	addrs    []netip.Addr  // of the whole list, in its head; never changed, only replaced
	until    time.Time     // in the head: when the first of them ends; zero: never
}

// add enters a lease. If it has a hostname, another guest that has it loses it, as the
// server decided. If it only wants one, it gets it when the name is free.
func (ns *names) add(e *entry) {
	e.own[0], e.sameName = e.Address, nil
	if e.Hostname != "" {
		ns.give(e)
		return
	}
	if e.Wanted != "" {
		ns.wait(e)
		ns.pass(e.Wanted)
	}
}

func (ns *names) wait(e *entry) {
	list := ns.waiting[e.Wanted]
	if list == nil {
		list = &entryList{}
		ns.waiting[e.Wanted] = list
	}
	list.push(e)
}

func (ns *names) stopWaiting(e *entry) {
	list := ns.waiting[e.Wanted]
	if list.remove(e); list.front == nil {
		delete(ns.waiting, e.Wanted)
	}
}

func (ns *names) give(e *entry) {
	for other := ns.held[e.Hostname]; other != nil; {
		next := other.sameName
		if other.sameGuest(e) {
			other.sameName = e.sameName
			e.sameName = other
		} else {
			other.Hostname, other.sameName = "", nil
			if other.Wanted != "" {
				ns.wait(other)
			}
		}
		other = next
	}
	ns.held[e.Hostname] = e
	e.gather()
}

// remove removes a lease; the others of its name stay. pass gives the name to another
// guest.
func (ns *names) remove(e *entry) {
	if e.Hostname == "" {
		if e.Wanted != "" {
			ns.stopWaiting(e)
		}
		return
	}
	head := ns.held[e.Hostname]
	switch {
	case head != e:
		before := head
		for before.sameName != e {
			before = before.sameName
		}
		before.sameName = e.sameName
	case e.sameName == nil:
		delete(ns.held, e.Hostname)
	default:
		head = e.sameName
		ns.held[e.Hostname] = head
	}
	e.sameName = nil
	if head != e {
		head.gather()
	}
}

// pass gives a name that no guest with an active port has to the first
// guest with an active port that waits for it.
func (ns *names) pass(name string) {
	list := ns.waiting[name]
	if list == nil {
		return
	}
	for e := ns.held[name]; e != nil; e = e.sameName {
		if !e.absent {
			return
		}
	}
	first := list.front
	for first != nil && first.absent {
		first = first.next
	}
	for e := first; e != nil; {
		next := e.next
		if e.sameGuest(first) {
			ns.stopWaiting(e)
			e.Hostname = name
			ns.give(e)
			ns.passed = append(ns.passed, e)
		}
		e = next
	}
}

// refresh updates the expiry times of the lists.
func (ns *names) refresh() {
	for _, head := range ns.held {
		head.gather()
	}
}

// sameGuest reports whether two leases may share a hostname: IPv4 and IPv6 of an
// interface, or several addresses of one. A guest that was installed again has
// a new DUID, and its old address should not be found by its name.
func (e *entry) sameGuest(o *entry) bool {
	return e.MAC == o.MAC && (e.DUID == o.DUID || e.DUID == "" || o.DUID == "")
}

// gather makes the result of Addrs. A single lease needs no memory for it.
func (e *entry) gather() {
	e.addrs, e.until = e.own[:], e.Expires
	if e.sameName == nil {
		return
	}
	e.addrs = nil
	for m := e; m != nil; m = m.sameName {
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
	// One has expired, and the timer that ends it is a little late.
	var live []netip.Addr
	for m := e; m != nil; m = m.sameName {
		if m.Live(now) {
			live = append(live, m.Address)
		}
	}
	return live
}
