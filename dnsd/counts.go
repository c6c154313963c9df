package dnsd

import (
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// An Outcome is how a query was handled.
type Outcome uint8

// The outcomes.
const (
	Malformed Outcome = iota // not a query, or one that cannot be parsed
	Local                    // answered from the network's names, or from special-use names
	Cached                   // answered from the cache
	Forwarded                // sent upstream, or waiting for an equal query in flight
	Refused                  // neither local nor forwarded
	Busy                     // a limit of pending queries was reached
	Failed                   // there is no upstream that could be asked, or our own query came back
	Throttled                // dropped: a client over its share, during a backlog
	outcomes  = int(Throttled) + 1
)

// codes is the number of codes without EDNS.
const codes = 16

var outcomeText = [outcomes]string{"malformed", "local", "cached", "forwarded", "refused", "busy", "failed", "throttled"}

func (o Outcome) String() string { return outcomeText[o] }

// Counts are the counters of a network, since it was added.
type Counts struct {
	Queries [outcomes]uint64 // by Outcome
	Replies [codes]uint64    // by code (RFC 1035 section 4.1.1), sent
}

// CodeText returns the name of a code of Counts.Replies: NOERROR, NXDOMAIN, ...
func CodeText(code int) string {
	if text, ok := dns.RcodeToString[code]; ok {
		return text
	}
	return strconv.Itoa(code)
}

// counts are the counters of a network. A nil one counts nothing.
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
