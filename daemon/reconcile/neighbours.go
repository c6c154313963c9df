package reconcile

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

const (
	// neighboursEvery is how often the number of neighbours is read, and floodedEvery that
	// within floodedTime after a network had more than its share.
	neighboursEvery = 250 * time.Millisecond
	floodedEvery    = 50 * time.Millisecond
	floodedTime     = 10 * time.Second
	// neighboursFull is the part of the neighbour table above which networks are limited to
	// their shares.
	neighboursFull = 0.5
)

// neighbourGuard keeps the guests of one network from filling the neighbour table, which the
// networks share with the host, by packets from or to invented addresses. Until the table is
// half full nothing is done. Rules could not do it: packets of ARP make entries, too, before
// any rule of table inet.
type neighbourGuard struct {
	*Engine
	over map[string]time.Time // when networks had more than their share, of late
	next [2]time.Time         // of the earliest next list of a family
}

// guardNeighbours runs until ctx ends.
func (e *Engine) guardNeighbours(ctx context.Context) {
	g := neighbourGuard{Engine: e, over: map[string]time.Time{}}
	tick := time.NewTimer(neighboursEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := g.check(now); err != nil && ctx.Err() == nil {
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

// check deletes the surplus entries of networks that have more than their share.
func (g *neighbourGuard) check(now time.Time) (err error) {
	defer limit.RecoverAs(g.log, limit.Guests, &err)
	for i, ipv6 := range []bool{false, true} {
		entries, size, err := g.Kernel.NeighbourTable(ipv6)
		if err != nil {
			return err
		}
		full := float64(entries) > neighboursFull*float64(size) && !now.Before(g.next[i])
		if !full && len(g.over) == 0 {
			continue
		}
		networks := map[string]*netdrv.Network{} // by bridge
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
		known := map[string]map[netip.Addr]bool{}
		over, surplus := netdrv.SurplusNeighbours(list, func(bridge string, a netip.Addr) bool {
			if known[bridge] == nil {
				known[bridge] = g.knownAddresses(networks[bridge])
			}
			return known[bridge][a]
		}, flooded, size)
		if len(surplus) == 0 { // the entries are the host's own
			g.next[i] = time.Now().Add(time.Duration(float64(time.Since(now)) / listingShare))
			continue
		}
		if err := g.Kernel.DeleteNeighbours(surplus); err != nil {
			return err
		}
		for _, bridge := range over {
			name := networks[bridge].Name
			if _, again := g.over[name]; !again {
				g.log.Warn("network has more than its share of neighbour entries, of addresses that no guest is known to have: the surplus is deleted",
					"network", name, "ipv6", ipv6, "entries", entries, "limit", size)
			}
			g.over[name] = now
		}
	}
	var names []string
	for name, last := range g.over {
		if now.Sub(last) > floodedTime {
			delete(g.over, name)
			g.log.Info("network has no more than its share of neighbour entries", "network", name)
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	var problem error
	if len(names) > 0 {
		problem = errors.New("too many neighbour entries of unknown addresses: the surplus is deleted: network " + strings.Join(names, ", "))
	}
	g.Report("neighbours", problem)
	return nil
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
