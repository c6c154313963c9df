package lease

import (
	"net/netip"
	"time"
)

// names says which live leases have a hostname, and which want one that others
// have.
//
// The leases that have a name are those of one guest: one MAC, and in IPv6 one
// DUID. They form a list by their mates. A guest keeps its name from others as
// long as its link is there; then the name is for the one that asked for it, the
// first of those first.
type names struct {
	held    map[string]*entry
	waiting map[string]*entryList
	passed  []*entry // that got a name which they waited for
}

// nameLink is an entry's part in names.
type nameLink struct {
	mate  *entry        // the next lease of the name
	own   [1]netip.Addr // the lease's address
	addrs []netip.Addr  // of the whole list, in its head; never changed, only replaced
	until time.Time     // in the head: when the first of them ends; zero: never
}

func newNames() *names { return &names{held: map[string]*entry{}, waiting: map[string]*entryList{}} }

// add enters a lease. If it has a hostname, another guest that has it loses it: the
// server decided so. If it only wants one, it gets it when the name is free.
func (ns *names) add(e *entry) {
	e.own[0], e.mate = e.Address, nil
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
		next := other.mate
		if other.sameGuest(e) {
			other.mate = e.mate
			e.mate = other
		} else {
			other.Hostname, other.mate = "", nil
			if other.Wanted != "" {
				ns.wait(other)
			}
		}
		other = next
	}
	ns.held[e.Hostname] = e
	e.gather()
}

// remove takes a lease out; the others of its name stay. Whether another guest gets
// the name is for pass.
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
		for before.mate != e {
			before = before.mate
		}
		before.mate = e.mate
	case e.mate == nil:
		delete(ns.held, e.Hostname)
	default:
		head = e.mate
		ns.held[e.Hostname] = head
	}
	e.mate = nil
	if head != e {
		head.gather()
	}
}

// pass gives a name that no guest with a live link has to the first
// guest that waits for it and is there.
func (ns *names) pass(name string) {
	list := ns.waiting[name]
	if list == nil || ns.holder(name) != nil {
		return
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

// holder returns a lease of the guest that keeps a name from others, or nil.
func (ns *names) holder(name string) *entry {
	for e := ns.held[name]; e != nil; e = e.mate {
		if !e.absent {
			return e
		}
	}
	return nil
}

// refresh takes up other times of the leases.
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
