package reconcile

import (
	"slices"
	"strings"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// repairs tells what a full look found changed by others and what is done about
// it: the plans of networks that stood as declared before.
func (r *round) repairs(plans []netdrv.Plan) {
	if !r.full {
		return
	}
	for _, p := range plans {
		if !r.stood(p.Network) {
			continue
		}
		var found, steps []string
		for _, s := range p.Steps {
			found, steps = append(found, netdrv.Found(s)), append(steps, s.String())
		}
		r.repaired(p.Network, leading(found), steps)
	}
}

// leading drops what follows from the first: a bridge that is gone has no
// addresses either.
func leading(found []string) string {
	if strings.HasPrefix(found[0], "link ") && strings.HasSuffix(found[0], " was gone") {
		return found[0]
	}
	return strings.Join(found, "; ")
}

// stood reports whether a network, or with "" any, was as declared after the
// last round.
func (r *round) stood(network string) bool {
	if network == "" {
		return slices.ContainsFunc(r.scope, r.wasReady)
	}
	if r.asked[network] {
		return false
	}
	i := slices.IndexFunc(r.scope, func(e store.Entry) bool { return e.Network.Name == network })
	return i >= 0 && r.wasReady(r.scope[i])
}

func (r *round) wasReady(e store.Entry) bool {
	s := r.Status(e.Network.Name)
	return e.Live && s.Phase == event.Ready && s.Revision == e.Revision
}

func (e *Engine) repaired(network, found string, steps []string) {
	e.count(func(t *Tally) { t.Repairs++ })
	e.log.Warn("found changed by others, and mended", "network", network, "found", found)
	if _, declared := e.Store.Get(network); !declared {
		network = ""
	}
	e.Events.Publish(event.Event{Kind: event.Repaired, About: network, Message: found, Steps: steps})
}
