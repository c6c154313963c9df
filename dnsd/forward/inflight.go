package forward

import (
	"container/list"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	totalTime = 4400 * time.Millisecond // for a question: stubs wait for five seconds
	staleTime = 1800 * time.Millisecond // the client response timer of RFC 8767 §5
	rounds    = 3                       // queries to each upstream that does not answer
)

// An inflight is one question that upstreams are asked. It is a state machine that answers,
// errors and ticks move. No goroutine waits for it.
type inflight struct {
	r     *Resolver
	key   []byte
	owner uint32 // of the cache entry: the resolver's at the start
	began time.Time

	// Guarded by r.mu.
	waiters  []*waiter
	list     []*upstream // in the order in which they are asked
	excluded []bool      // those that have failed or answered with an error
	step     int         // how many were asked or skipped
	tries    []*try      // without an answer yet
	nextAt   time.Time   // when another one is asked
	best     *wire.Message
	done     bool
}

// A waiter is a client's query that is answered with the reply.
type waiter struct {
	client   Client
	query    *wire.Query
	reply    func(msg []byte)
	r        *Resolver
	inflight *inflight // guarded by r.mu; nil until there is one

	// Guarded by pool.mu; nil when it is not counted as pending.
	usage   *usage
	element *list.Element
}

// A try is one query to one upstream.
type try struct {
	f         *inflight
	u         *upstream
	transport transport
	nameCase  wire.Case
	sent      time.Time
	resent    bool // its first connection was closed by the server
	overdue   bool // its silence was counted; guarded by f.r.mu
}

// A transport is how a query is sent.
type transport struct {
	tcp     bool // or TLS
	plain   bool // without EDNS
	recheck bool // the reply over UDP did not preserve the case
}

// What ends a try without an answer.
var (
	errLoop        = errors.New("it sends our queries back to us")
	errCase        = errors.New("reply does not preserve the case of the question")
	errUnsolicited = errors.New("many unsolicited replies")
	errGone        = errors.New("connection is gone")
	errBusy        = errors.New("too many queries are pending")
)

// start asks the first upstream, and those that are down and due for a check.
func (f *inflight) start(now time.Time) {
	send(func() []*try {
		f.r.mu.Lock()
		defer f.r.mu.Unlock()
		out := f.nextLocked(now, nil)
		for i, u := range f.list[1:] {
			if u.checkDue(now) {
				f.excluded[i+1] = true
				out = append(out, f.tryLocked(u, transport{}, now))
			}
		}
		return out
	}())
}

// nextLocked appends the query to the next upstream, if there is one.
func (f *inflight) nextLocked(now time.Time, out []*try) []*try {
	for f.step < rounds*len(f.list) {
		i, round := f.step%len(f.list), f.step/len(f.list)
		f.step++
		if u := f.list[i]; !f.excluded[i] {
			wait := firstWait // there is no other upstream to ask
			if len(f.list) > 1 {
				wait = u.wait()
			}
			f.nextAt = now.Add(wait << round)
			return append(out, f.tryLocked(u, transport{}, now))
		}
	}
	f.nextAt = f.began.Add(totalTime)
	return out
}

func (f *inflight) tryLocked(u *upstream, by transport, now time.Time) *try {
	by.tcp = by.tcp || u.name != ""
	t := &try{f: f, u: u, transport: by, sent: now}
	if until := u.lowerUntil.Load(); until == 0 || int64(now.Sub(started)) >= until {
		t.nameCase = wire.RandomCase()
	}
	f.tries = append(f.tries, t)
	u.asked.Add(1)
	return t
}

// send sends queries. It must be called without locks: a try that fails at once calls
// settle.
func send(tries []*try) {
	for _, t := range tries {
		ask := t.u.datagrams.send
		if t.transport.tcp {
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
	log := f.r.pool.log
	defer limit.Recover(log, limit.Forward, f.key)
	switch { // the upstream's health
	case err == nil || errors.Is(err, errCase) || errors.Is(err, errUnsolicited):
		if t.u.answered(now.Sub(t.sent)) {
			log.Info("upstream marked up", "upstream", t.u.endpoint)
		}
	case errors.Is(err, errLoop) || errors.Is(err, errGone) || errors.Is(err, errBusy):
	case t.u.failed(now):
		log.Warn("upstream not responding; marked down and asked last", "upstream", t.u.endpoint, "err", err)
	}
	out, done := f.endTry(t, m, err, now)
	send(out)
	if done {
		f.complete(now)
	}
}

// endTry returns the tries that follow the end of one, or that the query is done.
func (f *inflight) endTry(t *try, m *wire.Message, err error, now time.Time) (out []*try, done bool) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if f.done {
		return nil, false
	}
	f.tries = slices.DeleteFunc(f.tries, func(o *try) bool { return o == t })
	if by, ok := t.fallback(m, err); ok {
		again := f.tryLocked(t.u, by, now)
		again.resent = errors.Is(err, errGone)
		return []*try{again}, false
	}
	if err == nil {
		f.best = m
		if final(m) {
			f.done = true
			return nil, true
		}
	}
	var timeout net.Error
	timedOut := errors.As(err, &timeout) && timeout.Timeout()
	for i, u := range f.list {
		f.excluded[i] = f.excluded[i] || u == t.u && !timedOut
	}
	out = f.nextLocked(now, nil)
	f.done = len(out) == 0 && len(f.tries) == 0
	return out, f.done
}

// fallback returns another transport by which the same upstream is to be asked.
func (t *try) fallback(m *wire.Message, err error) (by transport, ok bool) {
	switch by = t.transport; {
	case errors.Is(err, errGone):
		return by, !t.resent
	case errors.Is(err, errCase), errors.Is(err, errUnsolicited):
		by.tcp, by.recheck = true, errors.Is(err, errCase) // TCP cannot be forged that way
	case by.recheck && (err != nil || !m.HasCase(t.nameCase)):
		t.u.pool.log.Info("upstream does not preserve query case; DNS 0x20 disabled for 1h", "upstream", t.u.endpoint)
		t.u.lowerUntil.Store(int64(time.Since(started) + lowerTime))
		return transport{plain: by.plain}, err != nil
	case err != nil:
		return by, false
	case m.Truncated() && !by.tcp:
		by.tcp = true
	case !by.plain && !m.EDNS() && (m.Code() == wire.FormatError || m.Code() == wire.NotImplemented):
		by.plain = true // RFC 6891 §6.2.2
	default:
		return by, false
	}
	return by, true
}

// final reports whether another server need not be asked.
func final(m *wire.Message) bool {
	return m.Code() == wire.Success || m.Code() == wire.NameError
}

// tick moves the query by the clock: another upstream is asked, clients get a stale reply,
// the query times out.
func (f *inflight) tick(now time.Time) {
	pool := f.r.pool
	defer limit.Recover(pool.log, limit.Forward, f.key)
	out, overdue, stale, waiters, done := f.due(now)
	if overdue != nil && overdue.failed(now) {
		pool.log.Warn("upstream not responding; marked down and asked last", "upstream", overdue.endpoint)
	}
	send(out)
	if done {
		f.complete(now)
	}
	for _, w := range waiters {
		pool.leave(w)
	}
	for _, w := range waiters { // without a lock: an alias may lead to the next question
		var room [wire.MaxPayload]byte
		w.reply(stale.AppendStale(room[:0], w.query))
	}
}

// due returns the tries that are due, the upstream that is overdue, a stale reply and the
// waiters that get it, and whether the query is done. Without them the query goes on.
func (f *inflight) due(now time.Time) (out []*try, overdue *upstream, stale *wire.Message, waiters []*waiter, done bool) {
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
		if n := len(f.tries); n > 0 && !f.tries[n-1].overdue {
			f.tries[n-1].overdue, overdue = true, f.tries[n-1].u
		}
		out = f.nextLocked(now, nil)
	}
	if age >= staleTime && !f.done && len(f.waiters) > 0 {
		if stale = f.r.pool.cache.Stale(f.owner, f.key, now); stale != nil {
			waiters, f.waiters = f.waiters, nil
			f.done = f.r.pool.crowded()
		}
	}
	return out, overdue, stale, waiters, f.done
}

// complete caches the reply and answers all waiters. It runs once, after done was set.
// After a panic the waiters get no answer, but are not counted any more.
func (f *inflight) complete(now time.Time) {
	r, cache := f.r, f.r.pool.cache
	var waiters []*waiter
	removed, answered := false, 0
	defer func() {
		if !removed {
			waiters = f.remove()
		}
		for i, w := range waiters {
			r.pool.leave(w)
			if i >= answered {
				w.reply(nil)
			}
		}
	}()
	m := f.best
	if m == nil {
		m = wire.Failure(f.key)
	}
	if name := f.key[:len(f.key)-3]; m.Private() && r.Protects(name) {
		r.pool.log.Warn("reply with a private address refused (DNS rebinding)", "question", limit.Text(wire.Text(name)))
		m = wire.Blocked(f.key)
	}
	var stale *wire.Message
	if !final(m) { // RFC 8767 §5
		stale = cache.Stale(f.owner, f.key, now)
	}
	if stale == nil {
		cache.Put(f.owner, f.key, m, now)
	} else {
		cache.Keep(f.owner, f.key, now)
	}
	waiters, removed = f.remove(), true // after Put: a query that does not find this one finds the reply
	for i, w := range waiters {
		var room [wire.MaxPayload]byte
		reply := room[:0]
		if stale != nil {
			reply = stale.AppendStale(reply, w.query)
		} else {
			reply = m.AppendReply(reply, w.query, 0)
		}
		answered = i + 1
		w.reply(reply)
	}
}

// remove ends the count of the query, and returns its waiters.
func (f *inflight) remove() []*waiter {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if f.r.inflight[string(f.key)] == f {
		delete(f.r.inflight, string(f.key))
	}
	f.r.pool.inflight.Add(-1)
	waiters := f.waiters
	f.waiters = nil
	return waiters
}

// abort ends the query without an answer: the client asks again, and the next daemon
// answers.
func (f *inflight) abort() {
	f.r.mu.Lock()
	done := f.done
	f.done = true
	f.r.mu.Unlock()
	if done {
		return
	}
	for _, w := range f.remove() {
		w.reply(nil)
		f.r.pool.leave(w)
	}
}

// evict answers a query that had to make room for another, and removes the query in flight
// if it was the only one that waited for it.
func (w *waiter) evict() {
	w.r.mu.Lock()
	f := w.inflight
	if f == nil || !slices.Contains(f.waiters, w) { // refused, or answered
		w.r.mu.Unlock()
		return
	}
	f.waiters = slices.DeleteFunc(f.waiters, func(o *waiter) bool { return o == w })
	last := !f.done && len(f.waiters) == 0
	f.done = f.done || last
	w.r.mu.Unlock()
	if last {
		f.remove()
	}
	var room [wire.MaxPayload]byte
	w.reply(wire.Refusal(f.key).AppendReply(room[:0], w.query, 0))
}

// parse reads a reply. The few with records out of order, or about other names, are
// repaired with the general codec: names may point into a
// record that has to go, and only the codec knows where in the data of all
// types there are names.
func parse(pkt []byte, id uint16, key []byte) (*wire.Message, error) {
	m, err := wire.ParseMessage(pkt, id, key)
	if !errors.Is(err, wire.ErrShape) {
		return m, err
	}
	var msg dns.Msg
	if msg.Unpack(pkt) != nil || len(msg.Question) != 1 {
		return nil, wire.ErrMalformed
	}
	tidy(&msg)
	if pkt, err = msg.Pack(); err != nil {
		return nil, wire.ErrMalformed
	}
	m, err = wire.ParseMessage(pkt, id, key)
	if errors.Is(err, wire.ErrShape) { // too many aliases
		err = wire.ErrMalformed
	}
	return m, err
}

// tidy keeps the records of the question's chain of aliases, in its
// order, and of the authority those of zones that these names are in.
func tidy(msg *dns.Msg) {
	chain := []string{strings.ToLower(msg.Question[0].Name)}
	var answer []dns.RR
	taken := make([]bool, len(msg.Answer))
	for i := 0; i < min(len(chain), wire.MaxChain); i++ {
		for n, rr := range msg.Answer {
			belongs := strings.EqualFold(rr.Header().Name, chain[i])
			if sig, ok := rr.(*dns.RRSIG); rr.Header().Rrtype == dns.TypeDNAME || ok && sig.TypeCovered == dns.TypeDNAME {
				belongs = dns.IsSubDomain(rr.Header().Name, chain[i]) // of all names below it
			}
			if taken[n] || !belongs {
				continue
			}
			taken[n] = true
			answer = append(answer, rr)
			if c, ok := rr.(*dns.CNAME); ok && msg.Question[0].Qtype != dns.TypeCNAME && !slices.Contains(chain, strings.ToLower(c.Target)) {
				chain = append(chain, strings.ToLower(c.Target))
			}
		}
	}
	msg.Answer, msg.Compress = answer, true
	msg.Ns = slices.DeleteFunc(msg.Ns, func(rr dns.RR) bool {
		switch rr.Header().Rrtype {
		case dns.TypeNSEC, dns.TypeNSEC3, dns.TypeRRSIG:
			return false
		}
		return !slices.ContainsFunc(chain, func(name string) bool { return dns.IsSubDomain(rr.Header().Name, name) })
	})
	msg.Extra = slices.DeleteFunc(msg.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
}
