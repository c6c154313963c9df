package reconcile

import "time"

const (
	// settle is the time in which a burst of notifications is collected.
	settle = 20 * time.Millisecond
	// burst is the time that rounds in a row may take before they are delayed.
	burst = 100 * time.Millisecond
	// share is the inverse of the part of the time that rounds may take after that.
	share   = 30
	longest = time.Second
)

// A throttle limits the rate of full rounds by the time that they take.
type throttle struct {
	spent time.Duration // not recovered yet, as of at
	at    time.Time
}

// spend charges a round that has ended.
func (t *throttle) spend(took time.Duration, now time.Time) {
	t.spent, t.at = t.left(now)+took, now
}

// left is what is not recovered by now.
func (t *throttle) left(now time.Time) time.Duration {
	return max(0, t.spent-now.Sub(t.at)/share)
}

// wait returns the delay from a notification to its round.
func (t *throttle) wait(now time.Time) time.Duration {
	return min(max(settle, share*(t.left(now)-burst)), longest)
}
