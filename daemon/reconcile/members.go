package reconcile

import (
	"slices"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/netdrv"
)

// Members returns the guests' links, sorted by network and link.
func (e *Engine) Members() []netdrv.Member {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.members)
}

// learn brings the guests' links up to date with those that were looked at, and
// returns them.
func (r *round) learn(have netdrv.State) []netdrv.Member {
	was := r.Members()
	now := netdrv.Learn(was, have, r.all, r.full)
	seen := r.Kernel.Remembered()
	for i := range now {
		now[i].Seen = seen[now[i].Index]
	}
	if slices.Equal(was, now) {
		return now
	}
	r.mu.Lock()
	r.members = now
	r.mu.Unlock()
	if err := r.Store.PutMembers(now); err != nil {
		r.log.Warn("guests' links are not noted; after a restart they may stay off their bridges", "err", err)
	}
	r.tell(was, now)
	return now
}

// tellLeases tells the leases which links each network's guests have, after a look at
// everything: links that others made, such as a tunnel's, are known only then.
func (r *round) tellLeases(mark uint64) {
	if !r.full {
		return
	}
	links, bridges := map[string]map[int32]bool{}, map[string]string{}
	for i := range r.all {
		links[r.all[i].Name] = map[int32]bool{}
		bridges[r.all[i].Bridge.Name] = r.all[i].Name
	}
	note := func(network string, index int) {
		if l := links[network]; l != nil {
			l[int32(index)] = true
		}
	}
	for _, m := range r.Members() {
		note(m.Network, m.Index)
	}
	for _, l := range r.Host().Links {
		note(bridges[l.Master], l.Index)
	}
	for network, l := range links {
		r.Leases.SetPorts(network, l, mark)
	}
}

// tell publishes which guests' links came and went.
func (r *round) tell(was, now []netdrv.Member) {
	attached := map[netdrv.Member]bool{}
	for _, m := range was {
		if m.Bridge != "" {
			attached[place(m)] = true
		}
	}
	for _, m := range now {
		if m.Bridge != "" && !attached[place(m)] {
			r.publishPort(event.PortAttached, m)
		}
		delete(attached, place(m))
	}
	for m := range attached {
		r.publishPort(event.PortDetached, m)
	}
}

// place is a member without what is known of its guest.
func place(m netdrv.Member) netdrv.Member {
	m.MAC, m.Seen, m.Isolated = netdrv.MAC{}, netdrv.MAC{}, false
	return m
}

func (r *round) publishPort(k event.Kind, m netdrv.Member) {
	r.log.Debug("guest's link", "network", m.Network, "link", m.Link, "bridge", m.Bridge)
	r.Events.Publish(event.Event{Kind: k, About: m.Network, Port: &event.Port{
		Port: netdrv.Port{Network: m.Network, Link: m.Link}, Index: m.Index, Kind: m.Kind, Attached: k == event.PortAttached,
	}})
}
