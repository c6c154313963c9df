package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// A hostCache has what the host has besides our own, as of the last full observation. What
// it returns is shared, and is not changed.
type hostCache struct {
	kernel Kernel
	store  *store.Store

	mu      sync.Mutex
	host    netdrv.Host
	changes uint64          // the kernel's HostChanges before the observation
	uplinks map[string]bool // links that have had a default route since the start
	orphans []netdrv.Orphan // sorted by network
	unread  []netdrv.Orphan // links of networks with a definition that cannot be read
	// treated is what the rules did with bridges at the start, if that was needed.
	treated map[string]netdrv.Treatment
	// held is what was on the bridges of networks, as of their last round; it is replaced, not
	// changed.
	held map[string]held
}

// An observation is what a look at everything has found.
type observation struct {
	have            netdrv.State // what is ours, without orphans
	host            netdrv.Host
	changes         uint64
	orphans, unread []netdrv.Orphan
}

// observe observes everything, and changes nothing.
func (c *hostCache) observe(ctx context.Context) (o observation, err error) {
	o.changes = c.kernel.HostChanges() // what changes meanwhile is for the next observation
	if o.have, o.host, err = c.kernel.Observe(ctx); err != nil {
		return o, err
	}
	o.have, o.orphans = netdrv.SplitOrphans(o.have, c.known())
	broken := c.store.Broken()
	_, o.unread = netdrv.SplitOrphans(o.have, func(l netdrv.Link) bool { return broken[l.Network] == nil })
	o.host = o.host.WithOrphans(o.orphans)
	c.mu.Lock()
	uplinks := maps.Clone(c.uplinks)
	c.mu.Unlock()
	for _, link := range o.host.DefaultLinks {
		uplinks[link] = true
	}
	o.host.Uplinks = slices.Sorted(maps.Keys(uplinks))
	return o, nil
}

// set replaces the cached host, and returns the orphans of before.
func (c *hostCache) set(o observation) (was []netdrv.Orphan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, link := range o.host.Uplinks {
		c.uplinks[link] = true
	}
	was = c.orphans
	c.host, c.changes, c.orphans, c.unread = o.host, o.changes, o.orphans, o.unread
	return was
}

func (c *hostCache) get() netdrv.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host
}

// fresh returns the cached host if nothing has changed since. No notification tells of
// changes of orphans, which are links of ours that count as the host's.
func (c *hostCache) fresh() (netdrv.Host, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host, c.changes == c.kernel.HostChanges() && len(c.orphans) == 0
}

// known returns whether a link of ours belongs to what is declared, or was declared and is
// deleted. Others are orphans, and left alone.
func (c *hostCache) known() func(netdrv.Link) bool {
	networks, links := map[string]bool{}, map[string]bool{}
	for name := range c.store.Broken() {
		networks[name] = true
	}
	for _, entry := range c.store.List() {
		networks[entry.Network.Name] = true
		links[entry.Network.Bridge.Name] = true
	}
	for link := range c.store.BrokenPorts() {
		links[link] = true
	}
	for _, p := range c.store.Ports() {
		links[p.Link] = true
	}
	removed := c.store.Removed()
	return func(l netdrv.Link) bool {
		switch {
		case removed.Links[l.Name] || removed.Networks[l.Network]:
			return true
		case l.Network == "": // created, and not named yet when the daemon ended
			return links[l.Name] || l.Kind == netdrv.KindIfb
		case !networks[l.Network]:
			return false
		}
		return !l.IsPort() || links[l.Name]
	}
}

// Host returns what the host had besides our own at the last full observation.
func (e *Engine) Host() netdrv.Host { return e.hosts.get() }

// FreshHost returns what the host has besides our own now. It observes only if the kernel
// has notified of a change since the last observation, so that the cost does not depend on
// the number of networks.
func (e *Engine) FreshHost(ctx context.Context) (netdrv.Host, error) {
	host, fresh := e.hosts.fresh()
	if fresh {
		return host, nil
	}
	o, err := e.hosts.observe(ctx)
	if err != nil {
		return host, fmt.Errorf("look at the host: %w", err)
	}
	e.setHost(o)
	return o.host, nil
}

// LookAtHost observes everything now, and returns what is ours and declared.
func (e *Engine) LookAtHost(ctx context.Context) (netdrv.State, error) {
	o, err := e.hosts.observe(ctx)
	if err == nil {
		e.setHost(o)
	}
	return o.have, err
}

// setHost caches an observation, and reports orphans that it is the first to find.
func (e *Engine) setHost(o observation) {
	was, t := e.hosts.set(o), e.networks
	t.mu.Lock()
	for i := range was {
		delete(t.problems, "orphan "+was[i].Network)
	}
	for i := range o.orphans {
		orphan := &o.orphans[i]
		t.problems["orphan "+orphan.Network] = fmt.Errorf("orphaned: %s: not declared in this state directory; declare it with `vnetctl network adopt %s`, or remove it with `vnetctl network forget %s`", orphan, orphan.Network, orphan.Network)
	}
	t.mu.Unlock()
	for i := range o.orphans {
		orphan := &o.orphans[i]
		if slices.ContainsFunc(was, func(w netdrv.Orphan) bool { return w.String() == orphan.String() }) {
			continue
		}
		e.log.Warn("orphaned links left alone; vnetctl network adopt declares them, vnetctl network forget removes them", "network", orphan.Network, "links", orphan.String())
		e.Events.Publish(event.Event{Kind: event.NetworkOrphaned, About: orphan.Network, Message: orphan.String()})
	}
}

// Orphans returns what the kernel holds of ours and this state has neither declared nor
// deleted, as of the last full observation, sorted by network.
func (e *Engine) Orphans() []netdrv.Orphan {
	e.hosts.mu.Lock()
	defer e.hosts.mu.Unlock()
	return e.hosts.orphans
}

// Treatment returns what the rules that were in force at the start did with a bridge; false
// if that is not known.
func (e *Engine) Treatment(bridge string) (netdrv.Treatment, bool) {
	e.hosts.mu.Lock()
	defer e.hosts.mu.Unlock()
	t, ok := e.hosts.treated[bridge]
	return t, ok
}

// closed returns networks for the firewall in the place of those that are left alone: with
// the rules that were in force for them, if those are known exactly, and otherwise without
// access to anything except the host. leave reports that there are no other networks, so that
// the rules of the previous daemon stay in force.
func (c *hostCache) closed(ctx context.Context, fw Firewall, others, enforced bool) (networks []netdrv.Network, leave bool, err error) {
	c.mu.Lock()
	all := slices.Concat(c.orphans, c.unread)
	treated := c.treated
	c.mu.Unlock()
	if len(all) == 0 {
		return nil, false, nil
	}
	if treated == nil {
		if treated, err = fw.Treatments(ctx); err != nil {
			return nil, false, err
		}
		c.mu.Lock()
		c.treated = treated
		c.mu.Unlock()
	}
	leave = !others && !enforced
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

// withSettings adds to have the settings that are wanted and were not observed: those of the
// host's links, and of links that do not exist yet.
func withSettings(k Kernel, have, want netdrv.State) (netdrv.State, error) {
	seen := map[string]bool{}
	for _, s := range have.Sysctls {
		seen[s.Key] = true
	}
	var missing []netdrv.Sysctl
	var keys []string
	for _, s := range want.Sysctls {
		if !seen[s.Key] {
			missing, keys = append(missing, s), append(keys, s.Key)
		}
	}
	values, err := k.Sysctls(keys)
	if err != nil {
		return have, err
	}
	for _, s := range missing {
		s.Value = values[s.Key]
		have.Sysctls = append(have.Sysctls, s)
	}
	return have, nil
}
