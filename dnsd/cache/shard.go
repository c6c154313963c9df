package cache

import (
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// overhead is about what an entry costs besides its key and message: itself,
// and its place in the map.
const overhead = 200

// A shard is one part of the cache: a map, and two rings in order of use. What
// is new is on trial; what is asked for again is kept, and has most of the room.
// So a client that asks for a million names pushes out nobody's but its own.
type shard struct {
	maxEntries, maxBytes int

	mu      sync.Mutex
	entries map[place]*entry
	trial   ring
	kept    ring
}

type place struct {
	owner uint32
	key   string
}

// A ring holds entries from the one that was used last to the one that was
// used longest ago.
type ring struct {
	head  entry // head.next was used last
	bytes int
}

type entry struct {
	prev, next *entry
	ring       *ring
	place      place
	msg        *wire.Message
	stored     time.Time
	size       int
	refreshed  bool      // it was asked for again
	retry      time.Time // when a stale one is asked for again
}

func (s *shard) reset() {
	s.entries = map[place]*entry{}
	for _, r := range []*ring{&s.trial, &s.kept} {
		r.bytes = 0
		r.head.prev, r.head.next = &r.head, &r.head
	}
}

func (s *shard) add(e *entry, to *ring) {
	s.entries[e.place] = e
	to.push(e)
	s.shrink()
}

// shrink keeps the bounds: the oldest on trial go first, unless what is kept
// has more than its share.
func (s *shard) shrink() {
	for s.trial.bytes+s.kept.bytes > s.maxBytes || len(s.entries) > s.maxEntries {
		from := &s.trial
		if from.empty() || s.kept.bytes > s.maxBytes/4*3 {
			from = &s.kept
		}
		s.remove(from.head.prev)
	}
}

func (s *shard) remove(e *entry) {
	delete(s.entries, e.place)
	e.unlink()
}

// touch notes a use: from trial to kept, from there to the front.
func (s *shard) touch(e *entry) {
	if s.kept.head.next != e {
		e.unlink()
		s.kept.push(e)
	}
}

func (r *ring) empty() bool { return r.head.prev == &r.head }

func (r *ring) push(e *entry) {
	e.ring = r
	r.bytes += e.size
	e.prev, e.next = &r.head, r.head.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry) unlink() {
	e.ring.bytes -= e.size
	e.prev.next, e.next.prev = e.next, e.prev
}
