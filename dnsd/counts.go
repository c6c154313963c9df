package dnsd

import (
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/cache"
	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/wire"
)

// An Outcome is what was done about a query.
type Outcome uint8

// The outcomes.
const (
	Malformed Outcome = iota // no query, or one that cannot be read
	Own                      // answered from the network's names, or from those that the RFCs keep local
	Cached                   // answered with what an upstream said before
	Forwarded                // an upstream is asked, or another's question waited for with
	Refused                  // neither ours nor to be forwarded
	Busy                     // too much under way, or too much of this client
	Failed                   // there is no upstream that could be asked, or this is our own query come back
	Unheard                  // a client of many packets, when packets piled up
	outcomes  = int(Unheard) + 1
)

// codes is how many there are without EDNS.
const codes = 16

var outcomeText = [outcomes]string{"malformed", "own", "cached", "forwarded", "refused", "busy", "failed", "unheard"}

func (o Outcome) String() string { return outcomeText[o] }

// Counts is what was asked on a network since it is served, and how it was answered.
type Counts struct {
	Queries [outcomes]uint64 // by Outcome
	Replies [codes]uint64    // by code (RFC 1035 section 4.1.1), sent
}

// CodeText is what a code of Counts.Replies is called: NOERROR, NXDOMAIN, ...
func CodeText(code int) string {
	if text, ok := dns.RcodeToString[code]; ok {
		return text
	}
	return strconv.Itoa(code)
}

// counts are those of a network as they grow. A nil one counts nothing.
type counts struct {
	queries [outcomes]atomic.Uint64
	replies [codes]atomic.Uint64
}

func (c *counts) query(o Outcome) {
	if c != nil {
		c.queries[o].Add(1)
	}
}

// reply counts a message by its code.
func (c *counts) reply(msg []byte) {
	if len(msg) >= wire.HeaderLen {
		c.replies[msg[3]&(codes-1)].Add(1)
	}
}

func (c *counts) read() (out Counts) {
	for i := range c.queries {
		out.Queries[i] = c.queries[i].Load()
	}
	for i := range c.replies {
		out.Replies[i] = c.replies[i].Load()
	}
	return out
}

// Counts returns what was asked on each network that is served.
func (s *Server) Counts() map[string]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Counts{}
	for name, n := range s.networks {
		out[name] = n.counts.read()
	}
	return out
}

// Upstreams returns what was asked of whom, sorted by address.
func (s *Server) Upstreams() []forward.Counts { return s.pool.Counts() }

// Cache returns what is in the cache of all networks.
func (s *Server) Cache() cache.Size { return s.pool.Cache() }
