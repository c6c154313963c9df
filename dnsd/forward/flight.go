package forward

import (
	"context"
	"errors"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

const (
	totalTime = 5 * time.Second // for a question, as long as a stub waits
	tryTime   = 2 * time.Second // for one upstream over UDP; the same again over TCP
)

// A flight is one question on its way to upstreams.
type flight struct {
	r      *Resolver
	key    []byte
	epoch  uint32
	asking atomic.Pointer[upstream] // the one that is waited for

	waiters []waiter // guarded by r.mu
}

// A waiter is a client's query that the flight will answer.
type waiter struct {
	client netip.AddrPort
	query  *wire.Query
	reply  func(msg []byte)
}

func (f *flight) waitsFor(client netip.AddrPort, id uint16) bool {
	return slices.ContainsFunc(f.waiters, func(w waiter) bool {
		return w.client == client && w.query.ID == id
	})
}

// run asks, keeps, and answers all who wait.
func (f *flight) run(ctx context.Context) {
	m := f.ask(ctx)
	if f.epoch == f.r.epoch.Load() {
		f.r.cache.Put(f.key, m, time.Now())
	}
	f.r.mu.Lock() // after Put: whoever finds no flight any more finds the reply
	delete(f.r.flights, string(f.key))
	waiters := f.waiters
	f.r.mu.Unlock()
	var buf []byte
	for _, w := range waiters {
		if ctx.Err() == nil {
			buf = m.AppendReply(buf[:0], w.query, 0)
			w.reply(buf)
		} else {
			w.reply(nil)
		}
		f.r.pool.leave(w.client.Addr())
	}
}

// ask never returns nil, and never panics: waiters must be answered.
func (f *flight) ask(ctx context.Context) (m *wire.Message) {
	defer func() {
		if v := recover(); v != nil {
			f.r.pool.log.Error("upstream reply broke the forwarder", "panic", v, "key", f.key, "stack", string(debug.Stack()))
			m = wire.Failure(f.key)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	servers := f.r.servers(f.key[:len(f.key)-3])
	if m := f.tour(ctx, servers); m != nil {
		return m
	}
	return wire.Failure(f.key)
}

// tour asks one server after the other, those that were silent a second time,
// until one gives a final answer. With none it returns the best other, or nil.
func (f *flight) tour(ctx context.Context, servers []*upstream) (best *wire.Message) {
	for range 2 {
		var silent []*upstream
		for _, u := range f.r.pool.order(servers, time.Now()) {
			m, err := f.try(ctx, u)
			switch {
			case err == nil && final(m):
				return m
			case err == nil:
				best = m
			case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
				silent = append(silent, u)
			}
			if ctx.Err() != nil {
				return best
			}
		}
		servers = silent
	}
	return best
}

// final reports whether another server need not be asked.
func final(m *wire.Message) bool {
	switch m.Code() {
	case wire.Success, wire.NameError:
		return true
	}
	return false
}

// try asks one upstream and keeps account of its health.
func (f *flight) try(ctx context.Context, u *upstream) (*wire.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.asking.Store(u)
	u.enter(f, cancel)
	defer u.exit(f)
	m, err := u.exchange(ctx, f.key)
	switch {
	case err == nil:
		if u.answered() {
			f.r.pool.log.Info("upstream answers again", "upstream", u.addr)
		}
	case ctx.Err() == nil: // neither ours to stop nor a proved loop
		if u.failed(time.Now()) {
			f.r.pool.log.Warn("upstream does not answer: asked last for a while", "upstream", u.addr, "err", err)
		}
	}
	return m, err
}
