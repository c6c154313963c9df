package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// PortLink is a port with its link as of the last look; the link's Index is 0 if it
// is not there.
type PortLink struct {
	Port netdrv.Port
	Link netdrv.Link
}

// Attached reports whether the link is where it belongs.
func (p *PortLink) Attached() bool {
	return p.Link.Index != 0 && p.Link.Up && (p.Link.Kind == netdrv.KindMacvtap || p.Link.Master != "")
}

// Ports returns the declared and the tap broker's ports, sorted by network and link.
func (e *Engine) Ports() []PortLink {
	ports := e.Store.Ports()
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]PortLink, len(ports))
	for i, p := range ports {
		out[i] = PortLink{p, e.links[p.Link]}
	}
	return out
}

// Learned returns the guests' links on bridges that somebody else made.
func (e *Engine) Learned() []netdrv.Member {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.members), func(m netdrv.Member) bool {
		_, ours := e.links[m.Link]
		return ours
	})
}

// AddPort stores a port and makes its link. If it cannot, it takes both back.
func (e *Engine) AddPort(ctx context.Context, p netdrv.Port) error {
	err := e.changePorts(ctx, p.Network, func() error { return e.Store.PutPort(p) })
	return e.stands(ctx, p, err)
}

// stands takes a port back that has no link.
func (e *Engine) stands(ctx context.Context, p netdrv.Port, err error) error {
	e.mu.Lock()
	_, made := e.links[p.Link]
	e.mu.Unlock()
	if err == nil && made {
		return nil
	}
	if err == nil {
		err = e.Status(p.Network).Err
	}
	if err == nil {
		err = errors.New("the link was made, and is gone again")
	}
	if back := e.RemovePort(ctx, p); back != nil {
		e.log.Error("port not taken back", "port", p.Link, "err", back)
	}
	return err
}

// ChangePort stores a port in the place of what it was. If that brings its network into
// trouble, it takes the change back.
func (e *Engine) ChangePort(ctx context.Context, old, p netdrv.Port) error {
	before := e.Status(p.Network).Err
	if err := e.changePorts(ctx, p.Network, func() error { return e.Store.PutPort(p) }); err != nil {
		return err
	}
	err := e.Status(p.Network).Err
	if err == nil || before != nil {
		return nil
	}
	return errors.Join(err, e.changePorts(ctx, p.Network, func() error { return e.Store.PutPort(old) }))
}

// RemovePort forgets a port, its link and its guest's leases.
func (e *Engine) RemovePort(ctx context.Context, p netdrv.Port) error {
	index := e.indexOf(p.Link)
	err := e.changePorts(ctx, p.Network, func() error { return e.Store.DeletePort(p.Link) })
	return errors.Join(err, e.releaseGuest(p, index))
}

// indexOf returns the index of a port's link as of the last look, 0 if it was not there.
func (e *Engine) indexOf(link string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l, ok := e.links[link]; ok {
		return l.Index
	}
	for _, m := range e.members {
		if m.Link == link {
			return m.Index
		}
	}
	return 0
}

// releaseGuest ends the leases of a port: those of its MAC if an administrator declared it,
// else those that were obtained through its link, whatever MAC its guest claimed.
func (e *Engine) releaseGuest(p netdrv.Port, index int) error {
	mine := func(mac netdrv.MAC, link int) bool { return link == index && index != 0 }
	if !p.Transient {
		mine = func(mac netdrv.MAC, _ int) bool { return mac == p.MAC }
	}
	return e.Leases.Release(p.Network, mine)
}

// changePorts changes what is stored of a network's ports, and has it looked at. No
// round looks in between, which would take the change for somebody else's.
func (e *Engine) changePorts(ctx context.Context, network string, change func() error) error {
	done := make(chan struct{})
	e.turn.Lock()
	err := change()
	if err == nil {
		e.enqueue([]string{network}, done)
	}
	e.turn.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OpenNew makes a transient port, and returns the files of its queues. A tap is gone
// when all of them are closed, and the port with it; a macvtap is for RemovePort to
// remove. vnetHeader is about a tap.
func (e *Engine) OpenNew(ctx context.Context, p netdrv.Port, vnetHeader bool) ([]*os.File, error) {
	entry, ok := e.Store.Get(p.Network)
	if !ok {
		return nil, fmt.Errorf("there is no network %s", p.Network)
	}
	var files []*os.File
	err := e.changePorts(ctx, p.Network, func() (err error) {
		files, err = e.make(ctx, p, entry, vnetHeader)
		return err
	})
	if err = e.stands(ctx, p, err); err == nil && files == nil {
		if files, err = e.OpenPort(ctx, p); err != nil {
			err = errors.Join(err, e.RemovePort(ctx, p))
		}
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// make makes the link of a transient port. A tap is made before the port is stored, as
// a port without a link is taken for gone; a macvtap after it, as it would stay without
// a port if the daemon ended in between.
func (e *Engine) make(ctx context.Context, p netdrv.Port, entry store.Entry, vnetHeader bool) (files []*os.File, err error) {
	l := netdrv.LinkOf(&p, &entry.Network, entry.Live, e.Host())
	if l.Kind == netdrv.KindMacvtap {
		if err := e.Store.PutPort(p); err != nil {
			return nil, err
		}
		if err := e.Kernel.Apply(ctx, netdrv.LinkAdd{Link: l}); err != nil {
			return nil, errors.Join(err, e.Store.DisownPort(p.Link))
		}
		return nil, nil
	}
	if p.MAC.IsZero() {
		e.unmet.Store(true)
	}
	if files, err = e.Kernel.MakeTap(ctx, l, vnetHeader); err != nil {
		return nil, err
	}
	if err := e.Store.PutPort(p); err != nil {
		closeAll(files)
		return nil, errors.Join(err, e.Kernel.Apply(ctx, netdrv.LinkDel{Name: l.Name}))
	}
	return files, nil
}

// OpenPort opens the queues of a port whose link is there.
func (e *Engine) OpenPort(ctx context.Context, p netdrv.Port) ([]*os.File, error) {
	entry, ok := e.Store.Get(p.Network)
	if !ok {
		return nil, fmt.Errorf("there is no network %s", p.Network)
	}
	l := netdrv.LinkOf(&p, &entry.Network, entry.Live, e.Host())
	if l.Kind == netdrv.KindTap {
		return e.Kernel.OpenTap(ctx, l)
	}
	l.Queues = p.Queues
	return e.Kernel.OpenMacvtap(ctx, l)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Detach takes a link that somebody else made out of our bridge, and does not put it
// back.
func (e *Engine) Detach(ctx context.Context, m netdrv.Member) error {
	if err := e.detach(ctx, m); err != nil {
		return err
	}
	return e.Reconcile(ctx)
}

// detach lets no round look in between, which would put the link back.
func (e *Engine) detach(ctx context.Context, m netdrv.Member) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.Kernel.Apply(ctx, netdrv.MemberDel{Member: m}); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.members = slices.DeleteFunc(slices.Clone(e.members), func(o netdrv.Member) bool { return o.Index == m.Index })
	return nil
}

// ports are those of the round's networks that are to have links. A transient one
// whose link is gone is gone itself. Suspended ones are declared, and stay down.
func (r *round) ports(have netdrv.State) (out []netdrv.Port, suspended map[string]bool) {
	there := map[string]netdrv.Link{}
	for _, l := range have.Links {
		there[l.Name] = l
	}
	suspended = map[string]bool{}
	all := r.Store.Ports()
	for _, p := range all {
		link, exists := there[p.Link]
		switch {
		case !r.about(p.Network):
		case p.Transient && !exists:
			r.log.Info("guest of the tap broker is gone", "network", p.Network, "port", p.Link)
			r.drop(p, r.indexOf(p.Link))
		case p.Transient && r.revoked(&p, link) != "":
			r.repaired(p.Network, fmt.Sprintf("port %s of user %d: %s; the port is removed", p.Link, p.Owner, r.revoked(&p, link)),
				[]string{netdrv.LinkDel{Name: p.Link}.String()})
			r.asked[p.Network] = true // it is told
			r.drop(p, link.Index)
		default:
			out = append(out, p)
			if exists && !p.Transient && r.suspend(&p, link) {
				suspended[p.Link] = true
			}
		}
	}
	r.reportSuspended(all)
	return out, suspended
}

// revoked is why a user loses a transient port that is there, or "". A user who changes a
// link by its descriptor would do so again, faster than it can be repaired.
func (r *round) revoked(p *netdrv.Port, have netdrv.Link) string {
	entry, _ := r.Store.Get(p.Network)
	n := &entry.Network
	if !r.MayHold(n, p) {
		return "the network's access list does not name the user any more"
	}
	want := netdrv.LinkOf(p, n, entry.Live, r.Host())
	if p.Granted == "" { // by an earlier vnetd, which gave links other MAC addresses
		want.MAC = netdrv.MAC{}
	}
	return want.Tampered(have)
}

func (r *round) about(network string) bool { return r.scoped[network] }

func (r *round) drop(p netdrv.Port, index int) {
	if err := errors.Join(r.Store.DeletePort(p.Link), r.releaseGuest(p, index)); err != nil {
		r.log.Error("a guest that is gone is not forgotten", "port", p.Link, "err", err)
	}
}

// note keeps which links of ports there are.
func (r *round) note(have netdrv.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := maps.Clone(r.links)
	for name, l := range r.links {
		if r.full || r.about(l.Network) || slices.Contains(r.gone, l.Network) {
			delete(r.links, name)
		}
	}
	for _, l := range have.Links {
		if l.IsPort() {
			r.links[l.Name] = l
			r.tellCarrier(was[l.Name], l)
		}
	}
}

// tellCarrier publishes that somebody has opened or closed a tap.
func (r *round) tellCarrier(was, now netdrv.Link) {
	if was.Carrier == now.Carrier {
		return
	}
	kind := event.PortDown
	if now.Carrier {
		kind = event.PortUp
	}
	r.Events.Publish(event.Event{Kind: kind, About: now.Network, Port: &event.Port{
		Port: netdrv.Port{Network: now.Network, Link: now.Name}, Index: now.Index, Kind: string(now.Kind), Managed: true,
		Attached: now.Master != "", Up: now.Carrier,
	}})
}

// leasedElsewhere reports whether a MAC has a lease that was obtained through another link.
func (e *Engine) leasedElsewhere(network string, mac netdrv.MAC, index int) bool {
	link, leased := e.Leases.Link(network, mac)
	return leased && link != index
}

// LookForGuests has the engine look who is behind those of the tap broker's ports whose
// guests have not said. If there are none it costs nothing.
func (e *Engine) LookForGuests() {
	if e.unmet.Load() {
		e.Notice()
	}
}

// meetGuests notes by which MAC a guest is known that has not said. One that uses another's is
// not believed.
func (r *round) meetGuests(ctx context.Context) error {
	var seen map[int][]netdrv.MAC
	if r.full {
		r.unmet.Store(false)
	}
	for _, entry := range r.scope {
		ports := r.Store.PortsOf(entry.Network.Name)
		for _, p := range ports {
			if !p.Transient || !p.MAC.IsZero() {
				continue
			}
			if seen == nil {
				var err error
				if seen, err = r.Kernel.Seen(ctx); err != nil {
					return err
				}
			}
			if err := r.meet(p, &entry.Network, ports, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *round) meet(p netdrv.Port, n *netdrv.Network, ports []netdrv.Port, seen map[int][]netdrv.MAC) error {
	r.mu.Lock()
	index := r.links[p.Link].Index
	r.mu.Unlock()
	macs := seen[index]
	if len(macs) != 1 || n.KnowsGuest(macs[0], ports) || !n.Access.Allows(macs[0]) || r.leasedElsewhere(n.Name, macs[0], index) {
		r.unmet.Store(true)
		return nil
	}
	p.MAC = macs[0]
	return r.Store.PutPort(p)
}
