package fair

import (
	"iter"
	"maps"
	"net/netip"
	"time"
)

const (
	// shareOfRest: a port may get another address while what it holds is less
	// than so many times what is left. So one port can have 16 of 17 parts of a
	// pool, a second one 16 of 17 parts of the rest, and who has nothing gets the
	// last.
	shareOfRest = 16
	pruneTime   = time.Second
)

// earlier holds what was held before this process knew of ports.
const earlier Port = -2

// Shares are who holds what of one pool.
type Shares struct {
	holder map[netip.Addr]Port
	held   map[Port]int
	pruned time.Time
}

// Hold notes that a port holds an address.
func (s *Shares) Hold(a netip.Addr, port Port) {
	if s.holder == nil {
		s.holder, s.held = map[netip.Addr]Port{}, map[Port]int{}
	}
	s.Free(a)
	s.holder[a] = port
	s.held[port]++
}

// HoldEarlier notes that an address is held, and nobody knows by whom.
func (s *Shares) HoldEarlier(a netip.Addr) {
	if _, known := s.holder[a]; !known {
		s.Hold(a, earlier)
	}
}

// Free notes that nobody holds an address.
func (s *Shares) Free(a netip.Addr) {
	port, ok := s.holder[a]
	if !ok {
		return
	}
	delete(s.holder, a)
	if s.held[port]--; s.held[port] == 0 {
		delete(s.held, port)
	}
}

// All are the addresses that are held, with their ports.
func (s *Shares) All() iter.Seq2[netip.Addr, Port] { return maps.All(s.holder) }

// Holder returns the port that holds an address, if that is known.
func (s *Shares) Holder(a netip.Addr) (Port, bool) {
	port, ok := s.holder[a]
	return port, ok && port > 0
}

// Held returns how many addresses a port holds.
func (s *Shares) Held(port Port) int { return s.held[port] }

// May says whether a port may get an address more, out of size. Those that are
// not in use any more are found by inUse, once a second at most.
func (s *Shares) May(port Port, size uint64, now time.Time, inUse func(netip.Addr) bool) bool {
	if port == Unasked || s.fits(port, size) {
		return true
	}
	if now.Sub(s.pruned) < pruneTime {
		return false
	}
	s.pruned = now
	for a := range s.holder {
		if !inUse(a) {
			s.Free(a)
		}
	}
	return s.fits(port, size)
}

func (s *Shares) fits(port Port, size uint64) bool {
	held, used := uint64(s.held[port]), uint64(len(s.holder))
	return held == 0 || used+1 < size && held < shareOfRest*min(size-used-1, 1<<32)
}
