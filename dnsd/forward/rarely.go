package forward

import (
	"sync/atomic"
	"time"
)

// rarely lets through one message in ten seconds: about what guests or strangers
// can bring about as often as they like.
type rarely struct{ next atomic.Int64 }

func (r *rarely) ok(now time.Time) bool {
	next := r.next.Load()
	return now.UnixNano() >= next && r.next.CompareAndSwap(next, now.Add(10*time.Second).UnixNano())
}
