package reconcile

import (
	"sync"
	"time"
)

// work is what the next round is about.
type work struct {
	full  bool
	names map[string]bool
	done  []chan struct{}
}

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// retry is the next attempt at a network that failed.
type retry struct {
	delay time.Duration
	timer *time.Timer
}

// A queue collects requests for rounds.
type queue struct {
	wake chan struct{} // has one element if work is pending

	mu       sync.Mutex
	pending  work
	notified *time.Timer // adds the full round that a notification requested
	throttle throttle
	retries  map[string]*retry
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), retries: map[string]*retry{}}
}

// add requests a round about networks, about all if there is none, and closes done after it.
func (q *queue) add(names []string, done chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending.names == nil {
		q.pending.names = map[string]bool{}
	}
	q.pending.full = q.pending.full || len(names) == 0
	for _, n := range names {
		q.pending.names[n] = true
	}
	if done != nil {
		q.pending.done = append(q.pending.done, done)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// addNotified is add; the channel that it returns is closed after the round.
func (q *queue) addNotified(names []string) <-chan struct{} {
	done := make(chan struct{})
	q.add(names, done)
	return done
}

// notice requests a full round as soon as the throttle allows it.
func (q *queue) notice() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.notified == nil {
		q.notified = time.AfterFunc(q.throttle.wait(time.Now()), func() { q.add(nil, nil) })
	}
}

// take returns the pending work.
func (q *queue) take() work {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.pending
	q.pending = work{}
	if w.full && q.notified != nil {
		q.notified.Stop()
		q.notified = nil
	}
	return w
}

// spend charges a full round to the throttle.
func (q *queue) spend(took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.throttle.spend(took, time.Now())
}

// retry requests further rounds about a network that failed, with back-off; with a nil err
// it ends them.
func (q *queue) retry(name string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.retries[name]
	if r != nil {
		r.timer.Stop()
	}
	if delete(q.retries, name); err == nil {
		return
	}
	next := &retry{delay: firstRetry}
	if r != nil {
		next.delay = min(2*r.delay, lastRetry)
	}
	next.timer = time.AfterFunc(next.delay, func() { q.add([]string{name}, nil) })
	q.retries[name] = next
}

// stop stops the timers.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.notified != nil {
		q.notified.Stop()
	}
	for _, r := range q.retries {
		r.timer.Stop()
	}
}
