package lease

import "sync"

// Kind is a kind of event.
type Kind uint8

// The kinds of event.
const (
	Bound       Kind = iota + 1 // a client got an address that it did not hold
	Renewed                     // it was extended, or its hostname changed
	Released                    // by the client or an administrator, or for a reservation
	Expired                     // it was not extended in time
	Declined                    // the address was found in use by another host
	NameRefused                 // the client did not get the hostname that it asked for, which is in Wanted
)

func (k Kind) String() string {
	switch k {
	case Bound:
		return "bound"
	case Renewed:
		return "renewed"
	case Released:
		return "released"
	case Expired:
		return "expired"
	case Declined:
		return "declined"
	case NameRefused:
		return "name refused"
	}
	return "unknown"
}

// An Event is a change of one lease, published after it was stored.
type Event struct {
	Kind  Kind
	Lease Lease

	// Missed counts the events that this watcher lost directly before
	// this one, because its buffer was full. It should list again.
	Missed int
}

type watchers struct {
	mu  sync.Mutex
	all map[*watcher]bool
}

type watcher struct {
	events chan Event
	missed int
}

// Watch returns a channel of events from now on, and a function that ends
// the watch and closes the channel; call it once. The channel buffers size
// events. A watcher that does not keep up loses the newest ones and learns how
// many from [Event.Missed]; no change waits for it.
func (t *Table) Watch(size int) (<-chan Event, func()) {
	w := &watcher{events: make(chan Event, max(size, 1))}
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	t.watch.all[w] = true
	return w.events, func() {
		t.watch.mu.Lock()
		defer t.watch.mu.Unlock()
		if t.watch.all[w] {
			delete(t.watch.all, w)
			close(w.events)
		}
	}
}

func (ws *watchers) publish(ev Event) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		ev.Missed = w.missed
		select {
		case w.events <- ev:
			w.missed = 0
		default:
			w.missed++
		}
	}
}
