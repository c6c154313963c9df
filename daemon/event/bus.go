// Package event carries what happened from the parts of the daemon to whoever
// watches. Publishing never blocks and never fails: a watcher that falls behind
// is cut off and told so.
package event

import (
	"sync"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// backlog is how many events a watcher may be behind.
const backlog = 4096

// Bus is ready for use as its zero value.
type Bus struct {
	mu       sync.Mutex
	watchers map[*Watcher]struct{}
}

// Watcher receives events on C, in the order of publishing. C is closed when
// the watcher fell behind, or was closed.
type Watcher struct {
	C   <-chan *vnetv1.WatchResponse
	c   chan *vnetv1.WatchResponse
	bus *Bus
}

// Watch returns a watcher for all events from now on. Close it.
func (b *Bus) Watch() *Watcher {
	c := make(chan *vnetv1.WatchResponse, backlog)
	w := &Watcher{C: c, c: c, bus: b}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchers == nil {
		b.watchers = map[*Watcher]struct{}{}
	}
	b.watchers[w] = struct{}{}
	return w
}

// Close ends the watch; closing twice is no error.
func (w *Watcher) Close() {
	w.bus.mu.Lock()
	defer w.bus.mu.Unlock()
	w.bus.dropLocked(w)
}

func (b *Bus) dropLocked(w *Watcher) {
	if _, ok := b.watchers[w]; ok {
		delete(b.watchers, w)
		close(w.c)
	}
}

// Publish sends e to all watchers. e must not be changed afterwards.
func (b *Bus) Publish(e *vnetv1.WatchResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		select {
		case w.c <- e:
		default:
			b.dropLocked(w)
		}
	}
}

// Watched reports whether anybody watches, so that nothing need be made for
// nobody.
func (b *Bus) Watched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers) > 0
}
