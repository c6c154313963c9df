package reconcile

import (
	"slices"
	"strings"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// reportRepairs reports the drift that a full round has found and repairs: the plans of
// networks that were as declared before.
func (r *round) reportRepairs(plans []netdrv.Plan) {
	if !r.full {
		return
	}
	wasReady := func(e store.Entry) bool {
		s := r.Status(e.Network.Name)
		return e.Live && s.Phase == event.Ready && s.Revision == e.Revision
	}
	for _, p := range plans {
		entry := r.scoped[p.Network]
		switch {
		case p.Network == "":
			if !slices.ContainsFunc(r.scope, wasReady) {
				continue
			}
		case r.asked[p.Network], entry == nil, !wasReady(*entry):
			continue
		}
		var found, steps []string
		for _, s := range p.Steps {
			found, steps = append(found, s.Cause()), append(steps, s.String())
		}
		what := strings.Join(found, "; ")
		if strings.HasPrefix(found[0], "link ") && strings.HasSuffix(found[0], " was gone") {
			what = found[0] // the rest follows from it
		}
		r.repaired(p.Network, what, steps)
	}
}

// reportFirewallRepair reports the external change that the last change of rules has reverted.
func (e *Engine) reportFirewallRepair() {
	if found, done := e.Firewall.Repaired(); found != "" {
		e.repaired("", "firewall: "+found, []string{"nftables: " + done})
	}
}

// repaired reports a repair.
func (e *Engine) repaired(network, found string, steps []string) {
	e.networks.count(func(s *Stats) { s.Repairs++ })
	e.log.Warn("external change repaired", "network", network, "found", found)
	if _, declared := e.Store.Get(network); !declared {
		network = ""
	}
	e.Events.Publish(event.Event{Kind: event.Repaired, About: network, Message: found, Steps: steps})
}
