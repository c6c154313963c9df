package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

const (
	// conntrackEvery is how often the number of tracked connections is read.
	conntrackEvery = time.Second
	// conntrackFull is the part of the table above which networks are limited to
	// their shares.
	conntrackFull = 0.75
	// closedTime is how long a network begins no connections that is above its share
	// again within twice that time.
	closedTime = 10 * time.Second
	// listingShare: listing the table takes at most this part of the time while
	// listing it helps nothing, because others than guests fill it.
	listingShare = 0.05
)

// conntrackGuard keeps the guests of one network from filling the table of tracked
// connections, which the networks share with the host. Until the table is nearly full,
// nothing is asked of any packet.
type conntrackGuard struct {
	*Engine
	over   map[string]time.Time // when networks were last above their share
	closed map[string]time.Time // networks that are closed for new connections, until then
	strict time.Time            // the end of the check of sources
	next   time.Time            // the earliest next listing
}

// guardConntrack runs until ctx ends, and leaves no network closed.
func (e *Engine) guardConntrack(ctx context.Context) {
	g := conntrackGuard{Engine: e, over: map[string]time.Time{}, closed: map[string]time.Time{}}
	tick := time.NewTicker(conntrackEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), conntrackEvery)
			defer cancel()
			if err := e.rules.limitConnections(ctx, false, nil); err != nil {
				e.log.Warn("networks stay closed for new connections until the next start", "err", err)
			}
			return
		case now := <-tick.C:
			if !e.rules.tracks.Load() && len(g.closed) == 0 && now.After(g.strict) {
				continue
			}
			if err := g.check(ctx, now); err != nil && ctx.Err() == nil {
				e.log.Warn("failed to limit tracked connections", "err", err)
			}
		}
	}
}

// check closes networks that are above their share, ends the surplus of their connections,
// and opens networks that have been closed long enough: for a flood that is closedTime, for
// connections that add up over minutes no longer than it takes to end the surplus.
func (g *conntrackGuard) check(ctx context.Context, now time.Time) (err error) {
	defer limit.RecoverAs(g.log, limit.Guests, &err)
	const count, size = "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"
	values, err := g.Kernel.Sysctls([]string{count, size})
	if err != nil {
		return fmt.Errorf("read the number of tracked connections: %w", err)
	}
	used, _ := strconv.Atoi(values[count]) // "" where no module tracks any
	slots, _ := strconv.Atoi(values[size]) // 0 is no limit
	full := slots > 0 && float64(used) > conntrackFull*float64(slots)
	if !full && len(g.closed) == 0 && now.After(g.strict) {
		return g.rules.limitConnections(ctx, false, nil)
	}
	var over []string
	var excess map[netip.Addr]int
	var owners netdrv.FlowOwners
	if full {
		g.strict = now.Add(closedTime)
	}
	if full && now.After(g.next) {
		networks := g.rules.list(firewall.Tracked)
		host := g.Host()
		owners = netdrv.NewFlowOwners(networks, host.Addresses())
		flows, err := g.Kernel.CountFlows(owners)
		if err != nil {
			return err
		}
		if over, excess = owners.Excess(flows, slots); len(over) == 0 {
			g.next = time.Now().Add(time.Duration(float64(time.Since(now)) / listingShare))
		}
	}
	maps.DeleteFunc(g.over, func(_ string, last time.Time) bool { return now.Sub(last) > 2*closedTime })
	for _, name := range over {
		period := conntrackEvery // while the surplus ends
		if _, again := g.over[name]; again {
			period = closedTime
		}
		if g.closed[name].IsZero() || period == closedTime {
			g.log.Warn("network closed for new connections: it has more than its share of tracked connections",
				"network", name, "tracked", used, "limit", slots, "for", period)
		}
		g.over[name], g.closed[name] = now, now.Add(period)
	}
	var closed []string
	for name, until := range g.closed {
		if now.Before(until) {
			closed = append(closed, name)
			continue
		}
		delete(g.closed, name)
		g.log.Info("network open for new connections", "network", name)
	}
	slices.Sort(closed)
	if err := g.rules.limitConnections(ctx, now.Before(g.strict), closed); err != nil || len(over) == 0 {
		return err
	}
	return g.Kernel.EndFlows(owners, excess)
}
