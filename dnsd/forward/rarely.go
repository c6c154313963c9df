package forward

import (
	"sync/atomic"
	"time"
)

// A Rarely lets through one message in ten seconds: about what guests or strangers
// can bring about as often as they like.
type Rarely struct{ next atomic.Int64 }

// OK reports whether a message may be said now. It may be called from anywhere.
func (r *Rarely) OK(now time.Time) bool {
	next := r.next.Load()
	return now.UnixNano() >= next && r.next.CompareAndSwap(next, now.Add(10*time.Second).UnixNano())
}
