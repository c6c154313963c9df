package forward

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	totalTime = 4400 * time.Millisecond // for a question: stubs wait for five seconds
	staleTime = 1800 * time.Millisecond // the client response timer of RFC 8767 §5
	rounds    = 3                       // how often the silent are asked
)

// A flight is one question on its way to upstreams. It is a state that events
// move: an answer, an error, the clock. No goroutine waits for it.
type flight struct {
	r     *Resolver
	key   []byte
	owner uint32 // of what is kept: the resolver's at the start
	began time.Time

	// Guarded by r.mu.
	waiters []*waiter
	list    []*upstream // whom to ask, in order
	spent   []bool      // those that have answered badly or failed: not asked again
	step    int         // how many were asked or passed over
	tries   []*try      // under way
	nextAt  time.Time   // when another one is asked
	best    *wire.Message
	done    bool
}

// A waiter is a client's query that the flight will answer.
type waiter struct {
	client Client
	query  *wire.Query
	reply  func(msg []byte)
	r      *Resolver
	flight *flight // guarded by r.mu; nil until there is one

	// Guarded by pool.mu; nil when it is not counted as pending.
	usage *usage
	place *list.Element
}

// A try is one query of a flight to one upstream.
type try struct {
	f       *flight
	u       *upstream
	way     way
	letters wire.Letters
	sent    time.Time
	renewed bool // sent again, as its connection was gone
	slow    bool // its silence was noted; guarded by f.r.mu
}

// A way is how a query travels.
type way struct {
	tcp   bool // or TLS
	plain bool // without EDNS
	doubt bool // as the letters of the reply over UDP were not ours
}

// What ends a try without an answer.
var (
	errLoop    = errors.New("it sends our queries back to us")
	errLetters = errors.New("reply in other letters")
	errGuesses = errors.New("many replies that answer nothing")
	errGone    = errors.New("connection is gone")
	errBusy    = errors.New("too much under way")
)

func (f *flight) waitsFor(client netip.AddrPort, id uint16) bool {
	return slices.ContainsFunc(f.waiters, func(w *waiter) bool {
		return w.client.Addr == client && w.query.ID == id
	})
}

// start asks the first upstream, and those that rest and may be back.
func (f *flight) start(now time.Time) {
	send(f.first(now))
}

func (f *flight) first(now time.Time) []*try {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	out := f.nextLocked(now, nil)
	for i, u := range f.list[1:] {
		if u.check(now) {
			f.spent[i+1] = true
			out = append(out, f.tryLocked(u, way{}, now))
		}
	}
	return out
}

// nextLocked appends the query to the upstream whose turn it is, if there is one.
func (f *flight) nextLocked(now time.Time, out []*try) []*try {
	for f.step < rounds*len(f.list) {
		i, round := f.step%len(f.list), f.step/len(f.list)
		f.step++
		if u := f.list[i]; !f.spent[i] {
			f.nextAt = now.Add(f.patienceWith(u) << round)
			return append(out, f.tryLocked(u, way{}, now))
		}
	}
	f.nextAt = f.began.Add(totalTime)
	return out
}

// patienceWith is longer where nobody else can be asked.
func (f *flight) patienceWith(u *upstream) time.Duration {
	if len(f.list) == 1 {
		return firstWait
	}
	return u.wait()
}

func (f *flight) tryLocked(u *upstream, w way, now time.Time) *try {
	w.tcp = w.tcp || u.name != ""
	t := &try{f: f, u: u, way: w, sent: now, letters: u.letters(now)}
	f.tries = append(f.tries, t)
	u.asked.Add(1)
	return t
}

// send gives tries to the network. It holds no lock, for a try that fails at
// once comes back to settle.
func send(tries []*try) {
	for _, t := range tries {
		ask := t.u.datagrams.send
		if t.way.tcp {
			ask = t.u.streams.send
		}
		if err := ask(t); err != nil {
			t.settle(nil, err)
		}
	}
}

// settle ends a try: with a reply or an error. It is called once for each, or
// never, when its socket has given up waiting.
func (t *try) settle(m *wire.Message, err error) {
	f, now := t.f, time.Now()
	defer limit.Recover(f.r.pool.log, limit.Forward, f.key)
	t.account(err, now)
	out, finished := t.end(m, err, now)
	send(out)
	if finished {
		f.finish(now)
	}
}

// end takes a try out of its flight, and returns the tries that follow, or that the
// flight is done.
func (t *try) end(m *wire.Message, err error, now time.Time) (out []*try, finished bool) {
	f := t.f
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if f.done {
		return nil, false
	}
	f.tries = slices.DeleteFunc(f.tries, func(o *try) bool { return o == t })
	out = f.decideLocked(t, m, err, now)
	return out, f.done
}

// account keeps the health of the upstream.
func (t *try) account(err error, now time.Time) {
	switch {
	case err == nil || errors.Is(err, errLetters) || errors.Is(err, errGuesses):
		if t.u.answered(now.Sub(t.sent)) {
			t.u.pool.log.Info("upstream answers again", "upstream", t.u.place)
		}
	case errors.Is(err, errLoop) || errors.Is(err, errGone) || errors.Is(err, errBusy):
	case t.u.failed(now):
		t.u.pool.log.Warn("upstream does not answer: asked last for a while", "upstream", t.u.place, "err", err)
	}
}

// decideLocked says what follows a try's end: more tries, or the end of the
// flight, which sets done.
func (f *flight) decideLocked(t *try, m *wire.Message, err error, now time.Time) []*try {
	if w, ok := t.another(m, err); ok {
		again := f.tryLocked(t.u, w, now)
		again.renewed = errors.Is(err, errGone)
		return []*try{again}
	}
	if err == nil && final(m) {
		f.best, f.done = m, true
		return nil
	}
	if err == nil {
		f.best = m
	}
	for i, u := range f.list {
		f.spent[i] = f.spent[i] || u == t.u && !timedOut(err) // silence is no answer yet
	}
	out := f.nextLocked(now, nil)
	f.done = len(out) == 0 && len(f.tries) == 0
	return out
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// another says by which other way the same upstream is to be asked.
func (t *try) another(m *wire.Message, err error) (w way, ok bool) {
	switch w = t.way; {
	case errors.Is(err, errGone):
		return w, !t.renewed
	case errors.Is(err, errLetters), errors.Is(err, errGuesses):
		w.tcp, w.doubt = true, errors.Is(err, errLetters) // nobody forges that
	case w.doubt && (err != nil || !m.In(t.letters)):
		t.u.pool.log.Info("upstream changes letters: it is asked in small ones for an hour", "upstream", t.u.place)
		t.u.lower.Store(int64(time.Since(started) + lowerTime))
		return way{plain: w.plain}, err != nil
	case err != nil:
		return w, false
	case m.Truncated() && !w.tcp:
		w.tcp = true
	case !w.plain && !m.EDNS() && (m.Code() == wire.FormatError || m.Code() == wire.NotImplemented):
		w.plain = true // RFC 6891 §6.2.2
	default:
		return w, false
	}
	return w, true
}

// final reports whether another server need not be asked.
func final(m *wire.Message) bool {
	return m.Code() == wire.Success || m.Code() == wire.NameError
}

// tick moves the flight by the clock.
func (f *flight) tick(now time.Time) {
	defer limit.Recover(f.r.pool.log, limit.Forward, f.key)
	out, silent, old, waiters, finished := f.due(now)
	if silent != nil && silent.failed(now) {
		f.r.pool.log.Warn("upstream does not answer: asked last for a while", "upstream", silent.place)
	}
	send(out)
	if finished {
		f.finish(now)
	}
	for _, w := range waiters {
		f.r.pool.leave(w)
	}
	answerStale(old, waiters) // without a lock: an alias may lead to the next question
}

// due returns what the clock brings: tries, the upstream that is silent, a stale reply
// and the waiters that are to get it, and whether the flight is done.
func (f *flight) due(now time.Time) (out []*try, silent *upstream, old *wire.Message, waiters []*waiter, finished bool) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if f.done {
		return nil, nil, nil, nil, false
	}
	age := now.Sub(f.began)
	switch {
	case age >= totalTime:
		f.done = true
	case !now.Before(f.nextAt):
		silent = f.silentLocked()
		out = f.nextLocked(now, nil)
	}
	if age >= staleTime && !f.done && len(f.waiters) > 0 {
		old, waiters = f.hurryLocked(now)
		f.done = len(waiters) > 0 && f.r.pool.crowded()
	}
	return out, silent, old, waiters, f.done
}

// silentLocked returns the upstream that was asked last and is silent.
func (f *flight) silentLocked() *upstream {
	if len(f.tries) == 0 {
		return nil
	}
	t := f.tries[len(f.tries)-1]
	if t.slow {
		return nil
	}
	t.slow = true
	return t.u
}

// hurryLocked returns the stale reply, if there is one, and the waiters, without which
// the flight goes on then.
func (f *flight) hurryLocked(now time.Time) (old *wire.Message, waiters []*waiter) {
	if old = f.r.pool.cache.Stale(f.owner, f.key, now); old != nil {
		waiters, f.waiters = f.waiters, nil
	}
	return old, waiters
}

func answerStale(m *wire.Message, waiters []*waiter) {
	var room [wire.MaxPayload]byte
	for _, w := range waiters {
		w.reply(m.AppendStale(room[:0], w.query))
	}
}

// finish keeps what came and answers all who wait. It runs once, after done was
// set. A panic costs those that wait their answer, and no more.
func (f *flight) finish(now time.Time) {
	var waiters []*waiter
	landed, answered := false, 0
	defer func() {
		if !landed {
			waiters = f.land()
		}
		for i, w := range waiters {
			f.r.pool.leave(w)
			if i >= answered {
				w.reply(nil)
			}
		}
	}()
	m := f.best
	if m == nil {
		m = wire.Failure(f.key)
	}
	m = f.r.judge(f.key, m)
	var old *wire.Message
	if !final(m) { // RFC 8767 §5: rather old than nothing
		old = f.r.pool.cache.Stale(f.owner, f.key, now)
	}
	if old == nil {
		f.r.pool.cache.Put(f.owner, f.key, m, now)
	} else {
		f.r.pool.cache.Keep(f.owner, f.key, now)
	}
	waiters, landed = f.land(), true // after Put: a query that finds no flight any more finds the reply
	for i, w := range waiters {
		var room [wire.MaxPayload]byte
		reply := room[:0]
		if old != nil {
			reply = old.AppendStale(reply, w.query)
		} else {
			reply = m.AppendReply(reply, w.query, 0)
		}
		answered = i + 1
		w.reply(reply)
	}
}

// land takes the flight out of the air, and returns who waits.
func (f *flight) land() []*waiter {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if f.r.flights[string(f.key)] == f {
		delete(f.r.flights, string(f.key))
	}
	f.r.pool.flights.Add(-1)
	waiters := f.waiters
	f.waiters = nil
	return waiters
}

// abort ends the flight without an answer: silence makes the client ask once
// more, and whoever serves by then answers.
func (f *flight) abort() {
	f.r.mu.Lock()
	over := f.done
	f.done = true
	f.r.mu.Unlock()
	if over {
		return
	}
	for _, w := range f.land() {
		w.reply(nil)
		f.r.pool.leave(w)
	}
}

// evict answers a query that had to make room for another, and ends its flight if no
// other query waits for it.
func (w *waiter) evict() {
	w.r.mu.Lock()
	f := w.flight
	if f == nil || !slices.Contains(f.waiters, w) { // refused, or answered
		w.r.mu.Unlock()
		return
	}
	f.waiters = slices.DeleteFunc(f.waiters, func(o *waiter) bool { return o == w })
	over := f.done || len(f.waiters) > 0
	f.done = f.done || len(f.waiters) == 0
	w.r.mu.Unlock()
	if !over {
		f.land()
	}
	var room [wire.MaxPayload]byte
	w.reply(wire.Refusal(f.key).AppendReply(room[:0], w.query, 0))
}
