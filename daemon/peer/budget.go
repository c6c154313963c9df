package peer

import (
	"sync"
	"time"
)

// What unprivileged users may cost. A user spends from two accounts, its own and that of
// all unprivileged users.
const (
	userShare, allShare = 0.05, 0.20 // of one processor
	burst               = 2 * time.Second
	// readCost and byteCost are charged for what a connection reads, so that frames that
	// lead to no call are paid for as well; callCost is what a call costs beside its handler,
	// messageCost what a message of a stream does.
	readCost, byteCost = 30 * time.Microsecond, 250 * time.Nanosecond
	callCost           = 250 * time.Microsecond
	messageCost        = 10 * time.Microsecond
	sentByteCost       = 10 * time.Nanosecond

	// maxUnread bounds the responses that a user has not read when its next call begins,
	// and allUnread those of all users.
	maxUnread, allUnread = 1 << 20, 16 << 20
	// maxStreams and allStreams bound streams of messages, such as watches of events.
	maxStreams, allStreams = 16, 128
	// maxCalls and allCalls bound the calls that run at a time.
	maxCalls, allCalls = 1, 8
)

// usage is what one user, or all unprivileged users, have in use.
type usage struct {
	conns, streams, calls int
	unread                int // bytes of responses
	spent                 time.Duration
	at                    time.Time // of spent
}

// settle gives back the share of the time that has passed.
func (u *usage) settle(now time.Time, share float64) {
	if passed := now.Sub(u.at); passed > 0 {
		u.spent = max(0, u.spent-time.Duration(share*float64(passed)))
	}
	u.at = now
}

// debt is how long a user has to wait until it may cost anything again.
func (u *usage) debt(share float64) time.Duration {
	return max(0, time.Duration(float64(u.spent-burst)/share))
}

// budget is the bookkeeping of a listener.
type budget struct {
	limits Limits
	mu     sync.Mutex
	users  map[uint32]*usage
	all    usage
	admins int // connections
}

// maxUsers is how many users without a connection are remembered, so that a user does
// not get rid of its debt by connecting again.
const maxUsers = 1024

func (b *budget) of(uid uint32) *usage {
	if u := b.users[uid]; u != nil {
		return u
	}
	if len(b.users) >= maxUsers {
		for other, u := range b.users {
			if u.conns+u.calls+u.streams == 0 {
				delete(b.users, other)
			}
		}
	}
	u := &usage{at: time.Now()}
	b.users[uid] = u
	return u
}

// enter admits a connection, or returns why not.
func (b *budget) enter(p Peer) (refused string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.Admin {
		if b.admins >= b.limits.Conns {
			return "too many connections of administrators"
		}
		b.admins++
		return ""
	}
	u := b.of(p.UID)
	if u.conns >= b.limits.UserConns || b.all.conns >= b.limits.Conns {
		return "too many connections"
	}
	u.conns++
	b.all.conns++
	return ""
}

func (b *budget) leave(p Peer, unread int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.Admin {
		b.admins--
		return
	}
	for _, u := range []*usage{b.of(p.UID), &b.all} {
		u.conns--
		u.unread -= unread
	}
}

// update changes what a user and all users have in use.
func (b *budget) update(uid uint32, change func(u *usage)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b.of(uid))
	change(&b.all)
}

func (b *budget) spend(uid uint32, cost time.Duration) {
	b.update(uid, func(u *usage) { u.spent += cost })
}

// debt is how long a user has to wait before more is read from it.
func (b *budget) debt(uid uint32) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, u := time.Now(), b.of(uid)
	u.settle(now, userShare)
	b.all.settle(now, allShare)
	return max(u.debt(userShare), b.all.debt(allShare))
}

// takeCall and takeStream take one of what is bounded by number, and report whether there
// was one left.
func (b *budget) takeCall(uid uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.of(uid)
	if u.calls >= maxCalls || b.all.calls >= allCalls || u.unread > maxUnread || b.all.unread > allUnread {
		return false
	}
	u.calls++
	b.all.calls++
	return true
}

func (b *budget) takeStream(uid uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.of(uid)
	if u.streams >= maxStreams || b.all.streams >= allStreams {
		return false
	}
	u.streams++
	b.all.streams++
	return true
}
