// Package cache keeps upstream's replies for as long as their TTLs say, within
// bounds of number and memory. Many owners share it; none sees what is another's.
//
// It goes by the whole question (name, type, DO, CD: [wire.Query.Key]) and keeps
// whole replies. Records out of one reply never answer another question, so a
// reply cannot poison names that nobody asked it for.
//
// What is asked for again while less than a tenth of its life is left is to be
// refreshed, so that hot names are never waited for. What is past its life
// stays for [StaleLife], if there is room: stale is better than nothing when no
// upstream answers (RFC 8767).
//
// The clock is the caller's. A hit allocates nothing.
package cache

import (
	"hash/maphash"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

const (
	// StaleLife is how long a reply can stand in after its end (RFC 8767 §5: one
	// to three days).
	StaleLife = 24 * time.Hour

	// RetryTime is how long a stale reply is given out at once, after upstreams
	// have failed (the failure recheck timer of RFC 8767 §5).
	RetryTime = 30 * time.Second

	shards       = 16               // more than the cores that guests will ever keep busy
	refreshPart  = 10               // the last tenth of a life
	refreshLeast = 10 * time.Second // shorter lives are not worth it
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
		s.maxEntries, s.maxBytes = max(entries/shards, 1), bytes/shards
		s.reset()
	}
	return c
}

// A Hit is what Get found.
type Hit struct {
	Message *wire.Message // nil: nothing
	Age     uint32        // seconds
	Refresh bool          // it should be asked for again; said once
	Stale   bool          // it is past its life, and upstreams failed a short while ago
}

// Get returns the reply to an owner's key.
func (c *Cache) Get(owner uint32, key []byte, now time.Time) Hit {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(owner, key, now)
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
	again := e.ring == &s.kept
	s.touch(e)
	hit := Hit{Message: e.msg, Age: uint32(max(since, 0) / time.Second)}
	hit.Refresh = again && !e.refreshed && life >= refreshLeast && life-since < life/refreshPart
	e.refreshed = e.refreshed || hit.Refresh
	return hit
}

// Stale returns the reply to a key although its life may be over, or nil.
func (c *Cache) Stale(owner uint32, key []byte, now time.Time) *wire.Message {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(owner, key, now); e != nil && e.msg.MayServeStale() {
		return e.msg
	}
	return nil
}

// Keep has Get give out the stale reply to a key for RetryTime.
func (c *Cache) Keep(owner uint32, key []byte, now time.Time) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(owner, key, now); e != nil {
		e.retry = now.Add(RetryTime)
	}
}

// Put keeps a reply for its Life, and nothing if that is 0 or if the reply would
// take more than its share of the memory.
func (c *Cache) Put(owner uint32, key []byte, m *wire.Message, now time.Time) {
	s := c.shard(key)
	size := m.Size() + len(key) + overhead
	if m.Life() <= 0 || size > s.maxBytes/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := &s.trial
	if old := s.entries[place{owner, string(key)}]; old != nil {
		to = old.ring
		s.remove(old)
	}
	s.add(&entry{place: place{owner, string(key)}, msg: m, stored: now, size: size}, to)
}

// Size is what a cache holds, in replies and about in bytes.
type Size struct{ Entries, Bytes int }

// Size returns what is held, stale replies included.
func (c *Cache) Size() (out Size) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		out.Entries += len(s.entries)
		out.Bytes += s.trial.bytes + s.kept.bytes
		s.mu.Unlock()
	}
	return out
}

// Len returns how many replies are held, stale ones included.
func (c *Cache) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// find returns the entry of a key, and drops it if it is past its use.
func (s *shard) find(owner uint32, key []byte, now time.Time) *entry {
	e := s.entries[place{owner, string(key)}]
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

func (c *Cache) shard(key []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, key)%shards]
}
