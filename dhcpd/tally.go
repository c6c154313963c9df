package dhcpd

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

// An Event is a kind of message and what was done about it. There are only so many
// kinds, whatever guests send.
type Event struct {
	Family  int    // 4 or 6
	Message string // DISCOVER, SOLICIT, ...; "other" for what is none of a client's
	Reply   string // OFFER, ADVERTISE, ...; "none" for silence
	Why     string // in a few words
}

// Count is how often something happened since the network is served.
type Count struct {
	Event
	Times uint64
}

// tally counts the events of a network.
type tally struct {
	mu     sync.Mutex
	counts map[Event]uint64
}

func (t *tally) add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[e]++
}

func (t *tally) list() []Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Count
	for e, n := range t.counts {
		out = append(out, Count{e, n})
	}
	return out
}

// Counts returns what happened on each network that is served, in a fixed order.
func (s *Server) Counts() map[string][]Count {
	s.mu.Lock()
	tallies := maps.Clone(s.tallies)
	s.mu.Unlock()
	out := map[string][]Count{}
	for network, t := range tallies {
		out[network] = t.list()
		slices.SortFunc(out[network], func(a, b Count) int {
			return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Reply, b.Reply), cmp.Compare(a.Why, b.Why))
		})
	}
	return out
}

// tallyLocked is that of a network.
func (s *Server) tallyLocked(network string) *tally {
	if s.tallies[network] == nil {
		s.tallies[network] = &tally{counts: map[Event]uint64{}}
	}
	return s.tallies[network]
}

const (
	silence   = "none"
	malformed = "not a message"
	unheard   = "too many from one port"
)

func event4(request, reply v4.MessageType, why string) Event {
	e := Event{Family: 4, Message: "other", Reply: silence, Why: why}
	if request >= v4.DHCPDISCOVER && request <= v4.DHCPINFORM {
		e.Message = request.String()
	}
	if reply != 0 {
		e.Reply = reply.String()
	}
	return e
}

func event6(request, reply v6.MessageType, why string) Event {
	e := Event{Family: 6, Message: "other", Reply: silence, Why: why}
	if request >= v6.SOLICIT && request <= v6.INFORMATIONREQUEST {
		e.Message = request.String()
	}
	if reply != 0 {
		e.Reply = reply.String()
	}
	return e
}
