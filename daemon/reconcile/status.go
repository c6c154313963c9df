package reconcile

import (
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
)

// Status is the result of a network's last reconciliation.
type Status = event.Status

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// retry is the next try at a network that failed.
type retry struct {
	delay time.Duration
	timer *time.Timer
}

// conclude notes how the round went for a network, tells the watchers, and sees
// to another try if it failed.
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
	name := entry.Network.Name
	e.mu.Lock()
	was := e.status[name]
	e.status[name] = s
	e.retryLocked(name, err)
	e.mu.Unlock()
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

// retryLocked tries a network again later and later while it fails.
func (e *Engine) retryLocked(name string, err error) {
	r := e.retries[name]
	if r != nil {
		r.timer.Stop()
	}
	if err == nil {
		delete(e.retries, name)
		return
	}
	next := &retry{delay: firstRetry}
	if r != nil {
		next.delay = min(2*r.delay, lastRetry)
	}
	next.timer = time.AfterFunc(next.delay, func() { e.enqueue([]string{name}, nil) })
	e.retries[name] = next
}

// forget drops what is known about a network that is no more.
func (e *Engine) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.retries[name]; r != nil {
		r.timer.Stop()
	}
	delete(e.retries, name)
	delete(e.status, name)
	delete(e.bridges, name)
	e.derivedMu.Lock()
	defer e.derivedMu.Unlock()
	delete(e.derived, name)
}
