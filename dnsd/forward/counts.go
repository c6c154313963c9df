package forward

import (
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dnsd/cache"
)

// Counts is what one upstream was asked, and how it answered, ever.
type Counts struct {
	Upstream string // address and port, and its name if it proves one
	Asked    uint64
	Replied  uint64
	Failed   uint64 // silence, or an error
	Rests    bool   // it is asked last, for it does not answer
}

// Counts returns those of the upstreams that are in use, sorted.
func (p *Pool) Counts() []Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Counts, 0, len(p.upstreams))
	for at, u := range p.upstreams {
		out = append(out, Counts{
			Upstream: at.String(), Asked: u.asked.Load(), Replied: u.replied.Load(), Failed: u.silent.Load(), Rests: u.rests(),
		})
	}
	slices.SortFunc(out, func(a, b Counts) int { return strings.Compare(a.Upstream, b.Upstream) })
	return out
}

// Cache returns what is in the cache.
func (p *Pool) Cache() cache.Size { return p.cache.Size() }
