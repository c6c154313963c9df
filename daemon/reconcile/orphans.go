package reconcile

import (
	"context"
	"fmt"
	"slices"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/netdrv"
)

// Orphans returns what the kernel holds of ours and this state has neither declared
// nor deleted, as of the last full look, sorted by network.
func (e *Engine) Orphans() []netdrv.Orphan {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.orphans
}

// Treatment returns what the rules did with a bridge that the daemon found at its
// start; false if they did not tell.
func (e *Engine) Treatment(bridge string) (netdrv.Treatment, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.treated[bridge]
	return t, ok
}

// known returns whether a link of ours belongs to what is declared, or was declared
// and is deleted: the others are left alone.
func (e *Engine) known() func(netdrv.Link) bool {
	networks, links := map[string]bool{}, map[string]bool{}
	for name := range e.Store.Broken() {
		networks[name] = true
	}
	for _, entry := range e.Store.List() {
		networks[entry.Network.Name] = true
		links[entry.Network.Bridge.Name] = true
	}
	for link := range e.Store.BrokenPorts() {
		links[link] = true
	}
	for _, p := range e.Store.Ports() {
		links[p.Link] = true
	}
	removed := e.Store.Removed()
	return func(l netdrv.Link) bool {
		switch {
		case removed.Links[l.Name] || removed.Networks[l.Network]:
			return true
		case l.Network == "": // made, and not named yet when the daemon ended
			return links[l.Name] || l.Kind == netdrv.KindIfb
		case !networks[l.Network]:
			return false
		}
		return !l.IsPort() || links[l.Name]
	}
}

// noteOrphans keeps what a full look found to be left alone, and reports what is new.
// unread are the links of networks with a definition that cannot be read.
func (e *Engine) noteOrphans(orphans, unread []netdrv.Orphan) {
	e.mu.Lock()
	was := e.orphans
	e.orphans, e.unread = orphans, unread
	for i := range was {
		delete(e.problems, orphanKey(&was[i]))
	}
	for i := range orphans {
		o := &orphans[i]
		e.problems[orphanKey(o)] = fmt.Errorf("orphaned: %s: not declared in this state directory; declare it with `vnetctl network adopt %s`, or remove it with `vnetctl network forget %s`", o, o.Network, o.Network)
	}
	e.mu.Unlock()
	for i := range orphans {
		o := &orphans[i]
		if slices.ContainsFunc(was, func(w netdrv.Orphan) bool { return w.String() == o.String() }) {
			continue
		}
		e.log.Warn("orphaned links left alone; vnetctl network adopt declares them, vnetctl network forget removes them", "network", o.Network, "links", o.String())
		e.Events.Publish(event.Event{Kind: event.NetworkOrphaned, About: o.Network, Message: o.String()})
	}
}

func orphanKey(o *netdrv.Orphan) string { return "orphan " + o.Network }

// forgetRemoved drops deletions that have reached the host.
func (r *round) forgetRemoved(have netdrv.State) {
	networks, links := map[string]bool{}, map[string]bool{}
	for _, l := range have.Links {
		networks[l.Network], links[l.Name] = true, true
	}
	if err := r.Store.ForgetRemoved(networks, links); err != nil {
		r.log.Warn("completed deletions stay noted in the runtime directory", "err", err)
	}
}

// closed returns networks for the firewall in the place of those that are left alone:
// with the rules that were found for them, where nothing is lost of those, and else
// cut off from everything but the host. leave: there is nothing else to rule, and what
// the previous daemon has left stays in force, whole.
func (e *Engine) closed(ctx context.Context, live []netdrv.Network) (networks []netdrv.Network, leave bool, err error) {
	e.mu.Lock()
	all := slices.Concat(e.orphans, e.unread)
	treated := e.treated
	e.mu.Unlock()
	if len(all) == 0 {
		return nil, false, nil
	}
	if treated == nil {
		if treated, err = e.Firewall.Treatments(ctx); err != nil {
			return nil, false, err
		}
		e.mu.Lock()
		e.treated = treated
		e.mu.Unlock()
	}
	leave = len(live) == 0 && !e.enforced
	for i := range all {
		for _, n := range all[i].Closed() {
			t, ok := treated[n.Bridge.Name]
			leave = leave && ok
			if t.Exact {
				n.Mode, n.NAT.IPv6, n.HostAccess = t.Mode, t.IPv6NAT, netdrv.HostAccess{}
			}
			networks = append(networks, n)
		}
	}
	return networks, leave, nil
}
