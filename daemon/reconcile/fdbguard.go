package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

const (
	fdbEvery = 250 * time.Millisecond
	// fdbStep is how many new entries there are between two looks at the databases.
	fdbStep = 512
	// fdbFull is the part of bridge.fdbMaxLearned above which the port with most entries
	// learns no more, if it has more than fdbShare of it.
	fdbFull  = 0.5
	fdbShare = 0.25
	// unlearnedTime is how long that lasts. It doubles each time until maxUnlearnedTime, and
	// starts over after as long without.
	unlearnedTime    = 10 * time.Second
	maxUnlearnedTime = 5 * time.Minute
)

// fdbGuard keeps a guest that invents MACs from filling the forwarding database of its
// bridge: once that is full, the bridge learns no new guest, and the daemon does not know which
// port a new guest's messages come from. The bridge stops learning behind the port that floods,
// which costs that port's guest alone: frames to it go to all ports.
type fdbGuard struct {
	*Engine
	growth uint64
	reset  bool // ports that an earlier daemon has left without learning learn again
	ports  map[int]*unlearned
}

// unlearned is a port that a bridge has stopped to learn behind.
type unlearned struct {
	network, link string
	period        time.Duration
	until         time.Time
	off           bool
}

// guardFDB runs until ctx ends, and leaves all ports learning.
func (e *Engine) guardFDB(ctx context.Context) {
	g := fdbGuard{Engine: e, ports: map[int]*unlearned{}}
	tick := time.NewTicker(fdbEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for port, u := range g.ports {
				if u.off {
					_ = e.Kernel.SetLearning(port, true) // else the next start does
				}
			}
			return
		case now := <-tick.C:
			if err := g.check(ctx, now); err != nil && ctx.Err() == nil {
				e.log.Warn("failed to limit learned MACs", "err", err)
			}
		}
	}
}

func (g *fdbGuard) check(ctx context.Context, now time.Time) (err error) {
	defer limit.RecoverAs(g.log, limit.Guests, &err)
	if !g.reset {
		limits := g.limits()
		g.reset = len(limits) > 0
		for _, m := range g.Members() {
			if limits[m.Network] > 0 && m.Bridge != "" {
				err = errors.Join(err, g.Kernel.SetLearning(m.Index, true))
			}
		}
	}
	changed := false
	for port, u := range g.ports {
		switch {
		case u.off && now.After(u.until):
			u.off, changed = false, true
			err = errors.Join(err, g.Kernel.SetLearning(port, true))
			g.log.Info("bridge learns MACs of the port again", "network", u.network, "link", u.link)
		case now.Sub(u.until) > maxUnlearnedTime:
			delete(g.ports, port)
		}
	}
	if growth := g.Kernel.FDBGrowth(); growth-g.growth >= fdbStep {
		g.growth = growth
		stopped, failed := g.stop(ctx, now)
		changed, err = changed || stopped, errors.Join(err, failed)
	}
	if changed {
		var names []string
		for _, u := range g.ports {
			if u.off {
				names = append(names, u.link)
			}
		}
		slices.Sort(names)
		var problem error
		if len(names) > 0 {
			problem = errors.New("too many MACs: the bridge learns none behind port " + strings.Join(names, ", "))
		}
		g.Report("learned MACs", problem)
	}
	return err
}

// limits returns how many MACs the bridges of networks that rules are in force for may learn.
func (g *fdbGuard) limits() map[string]int {
	out := map[string]int{}
	for _, n := range g.rules.list(func(n *netdrv.Network) bool { return n.Mode.OwnsBridge() }) {
		out[n.Name] = cmp.Or(n.Bridge.FDBMaxLearned, netdrv.DefaultFDBMaxLearned)
	}
	return out
}

// stop ends the learning behind the port with most entries of each bridge that is too full.
func (g *fdbGuard) stop(ctx context.Context, now time.Time) (stopped bool, err error) {
	entries, err := g.Kernel.FDBEntries(ctx)
	if err != nil {
		return false, err
	}
	count := map[int]int{}
	for _, e := range entries {
		count[e.Index]++
	}
	limits, total, largest := g.limits(), map[string]int{}, map[string]netdrv.Member{}
	for _, m := range g.Members() {
		total[m.Network] += count[m.Index]
		if count[m.Index] > count[largest[m.Network].Index] {
			largest[m.Network] = m
		}
	}
	for _, network := range slices.Sorted(maps.Keys(largest)) {
		m, most := largest[network], float64(limits[network])
		if most == 0 || float64(total[network]) < fdbFull*most || float64(count[m.Index]) < fdbShare*most {
			continue
		}
		u := g.ports[m.Index]
		if u == nil {
			u = &unlearned{network: network, link: m.Link, period: unlearnedTime / 2}
			g.ports[m.Index] = u
		}
		u.period = min(2*u.period, maxUnlearnedTime)
		u.until, u.off, stopped = now.Add(u.period), true, true
		err = errors.Join(err, g.Kernel.SetLearning(m.Index, false))
		g.log.Warn("port brings more MACs than its bridge can learn: the bridge learns none behind it", "network", network,
			"link", m.Link, "macs", count[m.Index], "limit", limits[network], "for", fmt.Sprint(u.period))
	}
	return stopped, err
}
