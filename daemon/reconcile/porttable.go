package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// A portTable has the guests' links as of the last rounds.
type portTable struct {
	// unidentified: a transient port has no MAC yet.
	unidentified atomic.Bool

	mu         sync.Mutex
	members    []netdrv.Member        // on bridges, sorted by network and link; replaced, not changed
	links      map[string]netdrv.Link // of ports
	tamperings map[string]tampering   // of declared ports, by link
}

// list returns the members.
func (t *portTable) list() []netdrv.Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.members)
}

// link returns a port's link; false if it did not exist.
func (t *portTable) link(name string) (netdrv.Link, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.links[name]
	return l, ok
}

// index returns the index of a port's link, 0 if it did not exist.
func (t *portTable) index(link string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.links[link]; ok {
		return l.Index
	}
	for _, m := range t.members {
		if m.Link == link {
			return m.Index
		}
	}
	return 0
}

// setMACs sets the MACs of those members that still exist, and returns the members.
func (t *portTable) setMACs(members []netdrv.Member) []netdrv.Member {
	type at struct {
		network string
		index   int
	}
	macs := map[at]netdrv.MAC{}
	for _, m := range members {
		macs[at{m.Network, m.Index}] = m.MAC
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = slices.Clone(t.members)
	for i, m := range t.members {
		if mac, ok := macs[at{m.Network, m.Index}]; ok {
			t.members[i].MAC = mac
		}
	}
	return t.members
}

// drop removes a member.
func (t *portTable) drop(index int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = slices.DeleteFunc(slices.Clone(t.members), func(m netdrv.Member) bool { return m.Index == index })
}

// PortLink is a port with its link as of the last round; the link's Index is 0 if it did not
// exist.
type PortLink struct {
	Port netdrv.Port
	Link netdrv.Link
}

// Attached reports whether the link is up on its bridge or uplink.
func (p *PortLink) Attached() bool {
	return p.Link.Index != 0 && p.Link.Up && (p.Link.Kind == netdrv.KindMacvtap || p.Link.Master != "")
}

// Ports returns the declared and the transient ports, sorted by network and link.
func (e *Engine) Ports() []PortLink {
	var out []PortLink
	for _, p := range e.Store.Ports() {
		l, _ := e.ports.link(p.Link)
		out = append(out, PortLink{p, l})
	}
	return out
}

// Members returns the guests' links, sorted by network and link.
func (e *Engine) Members() []netdrv.Member { return e.ports.list() }

// Learned returns the guests' links that vnetd did not make.
func (e *Engine) Learned() []netdrv.Member {
	return slices.DeleteFunc(e.ports.list(), func(m netdrv.Member) bool {
		_, ours := e.ports.link(m.Link)
		return ours
	})
}

// LookForGuests requests a full round if there are transient ports without a MAC.
func (e *Engine) LookForGuests() {
	if e.ports.unidentified.Load() {
		e.Notice()
	}
}

// A droppedPort is a transient port that a plan drops.
type droppedPort struct {
	netdrv.Port
	index int
	// revoked is why its user loses it, "" if its link does not exist.
	revoked string
}

// keptPorts returns the ports of the round's networks that are to have links, and the
// transient ones that are to be dropped.
func (r *round) keptPorts(have netdrv.State, host netdrv.Host) (kept []netdrv.Port, dropped []droppedPort) {
	links := map[string]netdrv.Link{}
	for _, l := range have.Links {
		links[l.Name] = l
	}
	for _, p := range r.Store.Ports() {
		entry, scoped := r.scoped[p.Network]
		if !scoped {
			continue
		}
		link, exists := links[p.Link]
		if p.Transient && !exists {
			dropped = append(dropped, droppedPort{p, r.ports.index(p.Link), ""})
			continue
		}
		if p.Transient {
			if why := r.revoked(entry, &p, link, host); why != "" {
				dropped = append(dropped, droppedPort{p, link.Index, why})
				continue
			}
		}
		kept = append(kept, p)
	}
	return kept, dropped
}

// revoked is why the user of a transient port loses it, or "". A user who changes a link
// through its descriptor could do so again, faster than it is repaired.
func (r *round) revoked(entry *store.Entry, p *netdrv.Port, have netdrv.Link, host netdrv.Host) string {
	if !r.MayHold(&entry.Network, p) {
		return "the network's access list does not name the user any more"
	}
	want := netdrv.LinkOf(p, &entry.Network, entry.Live, host)
	if p.Granted == "" { // by an earlier vnetd, which gave links other MAC addresses
		want.MAC = netdrv.MAC{}
	}
	return want.Tampered(have)
}

// drop drops a transient port.
func (r *round) drop(p droppedPort) {
	if p.revoked == "" {
		r.log.Info("guest of the tap broker is gone", "network", p.Network, "port", p.Link)
	} else {
		r.repaired(p.Network, fmt.Sprintf("port %s of user %d: %s; the port is removed", p.Link, p.Owner, p.revoked),
			[]string{netdrv.LinkDel{Name: p.Link}.String()})
		r.asked[p.Network] = true // the repair is reported
	}
	if err := errors.Join(r.Store.DeletePort(p.Link), r.releaseLeases(p.Port, p.index)); err != nil {
		r.log.Error("transient port not deleted completely", "port", p.Link, "err", err)
	}
}

// portLinks returns the links of ports as of an observation of what the round is about.
func (r *round) portLinks(have netdrv.State) map[string]netdrv.Link {
	r.ports.mu.Lock()
	out := maps.Clone(r.ports.links)
	r.ports.mu.Unlock()
	maps.DeleteFunc(out, func(_ string, l netdrv.Link) bool {
		return r.full || r.about(l.Network) || slices.Contains(r.gone, l.Network)
	})
	for _, l := range have.Links {
		if l.IsPort() {
			out[l.Name] = l
		}
	}
	return out
}

// setPorts records the guests' links of a plan, and publishes the changes.
func (r *round) setPorts(p *plan) {
	t := r.ports
	t.mu.Lock()
	was, wasLinks := t.members, t.links
	if !slices.Equal(was, p.was) { // MACs were learned meanwhile
		p.members = r.learn(was, p.have)
	}
	t.members, t.links = p.members, p.links
	t.mu.Unlock()
	if !slices.Equal(was, p.members) {
		if err := r.Store.PutMembers(p.members); err != nil {
			r.log.Warn("guests' links not stored; after a restart they may stay off their bridges", "err", err)
		}
		r.publishMembers(was, p.members)
	}
	for _, l := range p.have.Links { // in a defined order
		if !l.IsPort() || wasLinks[l.Name].Carrier == l.Carrier {
			continue
		}
		kind := event.PortDown
		if l.Carrier {
			kind = event.PortUp
		}
		r.Events.Publish(event.Event{Kind: kind, About: l.Network, Port: &event.Port{
			Port: netdrv.Port{Network: l.Network, Link: l.Name}, Index: l.Index, Kind: string(l.Kind), Managed: true,
			Attached: l.Master != "", Up: l.Carrier,
		}})
	}
}

// publishMembers publishes which guests' links came and went.
func (r *round) publishMembers(was, now []netdrv.Member) {
	identity := func(m netdrv.Member) netdrv.Member {
		m.MAC, m.LearnedMAC, m.Isolated = netdrv.MAC{}, netdrv.MAC{}, false
		return m
	}
	publish := func(k event.Kind, m netdrv.Member) {
		r.log.Debug("guest's link", "network", m.Network, "link", m.Link, "bridge", m.Bridge)
		r.Events.Publish(event.Event{Kind: k, About: m.Network, Port: &event.Port{
			Port: netdrv.Port{Network: m.Network, Link: m.Link}, Index: m.Index, Kind: m.Kind, Attached: k == event.PortAttached,
		}})
	}
	attached := map[netdrv.Member]bool{}
	for _, m := range was {
		if m.Bridge != "" {
			attached[identity(m)] = true
		}
	}
	for _, m := range now {
		if m.Bridge != "" && !attached[identity(m)] {
			publish(event.PortAttached, m)
		}
		delete(attached, identity(m))
	}
	for m := range attached {
		publish(event.PortDetached, m)
	}
}

// setLeasePorts sets which links each network's guests have, after a full round: links that
// others made, such as a tunnel's, are known only then. mark is of before the observation.
func (r *round) setLeasePorts(p *plan, mark uint64) {
	if !r.full {
		return
	}
	links, bridges := map[string]map[int32]bool{}, map[string]string{}
	for i := range r.all {
		links[r.all[i].Name] = map[int32]bool{}
		bridges[r.all[i].Bridge.Name] = r.all[i].Name
	}
	add := func(network string, index int) {
		if l := links[network]; l != nil {
			l[int32(index)] = true
		}
	}
	for _, m := range p.members {
		add(m.Network, m.Index)
	}
	for _, l := range p.host.Links {
		add(bridges[l.Master], l.Index)
	}
	for network, l := range links {
		r.Leases.SetPorts(network, l, mark)
	}
}

// identify stores the MACs of transient ports that had none, by what bridges have learned. The
// MAC of another guest is not accepted.
func (r *round) identify(ctx context.Context) error {
	var seen map[int][]netdrv.MAC
	if r.full {
		r.ports.unidentified.Store(false)
	}
	for i := range r.scope {
		n := &r.scope[i].Network
		ports := r.Store.PortsOf(n.Name)
		for _, p := range ports {
			if !p.Transient || !p.MAC.IsZero() {
				continue
			}
			if seen == nil {
				var err error
				if seen, err = r.Kernel.LearnedMACs(ctx); err != nil {
					return err
				}
			}
			link, _ := r.ports.link(p.Link)
			macs := seen[link.Index]
			if len(macs) != 1 || n.KnowsGuest(macs[0], ports) || !n.Access.Allows(macs[0]) {
				r.ports.unidentified.Store(true)
				continue
			}
			if index, leased := r.Leases.Link(n.Name, macs[0]); leased && index != link.Index {
				r.ports.unidentified.Store(true)
				continue
			}
			p.MAC = macs[0]
			if err := r.Store.PutPort(p); err != nil {
				return err
			}
		}
	}
	return nil
}
