package reconcile

import "time"

const (
	// settle is how long a burst of notifications may last before it is looked at.
	settle = 20 * time.Millisecond
	// atOnce is what may be spent on looks that follow each other: what happens on a
	// calm host is answered at once.
	atOnce = 100 * time.Millisecond
	// share of the time is for looks, and no more, however much happens.
	share   = 30
	longest = time.Second
)

// A pace spaces looks that notifications ask for by what they cost.
type pace struct {
	spent time.Duration // and not made up for by share
	as    time.Time     // of then
}

// spend notes a look that has ended.
func (p *pace) spend(took time.Duration, now time.Time) {
	p.spent, p.as = p.left(now)+took, now
}

// left is what is not made up for by now.
func (p *pace) left(now time.Time) time.Duration {
	return max(0, p.spent-now.Sub(p.as)/share)
}

// wait is how long after a notification the next look is due.
func (p *pace) wait(now time.Time) time.Duration {
	return min(max(settle, share*(p.left(now)-atOnce)), longest)
}
