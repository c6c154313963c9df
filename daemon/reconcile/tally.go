package reconcile

import "time"

// Tally is what the loop has done since it started.
type Tally struct {
	Full, Named    uint64 // rounds over everything, and over what was named
	Took           time.Duration
	Steps, Repairs uint64
}

// Tally returns what the loop has done so far.
func (e *Engine) Tally() Tally {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tally
}

func (e *Engine) count(add func(*Tally)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	add(&e.tally)
}
