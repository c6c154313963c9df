package cache

import (
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// overhead is about what an entry costs besides its key and message: itself,
// and its place in the map.
const overhead = 160

// A shard is one part of the cache: a map, and a ring in order of use.
type shard struct {
	maxEntries, maxBytes int

	mu      sync.Mutex
	entries map[string]*entry
	bytes   int
	ring    entry // ring.next was used last, ring.prev longest ago
}

type entry struct {
	prev, next *entry
	key        string
	msg        *wire.Message
	stored     time.Time
	size       int
}

func (s *shard) reset() {
	s.entries = map[string]*entry{}
	s.bytes = 0
	s.ring.prev, s.ring.next = &s.ring, &s.ring
}

func (s *shard) add(e *entry) {
	s.entries[e.key] = e
	s.bytes += e.size
	s.push(e)
	for s.bytes > s.maxBytes || len(s.entries) > s.maxEntries {
		s.remove(s.ring.prev)
	}
}

func (s *shard) remove(e *entry) {
	delete(s.entries, e.key)
	s.bytes -= e.size
	e.unlink()
}

func (s *shard) touch(e *entry) {
	if s.ring.next != e {
		e.unlink()
		s.push(e)
	}
}

func (s *shard) push(e *entry) {
	e.prev, e.next = &s.ring, s.ring.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}
