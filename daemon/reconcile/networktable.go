package reconcile

import (
	"maps"
	"sync"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
)

// Status is the result of a network's last reconciliation.
type Status = event.Status

// Stats counts what the loop has done since it started.
type Stats struct {
	Full, Named    uint64 // rounds about all networks, and about named ones
	Took           time.Duration
	Steps, Repairs uint64
}

// A networkTable has the results of rounds.
type networkTable struct {
	mu       sync.Mutex
	status   map[string]Status
	bridges  map[string]string // of each network, as of its last round
	problems map[string]error  // that concern no single network
	stats    Stats
}

func (t *networkTable) count(add func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add(&t.stats)
}

// Stats returns what the loop has done so far.
func (e *Engine) Stats() Stats {
	e.networks.mu.Lock()
	defer e.networks.mu.Unlock()
	return e.networks.stats
}

// Status returns what is known about a network.
func (e *Engine) Status(name string) Status {
	e.networks.mu.Lock()
	defer e.networks.mu.Unlock()
	return e.networks.status[name]
}

// Problems returns the problems that concern no single network.
func (e *Engine) Problems() map[string]error {
	e.networks.mu.Lock()
	defer e.networks.mu.Unlock()
	return maps.Clone(e.networks.problems)
}

// Report sets the problem of a part of the daemon, or with nil removes it.
func (e *Engine) Report(part string, err error) { e.networks.report(part, err) }

func (t *networkTable) report(part string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if delete(t.problems, part); err != nil {
		t.problems[part] = err
	}
}

// conclude records and publishes the result of a round for a network, and requests another
// attempt if it failed.
func (e *Engine) conclude(entry store.Entry, err, hindered error) {
	s := Status{Revision: entry.Revision, Err: err}
	switch {
	case err != nil:
		s.Phase, s.Reason = event.Degraded, err.Error()
	case entry.Live && hindered != nil:
		s.Phase, s.Reason = event.Degraded, hindered.Error()
	case entry.Live:
		s.Phase = event.Ready
	default:
		s.Phase = event.Stopped
	}
	name, t := entry.Network.Name, e.networks
	t.mu.Lock()
	was := t.status[name]
	t.status[name], t.bridges[name] = s, entry.Network.Bridge.Name
	t.mu.Unlock()
	e.queue.retry(name, err)
	if was.Phase == s.Phase && was.Reason == s.Reason {
		return
	}
	if s.Reason != "" {
		e.log.Warn("network degraded", "network", name, "err", s.Reason)
	} else {
		e.log.Info("network "+s.Phase.String(), "network", name)
	}
	e.Events.Publish(event.Event{Kind: event.NetworkStatus, About: name, Network: &event.Network{
		Network: &entry.Network, Revision: entry.Revision, Active: entry.Live, Status: s,
	}})
}

// forget drops what is known about a deleted network.
func (e *Engine) forget(name string) {
	e.queue.retry(name, nil)
	e.derived.forget(name)
	e.networks.mu.Lock()
	defer e.networks.mu.Unlock()
	delete(e.networks.status, name)
	delete(e.networks.bridges, name)
}
