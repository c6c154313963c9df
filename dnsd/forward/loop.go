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
