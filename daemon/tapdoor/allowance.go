package tapdoor

import "time"

// How often the door may be asked: a user's machines may start all at once, and a
// user who asks without end leaves the time for others.
const (
	userBurst, userRate   = 64, 4   // and per second
	totalBurst, totalRate = 512, 32 // of all users but administrators
	maxKnownUsers         = 1024    // of whom allowances are kept
)

// allowances bound how often users ask.
type allowances struct {
	users map[uint32]*allowance
	total allowance
}

// An allowance is what may still be asked; the zero value is a full one.
type allowance struct {
	used float64
	at   time.Time
}

// grow gives back what the time has brought.
func (a *allowance) grow(now time.Time, rate float64) {
	a.used = max(0, a.used-max(0, now.Sub(a.at).Seconds())*rate)
	a.at = now
}

// take reports whether a user may ask once more now. Who is refused pays nothing.
func (a *allowances) take(uid uint32, now time.Time) bool {
	u := a.of(uid, now)
	u.grow(now, userRate)
	a.total.grow(now, totalRate)
	if u.used+1 > userBurst || a.total.used+1 > totalBurst {
		return false
	}
	u.used++
	a.total.used++
	return true
}

// of is a user's. Where there are too many, those go that are full again anyway, and
// if need be all: the total still holds.
func (a *allowances) of(uid uint32, now time.Time) *allowance {
	if u := a.users[uid]; u != nil {
		return u
	}
	for other, u := range a.users {
		if u.grow(now, userRate); len(a.users) >= maxKnownUsers && u.used == 0 {
			delete(a.users, other)
		}
	}
	if a.users == nil || len(a.users) >= maxKnownUsers {
		a.users = map[uint32]*allowance{}
	}
	u := &allowance{at: now}
	a.users[uid] = u
	return u
}
