package nettest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// A Visit is one request as a server of the internet saw it.
type Visit struct {
	Service string         // "http", "tcp echo", "udp echo", "tcp sink", "udp sink", "udp dns", "tcp dns"
	Peer    netip.AddrPort // who asked: after NAT, the host
	What    string         // the path, the datagram, the question ("www.example.org. A"); nothing for TCP
}

// A guestbook keeps the visits and wakes those who wait for one.
type guestbook struct {
	mu      sync.Mutex
	visits  []Visit
	changed chan struct{}
}

func newGuestbook() *guestbook { return &guestbook{changed: make(chan struct{})} }

func (b *guestbook) add(service string, peer netip.AddrPort, what string) {
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visits = append(b.visits, Visit{service, peer, what})
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *guestbook) look() ([]Visit, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.visits), b.changed
}

func (b *guestbook) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visits = nil
}

func (b *guestbook) wait(ctx context.Context, like func(Visit) bool) (Visit, error) {
	for {
		visits, more := b.look()
		if i := slices.IndexFunc(visits, like); i >= 0 {
			return visits[i], nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Visit{}, fmt.Errorf("no such visit among %v: %w", visits, ctx.Err())
		}
	}
}

// Visits returns who asked any of the servers so far.
func (in *Internet) Visits() []Visit {
	visits, _ := in.book.look()
	return visits
}

// Forget starts a new page of the book.
func (in *Internet) Forget() { in.book.clear() }

// Await returns the first visit that is like what is looked for, and fails the
// test if there is none in time.
func (in *Internet) Await(t testing.TB, like func(Visit) bool) Visit {
	t.Helper()
	ctx, cancel := bounded(t.Context())
	defer cancel()
	v, err := in.book.wait(ctx, like)
	if err != nil {
		t.Fatalf("nettest: %s: %v", in.Name, err)
	}
	return v
}
