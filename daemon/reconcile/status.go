package reconcile

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/wire"
)

// Phase is where a network is between what was asked for and what runs.
type Phase = vnetv1.Phase

// Status is what the last round found about a network.
type Status struct {
	Phase    Phase
	Reason   string // why it is degraded
	Revision int64  // of the definition that the round was about
	// Err is why the network is not as declared. It is nil where only something of the
	// host's keeps it from working.
	Err error
}

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
		s.Phase, s.Reason = vnetv1.Phase_PHASE_DEGRADED, err.Error()
	case entry.Live && hindered != nil:
		s.Phase, s.Reason = vnetv1.Phase_PHASE_DEGRADED, hindered.Error()
	case entry.Live:
		s.Phase = vnetv1.Phase_PHASE_READY
	default:
		s.Phase = vnetv1.Phase_PHASE_STOPPED
	}
	name := entry.Network.Name
	e.mu.Lock()
	was := e.status[name]
	e.status[name] = s
	e.retryLocked(name, err)
	e.mu.Unlock()
	if was.Phase != s.Phase || was.Reason != s.Reason {
		e.report(entry, s)
	}
}

func (e *Engine) report(entry store.Entry, s Status) {
	name := entry.Network.Name
	if s.Reason != "" {
		e.log.Warn("network degraded", "network", name, "err", s.Reason)
	} else {
		e.log.Info("network "+PhaseWord(s.Phase), "network", name)
	}
	if !e.Events.Watched() {
		return // a definition may be large
	}
	n := wire.ToNetwork(&entry.Network)
	n.Revision = entry.Revision
	n.Status = s.Proto()
	e.Events.Publish(&vnetv1.WatchResponse{
		Type: vnetv1.EventType_EVENT_TYPE_NETWORK_STATUS, Time: timestamppb.Now(), Network: n,
	})
}

// Proto is the status as the contract has it, without the count of leases.
func (s Status) Proto() *vnetv1.NetworkStatus {
	return &vnetv1.NetworkStatus{Phase: s.Phase, Reason: s.Reason, Revision: s.Revision}
}

// PhaseWord is a phase in lower case: "ready".
func PhaseWord(p Phase) string {
	switch p {
	case vnetv1.Phase_PHASE_READY:
		return "ready"
	case vnetv1.Phase_PHASE_STOPPED:
		return "stopped"
	case vnetv1.Phase_PHASE_DEGRADED:
		return "degraded"
	}
	return "pending"
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
