package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// silent is a pool with one resolver for an upstream that never answers.
func silent(t *testing.T) (*Pool, *Resolver) {
	t.Helper()
	deaf, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, ready := newPool(), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		over <- p.Run(ctx, filepath.Join(t.TempDir(), "resolv.conf"), func() { close(ready) })
	}()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		deaf.Close()
		if p.usage.n != 0 || len(p.usage.heavy) != 0 || p.inflight.Load() != 0 {
			t.Errorf("left behind: %d pending in %d networks, %d inflight", p.usage.n, len(p.usage.heavy), p.inflight.Load())
		}
	})
	r, err := p.Resolver([]Rule{{"", server(deaf.LocalAddr().String()), ""}}, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

// crowd asks for new names: n queries of a network from each of the ports, by 200
// addresses behind each. It counts replies, and returns how many queries were taken.
func crowd(t *testing.T, r *Resolver, network string, ports []int, n int, refused *atomic.Int64) (taken int) {
	t.Helper()
	for i := range n {
		for _, port := range ports {
			c := Client{network, port, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(port), 0, byte(i % 200)}), 9)}
			q := query(t, fmt.Sprintf("n%d.p%d.%s.", i, port, network))
			if r.Ask(q, c, func(msg []byte) {
				if msg != nil && int(msg[3]&15) == wire.Refused {
					refused.Add(1)
				}
			}) == Accepted {
				taken++
			}
		}
	}
	return taken
}

// A client of a network, port or address with less pending than another takes its
// endpoint from that one; a client with as much does not.
func TestCapacityIsShared(t *testing.T) {
	p, r := silent(t)
	var refused, others atomic.Int64
	ports := []int{NoPort}
	for port := range 100 {
		ports = append(ports, port+1)
	}
	taken := crowd(t, r, "crowded", ports, 60, &refused)
	inflight := int(p.inflight.Load())
	t.Logf("of %d queries %d were taken, %d gave way later; %d are pending", 60*len(ports), taken, refused.Load(), inflight)
	if inflight != maxInflight || taken-int(refused.Load()) != inflight {
		t.Errorf("%d taken, %d evicted, %d pending", taken, refused.Load(), inflight)
	}
	for _, c := range []Client{
		{"other", 11, server("10.0.0.1:9")},
		{"other", AnyPort, server("10.0.0.2:9")},
		{"other", NoPort, server("[fd00::1]:9")},
		{"crowded", 108, server("10.0.0.3:9")},
	} {
		for i := range 8 {
			q := query(t, fmt.Sprintf("v%d.%s.p%d.example.", i, c.Network, c.Port))
			if v := r.Ask(q, c, func([]byte) { others.Add(1) }); v != Accepted {
				t.Errorf("query %d of %v: verdict %d", i, c, v)
			}
		}
	}
	if n := int(p.inflight.Load()); n > maxInflight || others.Load() != 0 {
		t.Errorf("%d inflight; %d of the others were answered", n, others.Load())
	}
}

// One port has a part of the capacity, however many addresses it invents, and what
// it has is shared among them.
func TestOnePortIsLimited(t *testing.T) {
	for _, port := range []int{3, NoPort} {
		p, r := silent(t)
		var refused, others atomic.Int64
		crowd(t, r, "lab", []int{port}, 5000, &refused)
		if n := p.inflight.Load(); n > maxShare {
			t.Errorf("port %d has %d inflight", port, n)
		}
		asked := refused.Load()
		c := Client{"lab", port, server("10.9.9.9:9")}
		if v := r.Ask(query(t, "v.example."), c, func([]byte) { others.Add(1) }); v != Accepted || others.Load() != 0 {
			t.Errorf("another address behind port %d: verdict %d, %d replies", port, v, others.Load())
		}
		if refused.Load() != asked+1 {
			t.Errorf("%d made room, want 1", refused.Load()-asked)
		}
	}
}

// A query that waits with another's for the same answer can give way, and the other
// is still answered.
func TestEvictedFromSharedFlight(t *testing.T) {
	p, r := silent(t)
	q, got := query(t, "same.example."), make(chan string, 2)
	for i, name := range []string{"first", "second"} {
		r.Ask(q, Client{"lab", i + 1, server(fmt.Sprintf("10.0.0.%d:9", i+1))}, func(msg []byte) {
			if msg != nil {
				got <- name
			}
		})
	}
	f := r.inflight[string(q.Key())]
	first := f.waiters[0]
	p.leave(first)
	first.evict()
	first.evict() // answered once
	if n := p.inflight.Load(); n != 1 || p.usage.n != 1 {
		t.Errorf("%d inflight, %d pending", n, p.usage.n)
	}
	now := f.began.Add(totalTime)
	f.tick(now)
	if a, b := <-got, <-got; a != "first" || b != "second" || len(got) != 0 {
		t.Errorf("%s, %s", a, b)
	}
}
