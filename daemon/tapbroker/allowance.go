package tapbroker

import "time"

// Rate limits of requests: all machines of a user may start at once, and one user does not
// take the time of others.
const (
	userBurst, userRate   = 64, 4   // and per second
	totalBurst, totalRate = 512, 32 // of all users except administrators
	maxKnownUsers         = 1024    // users with a bucket
)

// allowances are the token buckets of users and of all.
type allowances struct {
	users map[uint32]*allowance
	total allowance
}

// An allowance is a token bucket; the zero value is full.
type allowance struct {
	used float64
	at   time.Time
}

// grow refills the bucket.
func (a *allowance) grow(now time.Time, rate float64) {
	a.used = max(0, a.used-max(0, now.Sub(a.at).Seconds())*rate)
	a.at = now
}

// take takes a token for a user, and reports whether there was one in both buckets.
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

// of returns a user's bucket. If there are too many, full ones are dropped, and if need be
// all: the total limit still holds.
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
