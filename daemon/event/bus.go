// Package event carries events of networks, ports and leases from the parts of the
// daemon to watchers. Publishing does not block: a watcher that falls behind is closed.
package event

import (
	"sync"
	"time"
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
	C   <-chan Event
	c   chan Event
	bus *Bus
}

// Watch returns a watcher for all events from now on. Close it.
func (b *Bus) Watch() *Watcher {
	c := make(chan Event, backlog)
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

// Publish sends e to all watchers, with the current time.
func (b *Bus) Publish(e Event) {
	e.Time = time.Now()
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

// Watched reports whether the bus has watchers.
func (b *Bus) Watched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers) > 0
}
