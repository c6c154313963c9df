package fair

import (
	"iter"
	"maps"
	"net/netip"
	"time"
)

const (
	// shareOfRest: a guest may get another address while what it holds is less
	// than so many times what is left. So one can have 16 of 17 parts of a
	// pool, a second one 16 of 17 parts of the rest, and who has nothing gets the
	// last.
	shareOfRest = 16
	pruneTime   = time.Second
)

// earlier holds what was held before this process knew of ports.
const earlier Port = -2

// Shares are who holds what of one pool: of ports, and of circuits behind a
// port.
type Shares struct {
	holder map[netip.Addr]Guest
	held   map[Guest]int // a port without a circuit: of all of its circuits
	pruned time.Time
}

// Hold notes that a guest holds an address. One behind a relay speaks to us
// without the relay at times, and stays who it was.
func (s *Shares) Hold(a netip.Addr, g Guest) {
	if s.holder == nil {
		s.holder, s.held = map[netip.Addr]Guest{}, map[Guest]int{}
	}
	if was := s.holder[a]; g.Circuit == 0 && was.Circuit != 0 && was.Circuit != Unproven && g.Port == was.Port {
		return
	}
	s.Free(a)
	s.holder[a] = g
	s.count(g, 1)
}

// HoldEarlier notes that an address is held, and nobody knows by whom.
func (s *Shares) HoldEarlier(a netip.Addr) {
	if _, known := s.holder[a]; !known {
		s.Hold(a, Guest{Port: earlier})
	}
}

// Free notes that nobody holds an address.
func (s *Shares) Free(a netip.Addr) {
	if g, ok := s.holder[a]; ok {
		delete(s.holder, a)
		s.count(g, -1)
	}
}

func (s *Shares) count(g Guest, n int) {
	for _, key := range [...]Guest{g, {Port: g.Port}} {
		if s.held[key] += n; s.held[key] == 0 {
			delete(s.held, key)
		}
		if g.Circuit == 0 {
			return
		}
	}
}

// All are the addresses that are held, with who holds them.
func (s *Shares) All() iter.Seq2[netip.Addr, Guest] { return maps.All(s.holder) }

// Holder returns who holds an address, if that is known.
func (s *Shares) Holder(a netip.Addr) (Guest, bool) {
	g, ok := s.holder[a]
	return g, ok && g.Port > 0
}

// More says whether a holds more than b: ports are compared with ports, and the
// circuits of one port with one another.
func (s *Shares) More(a, b Guest) bool {
	if a.Port != b.Port {
		a.Circuit, b.Circuit = 0, 0
	}
	return s.held[a] > s.held[b]
}

// May says whether a guest may get an address more, out of size. Those that are
// not in use any more are found by inUse, once a second at most.
func (s *Shares) May(g Guest, size uint64, now time.Time, inUse func(netip.Addr) bool) bool {
	if g.Port == Unasked || s.fits(g, size) {
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
	return s.fits(g, size)
}

func (s *Shares) fits(g Guest, size uint64) bool {
	used := uint64(len(s.holder))
	fits := func(held uint64) bool {
		return held == 0 || used+1 < size && held < shareOfRest*min(size-used-1, 1<<32)
	}
	return fits(uint64(s.held[g])) && fits(uint64(s.held[Guest{Port: g.Port}]))
}
