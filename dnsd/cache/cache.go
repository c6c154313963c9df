// Package cache keeps upstream's replies for as long as their TTLs say, within
// bounds of number and memory, and gives up the least recently used first.
//
// It goes by the whole question (name, type, DO, CD: [wire.Query.Key]) and keeps
// whole replies. Records out of one reply never answer another question, so a
// reply cannot poison names that nobody asked it for.
//
// The clock is the caller's. A hit allocates nothing. What is stale is dropped
// when it is met; keeping it for a while (RFC 8767), or asking again before it
// goes stale, would begin in Get.
package cache

import (
	"hash/maphash"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

const shards = 16 // more than the cores that one network's guests will ever keep busy

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

// Get returns the reply to a key and its age in whole seconds, or nil.
func (c *Cache) Get(key []byte, now time.Time) (m *wire.Message, age uint32) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[string(key)]
	if e == nil {
		return nil, 0
	}
	since := now.Sub(e.stored)
	if since >= e.msg.Life() {
		s.remove(e)
		return nil, 0
	}
	s.touch(e)
	return e.msg, uint32(max(since, 0) / time.Second)
}

// Put keeps a reply for its Life, and nothing if that is 0 or if the reply would
// take more than its share of the memory.
func (c *Cache) Put(key []byte, m *wire.Message, now time.Time) {
	s := c.shard(key)
	size := m.Size() + len(key) + overhead
	if m.Life() <= 0 || size > s.maxBytes/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[string(key)]; old != nil {
		s.remove(old)
	}
	s.add(&entry{key: string(key), msg: m, stored: now, size: size})
}

// Clear forgets everything.
func (c *Cache) Clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.reset()
		s.mu.Unlock()
	}
}

// Len returns how many replies are held, stale ones that nobody met included.
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

func (c *Cache) shard(key []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, key)%shards]
}
