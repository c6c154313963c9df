package forward

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

// Whatever breaks about a inflight, it costs its waiters their answer, and no more: no
// lock stays held, and what was counted for it is given back.
func TestPanicCostsOneFlight(t *testing.T) {
	for name, breaks := range map[string]func(f *inflight, u *upstream){
		"a reply": func(f *inflight, u *upstream) {
			s := &stream{u: u, pending: map[uint16]*try{7: nil}}
			s.pending[7] = &try{u: u} // of no inflight
			_ = s.reply(append([]byte{0, 7}, make([]byte, 20)...))
		},
		"what follows a reply": func(f *inflight, u *upstream) {
			f.list, f.excluded = []*upstream{nil, nil}, nil
			(&try{f: f, u: u, sent: f.began}).settle(nil, errLoop)
		},
		"the clock": func(f *inflight, u *upstream) {
			f.list, f.excluded = []*upstream{u}, nil
			f.tick(f.began.Add(time.Second))
		},
		"the end": func(f *inflight, u *upstream) {
			f.best = &wire.Message{} // without a question
			f.done = true
			func() {
				defer limit.Recover(f.r.pool.log, limit.Forward, nil)
				f.complete(f.began)
			}()
		},
	} {
		p := newPool()
		u := &upstream{endpoint: endpoint{addr: netip.MustParseAddrPort("192.0.2.1:53")}, pool: p}
		r := newResolver(p, "x", Policy{NoPrivate: true})
		answers := 0
		w := &waiter{client: Client{Addr: netip.MustParseAddrPort("192.0.2.9:5353")}, reply: func(msg []byte) { answers++ }}
		p.admit(w, true)
		p.inflight.Add(1)
		f := &inflight{r: r, key: []byte("\x01a\x00\x00\x01\x00"), began: time.Now(), waiters: []*waiter{w}}
		r.inflight[string(f.key)] = f
		before := limit.Panics()[limit.Forward]
		breaks(f, u)
		if limit.Panics()[limit.Forward] == before {
			t.Errorf("%s: no panic was counted", name)
		}
		if !r.mu.TryLock() {
			t.Errorf("%s: the lock stays held", name)
			continue
		}
		r.mu.Unlock()
		f.list = nil
		f.tick(f.began.Add(totalTime)) // the time of all inflight ends
		if answers != 1 || p.usage.n != 0 || p.inflight.Load() != 0 || len(r.inflight) != 0 {
			t.Errorf("%s: the waiter was answered %d times, %d wait, %d inflight", name, answers, p.usage.n, p.inflight.Load())
		}
	}
}

// A query that breaks the resolver is not counted any more, and holds no lock.
func TestPanicCostsOneQuery(t *testing.T) {
	p := newPool()
	p.base = t.Context()
	r := newResolver(p, "x", Policy{})
	p.host.Store(&[]*upstream{nil})
	var q wire.Query
	if wire.Parse([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"), &q) != wire.OK {
		t.Fatal("no query")
	}
	client := Client{Network: "lab", Addr: netip.MustParseAddrPort("192.0.2.9:5353")}
	func() {
		defer limit.Recover(p.log, limit.DNS, nil)
		r.Ask(&q, client, func([]byte) {})
		t.Error("no panic")
	}()
	if !r.mu.TryLock() || p.usage.n != 0 || p.inflight.Load() != 0 {
		t.Errorf("a lock stays held, or %d queries are counted", p.usage.n)
	}
}
