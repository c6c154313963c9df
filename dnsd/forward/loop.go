package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// probeLen is the length of the label that marks a probe: 128 random bits in hex.
const probeLen = 32

// probePause is the least time between two probes of one upstream.
const probePause = 2 * time.Second

// probes are those on their way.
type probes struct {
	n  atomic.Int32 // so that a query usually costs one load
	mu sync.Mutex
	m  map[string]*upstream
}

func (p *probes) add(label string, u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[string]*upstream{}
	}
	p.m[label] = u
	p.n.Store(int32(len(p.m)))
}

func (p *probes) remove(label string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, label)
	p.n.Store(int32(len(p.m)))
}

func (p *probes) find(name []byte) *upstream {
	if p.n.Load() == 0 || name[0] != probeLen {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[string(name[1:1+probeLen])]
}

// caught reports whether a question is a probe of ours, and then acts on it.
func (p *Pool) caught(name []byte) bool {
	u := p.probes.find(name)
	if u == nil {
		return false
	}
	if p.abandon(u, time.Now()) {
		p.log.Warn("upstream sends our queries back to us: not asked for a while",
			"upstream", u.addr, "for", loopTime)
	}
	return true
}

// abandon makes all flights leave an upstream that loops, and reports whether
// the loop is news.
func (p *Pool) abandon(u *upstream, now time.Time) bool {
	news := u.looped(now)
	for _, f := range p.inTheAir() {
		for _, t := range f.triesTo(u) {
			t.settle(nil, errLoop)
		}
	}
	return news
}

// suspect looks at a client that asks what we just asked u, and probes u when
// that looks like a loop.
func (p *Pool) suspect(client netip.Addr, u *upstream, key []byte) {
	if u == nil || !p.related(client, u.addr.Addr()) || !u.probeNow(time.Now()) {
		return
	}
	p.spawn(func() { p.probe(u, key) })
}

func (u *upstream) probeNow(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.probed) < probePause {
		return false
	}
	u.probed = now
	return true
}

// related reports whether a query from client may have been sent by upstream:
// they are the same, or both are this host.
func (p *Pool) related(client, upstream netip.Addr) bool {
	if client == upstream {
		return true
	}
	return p.locals.has(upstream) && p.locals.has(client)
}

// probe asks u for an unguessable name beside the one of key. What u answers
// does not matter, only whether we hear the question.
func (p *Pool) probe(u *upstream, key []byte) {
	var random [probeLen / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	label := hex.EncodeToString(random[:])
	p.probes.add(label, u)
	defer p.probes.remove(label)
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
	probe := append([]byte{byte(len(label))}, label...)
	return append(append(probe, name...), rest...)
}

// locals knows the host's own addresses, as they were a short while ago.
type locals struct {
	mu    sync.Mutex
	read  time.Time
	addrs map[netip.Addr]bool
}

const localsAge = 5 * time.Second

func (l *locals) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.read) > localsAge {
		l.read, l.addrs = now, interfaceAddrs()
	}
	return l.addrs[a]
}

func interfaceAddrs() map[netip.Addr]bool {
	list, _ := net.InterfaceAddrs() // none: then only loopback is known
	set := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if ipnet, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(ipnet.IP); ok {
				set[addr.Unmap()] = true
			}
		}
	}
	return set
}
