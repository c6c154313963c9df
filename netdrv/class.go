package netdrv

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"slices"
)

// A Class is the HTB leaf class of one guest in a Queue. It borrows what others do not use.
// The zero MAC is that of the default class, for guests without a class of their own.
type Class struct {
	MAC MAC
	// Class is the minor number of its class.
	Minor uint16
	// Rate is what it gets in any case, Ceil what it gets at most.
	Rate, Ceil    BitRate
	Burst, Cburst Size
}

// defaultClass is the minor number of the default class. Others derive from the MAC.
const defaultClass = 2

// String is what tc is told of the class.
func (s *Class) String() string {
	return fmt.Sprintf("classid %x:%x htb rate %s ceil %s burst %d cburst %d", Handle, s.Minor, s.Rate, s.Ceil, s.Burst, s.Cburst)
}

func (s *Class) like(o *Class) bool {
	return s.MAC == o.MAC && s.Minor == o.Minor && s.Rate == o.Rate && s.Ceil == o.Ceil && near(s.Burst, o.Burst) && near(s.Cburst, o.Cburst)
}

func sameClasses(a, b []Class) bool {
	return slices.EqualFunc(a, b, func(x, y Class) bool { return x.like(&y) })
}

// addClass adds a class with a guaranteed and a maximum rate. One without a floor gets the
// minimum rate, and borrows evenly with others.
func (q *Queue) addClass(mac MAC, floor BitRate, limit Rate) {
	s := Class{MAC: mac, Rate: max(floor, minRate), Ceil: q.Ceil, Cburst: max(q.Burst, q.Cburst)}
	if limit.limits() {
		s.Ceil, s.Cburst = min(q.Ceil, limit.Average), limit.burst()
	}
	s.Rate = min(s.Rate, s.Ceil)
	s.Burst = DefaultBurst(s.Rate)
	q.Classes = append(q.Classes, s)
}

// numberClasses derives the minor numbers from the MACs, so that a guest that comes or goes
// renumbers no other, and takes the next free number where two collide.
func (q *Queue) numberClasses() {
	SortClasses(q.Classes)
	q.Classes = slices.CompactFunc(q.Classes, func(a, b Class) bool { return a.MAC == b.MAC })
	taken := map[uint16]bool{0: true, 1: true, defaultClass: true}
	for i := range q.Classes {
		s := &q.Classes[i]
		if s.Minor = defaultClass; s.MAC.IsZero() {
			continue
		}
		h := fnv.New32a()
		h.Write(s.MAC[:])
		for s.Minor = uint16(h.Sum32()); taken[s.Minor]; s.Minor++ {
		}
		taken[s.Minor] = true
	}
}

// SortShares puts shares in the order of a Queue's.
func SortClasses(shares []Class) {
	slices.SortFunc(shares, func(a, b Class) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
}

// addClasses adds the classes of a network's guests; none where no guest has a rate.
func (q *Queue) addClasses(members []Member, of func(m *Member) (floor BitRate, limit Rate), others Rate) {
	for i := range members {
		m := &members[i]
		floor, limit := of(m)
		if !m.MAC.IsZero() && (floor > 0 || limit.limits()) {
			q.addClass(m.MAC, floor, limit)
		}
	}
	if q.Classes != nil || others.limits() {
		q.addClass(MAC{}, q.defaultFloor(others), others)
	}
	q.numberClasses()
}

// defaultFloor is the guaranteed rate of the default class: what the floors leave. Where
// others are limited each, guests without a known MAC get none.
func (q *Queue) defaultFloor(others Rate) BitRate {
	left := q.Rate
	for i := range q.Classes {
		left -= min(left, q.Classes[i].Rate)
	}
	if others.limits() {
		return 0
	}
	return left
}
