package netdrv

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"slices"
)

// A Share is what one guest has of a Queue: a class of HTB below the queue's, which
// borrows what others leave. The zero MAC is everybody who has no share of his own.
type Share struct {
	MAC MAC
	// Class is the minor number of its class.
	Class uint16
	// Rate is what it gets in any case, Ceil what it gets at most.
	Rate, Ceil    BitRate
	Burst, Cburst Size
}

// restClass is everybody else's. Guests' own are found by their MAC.
const restClass = 2

// String is what tc is told of the class.
func (s *Share) String() string {
	return fmt.Sprintf("classid %x:%x htb rate %s ceil %s burst %d cburst %d", Handle, s.Class, s.Rate, s.Ceil, s.Burst, s.Cburst)
}

func (s *Share) like(o *Share) bool {
	return s.MAC == o.MAC && s.Class == o.Class && s.Rate == o.Rate && s.Ceil == o.Ceil && near(s.Burst, o.Burst) && near(s.Cburst, o.Cburst)
}

func sameShares(a, b []Share) bool {
	return slices.EqualFunc(a, b, func(x, y Share) bool { return x.like(&y) })
}

// share gives a guest a part of a queue: a floor, and a limit that may be none. Who
// has no floor has next to nothing of his own, and borrows evenly with others.
func (q *Queue) share(mac MAC, floor BitRate, limit Rate) {
	s := Share{MAC: mac, Rate: max(floor, minRate), Ceil: q.Ceil, Cburst: max(q.Burst, q.Cburst)}
	if limit.limits() {
		s.Ceil, s.Cburst = min(q.Ceil, limit.Average), limit.burst()
	}
	s.Rate = min(s.Rate, s.Ceil)
	s.Burst = DefaultBurst(s.Rate)
	q.Shares = append(q.Shares, s)
}

// number gives shares their classes: each the one that its MAC asks for, so that a
// guest who comes or goes moves no other, and the next where two ask for one.
func (q *Queue) number() {
	SortShares(q.Shares)
	q.Shares = slices.CompactFunc(q.Shares, func(a, b Share) bool { return a.MAC == b.MAC })
	taken := map[uint16]bool{0: true, 1: true, restClass: true}
	for i := range q.Shares {
		s := &q.Shares[i]
		if s.Class = restClass; s.MAC.IsZero() {
			continue
		}
		h := fnv.New32a()
		h.Write(s.MAC[:])
		for s.Class = uint16(h.Sum32()); taken[s.Class]; s.Class++ {
		}
		taken[s.Class] = true
	}
}

// SortShares puts shares in the order of a Queue's.
func SortShares(shares []Share) {
	slices.SortFunc(shares, func(a, b Share) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
}

// shares divides what a network's guests send or receive together among them. Where
// there is nothing to tell them apart for, there are none.
func (q *Queue) shares(members []Member, of func(m *Member) (floor BitRate, limit Rate), others Rate) {
	for i := range members {
		m := &members[i]
		floor, limit := of(m)
		if !m.MAC.IsZero() && (floor > 0 || limit.limits()) {
			q.share(m.MAC, floor, limit)
		}
	}
	if q.Shares != nil || others.limits() {
		q.share(MAC{}, q.left(others), others)
	}
	q.number()
}

// left is the floor of everybody else: what floors leave. Where others are limited
// each, who is not known yet waits for those who are.
func (q *Queue) left(others Rate) BitRate {
	left := q.Rate
	for i := range q.Shares {
		left -= min(left, q.Shares[i].Rate)
	}
	if others.limits() {
		return 0
	}
	return left
}
