// Package cache stores upstream's replies for their TTLs, within
// limits of number and memory. Owners share it, each with entries of its own.
//
// The key is the whole question (name, type, DO, CD: [wire.Query.Key]), the value the
// whole reply. Records of one reply never answer another question, so a
// reply cannot poison other names.
//
// An entry that is hit in the last tenth of its life is
// refreshed, so that popular names are always cached. Stale entries
// stay for [StaleLife], if there is room: they are used when no
// upstream answers (RFC 8767).
//
// The clock is the caller's. A hit allocates nothing.
package cache

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

const (
	// StaleLife is how long a stale reply can be used (RFC 8767 §5: one
	// to three days).
	StaleLife = 24 * time.Hour

	// RetryTime is how long a stale reply is used at once, after upstreams
	// have failed (the failure recheck timer of RFC 8767 §5).
	RetryTime = 30 * time.Second

	shards       = 16               // more than the cores that guests keep busy
	refreshPart  = 10               // the last tenth of a life
	refreshLeast = 10 * time.Second // entries with a shorter life are not refreshed
)

// A Cache is safe for many goroutines. Get one from New.
type Cache struct {
	seed   maphash.Seed
	shards [shards]shard
}

// New returns a cache that holds at most entries replies and about bytes of
// memory, whichever is reached first.
func New(entries, bytes int) *Cache {
	c := &Cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		s := &c.shards[i]
		s.maxEntries, s.maxBytes, s.entries = max(entries/shards, 1), bytes/shards, map[key]*entry{}
		for _, r := range []*ring{&s.probation, &s.protected} {
			r.head.prev, r.head.next = &r.head, &r.head
		}
	}
	return c
}

// A Hit is the result of Get.
type Hit struct {
	Message *wire.Message // nil: a miss
	Age     uint32        // seconds
	Refresh bool          // it should be refreshed; returned once
	Stale   bool          // it is past its life, and upstreams have failed less than RetryTime ago
}

// Get returns the reply to an owner's key.
func (c *Cache) Get(owner uint32, name []byte, now time.Time) Hit {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(owner, name, now)
	if e == nil {
		return Hit{}
	}
	since, life := now.Sub(e.stored), e.msg.Life()
	if since >= life {
		if now.Before(e.retry) {
			return Hit{Message: e.msg, Stale: true}
		}
		return Hit{}
	}
	again := e.ring == &s.protected
	if s.protected.head.next != e {
		e.unlink()
		s.protected.push(e)
	}
	hit := Hit{Message: e.msg, Age: uint32(max(since, 0) / time.Second)}
	hit.Refresh = again && !e.refreshed && life >= refreshLeast && life-since < life/refreshPart
	e.refreshed = e.refreshed || hit.Refresh
	return hit
}

// Stale returns the reply to a key although its life may be over, or nil.
func (c *Cache) Stale(owner uint32, name []byte, now time.Time) *wire.Message {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(owner, name, now); e != nil && e.msg.MayServeStale() {
		return e.msg
	}
	return nil
}

// Keep has Get return the stale reply to a key for RetryTime.
func (c *Cache) Keep(owner uint32, name []byte, now time.Time) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(owner, name, now); e != nil {
		e.retry = now.Add(RetryTime)
	}
}

// Put stores a reply for its Life, unless that is 0 or the reply is too large.
func (c *Cache) Put(owner uint32, name []byte, m *wire.Message, now time.Time) {
	s := c.shard(name)
	size := m.Size() + len(name) + overhead
	if m.Life() <= 0 || size > s.maxBytes/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to, k := &s.probation, key{owner, string(name)}
	if old := s.entries[k]; old != nil {
		to = old.ring
		s.remove(old)
	}
	e := &entry{key: k, msg: m, stored: now, size: size}
	s.entries[k] = e
	to.push(e)
	for s.probation.bytes+s.protected.bytes > s.maxBytes || len(s.entries) > s.maxEntries {
		from := &s.probation // the least recently used of it, unless the other one has more than its share
		if from.head.prev == &from.head || s.protected.bytes > s.maxBytes/4*3 {
			from = &s.protected
		}
		s.remove(from.head.prev)
	}
}

// Size is the size of a cache, stale replies included; bytes are approximate.
type Size struct{ Entries, Bytes int }

// Size returns the size of the cache.
func (c *Cache) Size() (out Size) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		out.Entries += len(s.entries)
		out.Bytes += s.probation.bytes + s.protected.bytes
		s.mu.Unlock()
	}
	return out
}

// find returns the entry of a key, and removes it if it is too stale.
func (s *shard) find(owner uint32, name []byte, now time.Time) *entry {
	e := s.entries[key{owner, string(name)}]
	if e == nil {
		return nil
	}
	life := e.msg.Life()
	if e.msg.MayServeStale() {
		life += StaleLife
	}
	if now.Sub(e.stored) >= life {
		s.remove(e)
		return nil
	}
	return e
}

func (c *Cache) shard(name []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, name)%shards]
}

// overhead is about the size of an entry besides its key and message.
const overhead = 200

// A shard is one part of the cache: a segmented LRU. New entries are on probation; those that
// are hit again are protected, and have most of the room.
// So a client that asks for a million names evicts its own only.
type shard struct {
	maxEntries, maxBytes int

	mu                   sync.Mutex
	entries              map[key]*entry
	probation, protected ring
}

type key struct {
	owner uint32
	name  string
}

// A ring has entries from the most to the least recently used.
type ring struct {
	head  entry // head.next is the most recently used
	bytes int
}

type entry struct {
	prev, next *entry
	ring       *ring
	key        key
	msg        *wire.Message
	stored     time.Time
	size       int
	refreshed  bool
	retry      time.Time // until then a stale one is used at once
}

func (s *shard) remove(e *entry) {
	delete(s.entries, e.key)
	e.unlink()
}

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
