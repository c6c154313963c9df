package dhcpd

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/pool"
)

const (
	tellFullEvery = time.Minute
	fullFor       = 10 * time.Minute // since the last guest that got nothing
)

// FullPool is a pool that had no address for a guest.
type FullPool struct {
	Network string
	Subnet  netip.Prefix
	Size    uint64    // addresses in its ranges
	Since   time.Time // the first guest that got nothing
}

// String says it to a person, and what to do.
func (f FullPool) String() string {
	return fmt.Sprintf("the pool of %s in network %s is full: a guest got none of its %d addresses; give it more dhcp.ranges, or a shorter dhcp.leaseTime",
		f.Subnet, f.Network, f.Size)
}

// fullPools are the pools that are full. It may be used from any goroutine.
type fullPools struct {
	tell func(FullPool) // nil: nobody listens
	log  *slog.Logger

	mu  sync.Mutex
	all map[poolKey]*fullPool
}

type poolKey struct {
	network string
	subnet  netip.Prefix
}

type fullPool struct {
	FullPool
	last, told time.Time
}

// note notes that a guest got nothing of its pools, and tells so once a minute.
func (f *fullPools) note(network string, subnets []*pool.Subnet, now time.Time) {
	for _, s := range subnets {
		if s.Size() == 0 {
			continue
		}
		if tell := f.noteOne(network, s, now); tell != nil {
			f.log.Warn(tell.String(), "network", network)
			if f.tell != nil {
				f.tell(*tell)
			}
		}
	}
}

func (f *fullPools) noteOne(network string, s *pool.Subnet, now time.Time) *FullPool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := poolKey{network, s.Prefix}
	p := f.all[key]
	if p == nil {
		p = &fullPool{FullPool: FullPool{network, s.Prefix, s.Size(), now}}
		f.all[key] = p
	}
	p.last, p.Size = now, s.Size()
	if !p.told.IsZero() && now.Sub(p.told) < tellFullEvery {
		return nil
	}
	p.told = now
	said := p.FullPool
	return &said
}

// gave notes that a guest got a new address of a subnet. Who was told that the
// pool is full is not told again at once when it is full again.
func (f *fullPools) gave(network string, subnet netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.all[poolKey{network, subnet}]; p != nil {
		p.last = time.Time{}
	}
}

func (f *fullPools) forget(network string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.all {
		if key.network == network {
			delete(f.all, key)
		}
	}
}

// Full returns the pools that are full, sorted by network and subnet: those that
// had nothing for a guest in the last ten minutes, and have given nothing new
// since.
func (s *Server) Full() []FullPool {
	f, now := &s.full, time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []FullPool
	for _, p := range f.all {
		if now.Sub(p.last) < fullFor {
			out = append(out, p.FullPool)
		}
	}
	slices.SortFunc(out, func(a, b FullPool) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), a.Subnet.Addr().Compare(b.Subnet.Addr()))
	})
	return out
}

// OnFull has f called when a pool has no address for a guest, once a minute for
// each pool at most. Call it before Set; f must not wait.
func (s *Server) OnFull(f func(FullPool)) { s.full.tell = f }
