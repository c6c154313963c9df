package reconcile

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

const (
	// neighboursEvery is how often the number of neighbours is read, and floodedEvery that
	// within floodedTime after a network had more than its share, or its packets were dropped.
	neighboursEvery = 250 * time.Millisecond
	floodedEvery    = 50 * time.Millisecond
	floodedTime     = 10 * time.Second
	// neighboursFull is the part of the neighbour table above which networks are limited to
	// their shares.
	neighboursFull = 0.5
	// knownTime is how long the addresses of guests are kept between checks, and at least
	// 1/knownShare of what it takes to read them.
	knownTime  = 500 * time.Millisecond
	knownShare = 0.05
)

// neighbourGuard keeps the guests of one network from filling the neighbour table, which the
// networks share with the host, by packets from or to invented addresses. Until the table is
// half full nothing is asked of any packet.
type neighbourGuard struct {
	*Engine
	over    map[string]time.Time // when networks had more than their share, of late
	next    [2]time.Time         // of the earliest next list of a family
	dropped uint64               // packets, as of the last check

	limited bool // rules may be in force

	known     map[string]addresses // by bridge
	knownNext time.Time            // when they are read again
}

// addresses are a set and the same in order.
type addresses struct {
	set  map[netip.Addr]bool
	list []netip.Addr
}

// guardNeighbours runs until ctx ends, and leaves no network limited.
func (e *Engine) guardNeighbours(ctx context.Context) {
	g := neighbourGuard{Engine: e, over: map[string]time.Time{}}
	tick := time.NewTimer(neighboursEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			clear(g.over)
			if err := g.limit(ctx, nil); err != nil {
				e.log.Warn("networks stay limited to few new neighbours until the next start", "err", err)
			}
			return
		case now := <-tick.C:
			if err := g.check(ctx, now); err != nil && ctx.Err() == nil {
				e.log.Warn("failed to limit neighbours", "err", err)
			}
		}
		every := neighboursEvery
		if len(g.over) > 0 {
			every = floodedEvery
		}
		tick.Reset(every)
	}
}

// check limits networks that have more than their share, deletes the surplus, and ends the
// limit when it has dropped nothing for a while.
func (g *neighbourGuard) check(ctx context.Context, now time.Time) (err error) {
	defer limit.RecoverAs(g.log, limit.Guests, &err)
	networks := map[string]*netdrv.Network{} // by bridge
	for i, ipv6 := range []bool{false, true} {
		entries, size, err := g.Kernel.NeighbourTable(ipv6)
		if err != nil {
			return err
		}
		full := float64(entries) > neighboursFull*float64(size) && !now.Before(g.next[i])
		if !full && len(g.over) == 0 {
			continue
		}
		networks = map[string]*netdrv.Network{}
		for _, n := range g.rules.list(func(n *netdrv.Network) bool { return n.Mode.OwnsBridge() }) {
			networks[n.Bridge.Name] = &n
		}
		bridges, flooded := map[string]bool{}, map[string]bool{}
		for bridge, n := range networks {
			_, flooded[bridge] = g.over[n.Name]
			bridges[bridge] = true
		}
		list, err := g.Kernel.BridgeNeighbours(ipv6, bridges)
		if err != nil {
			return err
		}
		over, surplus := netdrv.SurplusNeighbours(list, func(bridge string, a netip.Addr) bool {
			return g.knownOf(networks[bridge]).set[a]
		}, flooded, size)
		if len(surplus) == 0 { // the entries are the host's own
			g.next[i] = time.Now().Add(time.Duration(float64(time.Since(now)) / listingShare))
			continue
		}
		for _, bridge := range over {
			name := networks[bridge].Name
			if _, again := g.over[name]; !again {
				g.log.Warn("network has more than its share of neighbour entries, of addresses that no guest is known to have: the surplus is deleted, and new addresses are limited",
					"network", name, "ipv6", ipv6, "entries", entries, "limit", size)
			}
			g.over[name] = now
		}
		if err := errors.Join(g.limit(ctx, networks), g.Kernel.DeleteNeighbours(surplus)); err != nil {
			return err
		}
	}
	if len(g.over) > 0 {
		dropped, err := g.Firewall.Counted(ctx, firewall.NeighbourChain)
		if err != nil {
			return err
		}
		again := dropped != g.dropped
		g.dropped = dropped
		for name, last := range g.over {
			if again {
				g.over[name] = now
			} else if now.Sub(last) > floodedTime {
				delete(g.over, name)
				g.log.Info("network has no more than its share of neighbour entries", "network", name)
			}
		}
	}
	if err := g.limit(ctx, networks); err != nil {
		return err
	}
	var problem error
	if names := slices.Sorted(maps.Keys(g.over)); len(names) > 0 {
		problem = errors.New("too many neighbour entries of unknown addresses: the surplus is deleted: network " + strings.Join(names, ", "))
	}
	g.Report("neighbours", problem)
	return nil
}

// limit puts the limits of the networks that have more than their share into force.
func (g *neighbourGuard) limit(ctx context.Context, networks map[string]*netdrv.Network) error {
	if len(g.over) == 0 && !g.limited {
		return nil
	}
	var limits []firewall.NeighbourLimit
	members := g.Members()
	for _, bridge := range slices.Sorted(maps.Keys(networks)) {
		n := networks[bridge]
		if g.over[n.Name].IsZero() {
			continue
		}
		l := firewall.NeighbourLimit{Bridge: bridge, Known: g.knownOf(n).list}
		for _, m := range members {
			if m.Network == n.Name {
				l.Ports = append(l.Ports, m.Link)
			}
		}
		limits = append(limits, l)
	}
	g.limited = true
	if _, err := g.rules.restrict(ctx, func(p *firewall.Pressure) { p.Neighbours = limits }); err != nil {
		return err
	}
	g.limited = len(limits) > 0
	return nil
}

// knownOf returns the known addresses of a network, of which some may be missing that are
// new: such an entry is made again by the next packet.
func (g *neighbourGuard) knownOf(n *netdrv.Network) addresses {
	now := time.Now()
	if now.After(g.knownNext) {
		g.known = map[string]addresses{}
		g.knownNext = now.Add(knownTime)
	}
	bridge := n.Bridge.Name
	if _, read := g.known[bridge]; !read {
		set := g.knownAddresses(n)
		g.known[bridge] = addresses{set, slices.SortedFunc(maps.Keys(set), netip.Addr.Compare)}
		g.knownNext = g.knownNext.Add(time.Duration(float64(time.Since(now)) / knownShare))
	}
	return g.known[bridge]
}

// knownAddresses returns what the guests of a network have by lease, reservation or
// declaration, and what they make of their MACs.
func (e *Engine) knownAddresses(n *netdrv.Network) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	macs := map[netdrv.MAC]bool{}
	members := slices.DeleteFunc(e.ports.list(), func(m netdrv.Member) bool { return m.Network != n.Name })
	for _, p := range portsOf(e.derived.of(n).with, members, e.Leases.Addresses(n.Name)) {
		macs[p.MAC] = true
		for _, a := range p.Addresses {
			out[a] = true
		}
	}
	for _, p := range e.Store.PortsOf(n.Name) {
		macs[p.MAC] = true
		for _, a := range p.Addresses {
			out[a] = true
		}
	}
	for mac := range macs {
		out[mac.LinkLocal().Addr()] = true
		for i := range n.Subnets {
			if p := n.Subnets[i].Address; p.Addr().Is6() && p.Bits() == 64 {
				out[mac.In(p)] = true
			}
		}
	}
	return out
}
