package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// started is the origin of times in atomic variables, by the monotonic clock.
var started = time.Now()

const (
	failThreshold = 2                // time-outs or errors in a row that mark an upstream down
	checkTime     = 2 * time.Second  // from then until it is checked with a query
	checkMax      = 30 * time.Second // the same, after many checks without an answer
	loopTime      = 30 * time.Second // for which one that loops is not asked
	lowerTime     = time.Hour        // for which one that does not preserve case gets lower case

	firstWait = time.Second // for an answer, before another upstream is asked too
	leastWait = 250 * time.Millisecond
	mostWait  = 1500 * time.Millisecond
)

// An endpoint is the address of an upstream, and the name in its certificate; "" is without
// TLS.
type endpoint struct {
	addr netip.AddrPort
	name string
}

func (e endpoint) String() string {
	if e.name == "" {
		return e.addr.String()
	}
	return e.addr.String() + " (" + e.name + ")"
}

// An upstream is a name server that queries are sent to: its health, and the sockets.
type upstream struct {
	endpoint
	pool *Pool

	mu        sync.Mutex
	rtt       time.Duration // smoothed; 0 is unknown
	inARow    int           // in a row
	checks    int           // while down, without an answer
	checkAt   time.Time
	loopUntil time.Time
	probed    time.Time

	asked, replied, failures atomic.Uint64

	lowerUntil atomic.Int64 // since started: no DNS 0x20
	datagrams  datagrams
	streams    streams
}

// answered records an answer, and reports whether that marks the upstream up.
func (u *upstream) answered(took time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.replied.Add(1)
	wasDown := u.inARow >= failThreshold
	u.inARow, u.checks = 0, 0
	if u.rtt == 0 {
		u.rtt = took
	}
	u.rtt += (took - u.rtt) / 8
	return wasDown
}

// failed records a time-out or an error, and reports whether that marks the upstream down.
func (u *upstream) failed(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures.Add(1)
	u.inARow++
	if u.inARow == failThreshold {
		u.checkAt = now.Add(checkTime)
	}
	return u.inARow == failThreshold
}

func (u *upstream) down() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inARow >= failThreshold
}

// checkDue reports whether an upstream that is down is to be checked now.
func (u *upstream) checkDue(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.inARow < failThreshold || now.Before(u.checkAt) {
		return false
	}
	u.checkAt = now.Add(min(checkTime<<min(u.checks, 5), checkMax))
	u.checks++
	return true
}

// wait is how long to wait for an answer before another one is asked too.
func (u *upstream) wait() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rtt == 0 {
		return firstWait
	}
	return min(max(4*u.rtt, leastWait), mostWait)
}

// order returns the upstreams in the order in which they are asked: those that are down
// come last; those that loop, and our own addresses, are left out.
func (p *Pool) order(servers []*upstream, now time.Time) []*upstream {
	list, last := make([]*upstream, 0, len(servers)), []*upstream(nil)
	for _, u := range servers {
		u.mu.Lock()
		loops, down := now.Before(u.loopUntil), u.inARow >= failThreshold
		u.mu.Unlock()
		switch {
		case loops || (*p.own.Load())[u.addr]:
		case down:
			last = append(last, u)
		default:
			list = append(list, u)
		}
	}
	return append(list, last...)
}

const (
	probeLen    = 32              // of the label that marks a probe: 128 random bits in hex
	probePause  = 2 * time.Second // least time between two probes of one upstream
	addressLife = 5 * time.Second // for which the list of the host's addresses is used
)

// probes are the loop probes that were sent, by label.
type probes struct {
	n  atomic.Int32 // so that a query usually costs one load
	mu sync.Mutex
	m  map[string]*upstream
}

// set adds a probe, or removes it if u is nil.
func (p *probes) set(label string, u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[string]*upstream{}
	}
	if p.m[label] = u; u == nil {
		delete(p.m, label)
	}
	p.n.Store(int32(len(p.m)))
}

// isProbe reports whether a question is a probe of ours. Then the upstream that it was sent
// to loops, and is removed from all queries in flight.
func (p *Pool) isProbe(name []byte) bool {
	if p.probes.n.Load() == 0 || name[0] != probeLen {
		return false
	}
	p.probes.mu.Lock()
	u := p.probes.m[string(name[1:1+probeLen])]
	p.probes.mu.Unlock()
	if u == nil {
		return false
	}
	now := time.Now()
	u.mu.Lock()
	first := !now.Before(u.loopUntil)
	u.loopUntil = now.Add(loopTime)
	u.mu.Unlock()
	for _, f := range p.allInflight() {
		f.r.mu.Lock()
		tries := slices.Clone(f.tries)
		f.r.mu.Unlock()
		for _, t := range tries {
			if t.u == u {
				t.settle(nil, errLoop)
			}
		}
	}
	if first {
		p.log.Warn("forwarding loop: upstream sends our queries back; not asked", "upstream", u.addr, "for", loopTime)
	}
	return true
}

// checkLoop probes u if client, which asks what u was just asked, may be u: they are the
// same, or both are this host.
func (p *Pool) checkLoop(client netip.Addr, u *upstream, key []byte) {
	if u == nil || client != u.addr.Addr() && !(p.locals.has(u.addr.Addr()) && p.locals.has(client)) {
		return
	}
	now := time.Now()
	u.mu.Lock()
	due := now.Sub(u.probed) >= probePause
	if due {
		u.probed = now
	}
	u.mu.Unlock()
	if due {
		p.spawn(func() { p.probe(u, key) })
	}
}

// probe asks u for an unguessable name below the one of key. The answer does not matter,
// only whether the question arrives here.
func (p *Pool) probe(u *upstream, key []byte) {
	var random [probeLen / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	label := hex.EncodeToString(random[:])
	p.probes.set(label, u)
	defer p.probes.set(label, nil)
	s, err := u.dialUDP(time.Now())
	if err != nil {
		return
	}
	defer s.conn.Close()
	defer context.AfterFunc(p.context(), func() { _ = s.conn.Close() })()
	_, _ = s.conn.Write(wire.AppendQuery(nil, newID(), probeKey(label, key), false))
	_ = s.conn.SetReadDeadline(time.Now().Add(probePause))
	_, _ = s.conn.Read(make([]byte, 1))
}

func probeKey(label string, key []byte) []byte {
	name, rest := key[:len(key)-3], key[len(key)-3:]
	for len(name)+1+len(label) > wire.MaxName {
		name = name[1+name[0]:]
	}
	return slices.Concat([]byte{byte(len(label))}, []byte(label), name, rest)
}

// locals caches the host's addresses.
type locals struct {
	mu    sync.Mutex
	read  time.Time
	addrs map[netip.Addr]bool
}

func (l *locals) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.read) > addressLife {
		l.read, l.addrs = now, map[netip.Addr]bool{}
		list, _ := net.InterfaceAddrs() // none: then only loopback is known
		for _, a := range list {
			if ipnet, ok := a.(*net.IPNet); ok {
				addr, _ := netip.AddrFromSlice(ipnet.IP)
				l.addrs[addr.Unmap()] = true
			}
		}
	}
	return l.addrs[a]
}
