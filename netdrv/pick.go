package netdrv

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// DefaultPools are where subnets are picked from: RFC 1918 space that routers
// at home, clouds and Docker's defaults leave alone. IPv6 prefixes are
// unique-local (RFC 4193), from a random /48.
var DefaultPools = []netip.Prefix{
	netip.MustParsePrefix("192.168.128.0/17"),
	netip.MustParsePrefix("10.128.0.0/9"),
}

// pickTries bounds the search in one pool: its first so many prefixes, which is
// more than the networks that a host can have.
const pickTries = 1 << 14

// Pick returns n with each unspecified subnet address, 0.0.0.0/24 or ::/64,
// replaced by the first address of a free prefix of that length in pools. What
// old had in the same place stays. taken says what a prefix collides with, the
// first thing that comes to mind, or nothing. random makes a unique-local /48.
func Pick(n Network, old *Network, pools []netip.Prefix, taken func(netip.Prefix) bool, random [5]byte) (Network, Findings) {
	var fs Findings
	n.Subnets = slices.Clone(n.Subnets)
	p := picker{pools: pools, taken: taken, ula: uniqueLocal(random), next: map[netip.Prefix]netip.Prefix{}}
	for _, s := range n.Subnets {
		if s.Address.IsValid() && !wildcard(s.Address) {
			p.use(s.Address)
		}
	}
	for i := range n.Subnets {
		a := &n.Subnets[i].Address
		if !wildcard(*a) {
			continue
		}
		if kept, ok := keep(*a, old, i); ok {
			*a = kept
			p.use(kept)
			continue
		}
		picked, ok := p.pick(*a)
		if !ok {
			fs.Add(index("subnets", i)+".address", "no free prefix of %d bits is left in the pools; name one, or widen subnetPools in vnetd.yaml", a.Bits())
			continue
		}
		*a = picked
		p.use(picked)
	}
	return n, fs
}

// keep returns what the old definition had, if that is such a prefix.
func keep(want netip.Prefix, old *Network, i int) (netip.Prefix, bool) {
	if old == nil || i >= len(old.Subnets) {
		return netip.Prefix{}, false
	}
	had := old.Subnets[i].Address
	return had, had.Bits() == want.Bits() && had.Addr().Is4() == want.Addr().Is4()
}

type picker struct {
	pools []netip.Prefix
	taken func(netip.Prefix) bool
	ula   netip.Prefix
	own   []Range                       // the network's own subnets, sorted
	next  map[netip.Prefix]netip.Prefix // of a pool's first prefix of a length, where the last search ended
}

// place returns where in own a range belongs that starts at a.
func (p *picker) place(a netip.Addr) int {
	return sort.Search(len(p.own), func(i int) bool { return !p.own[i].End.Less(a) })
}

func (p *picker) use(s netip.Prefix) {
	r := rangeOf(s)
	p.own = slices.Insert(p.own, p.place(r.Start), r)
}

func (p *picker) pick(want netip.Prefix) (netip.Prefix, bool) {
	pools := p.pools
	if want.Addr().Is6() {
		pools = append(pools[:len(pools):len(pools)], p.ula)
	}
	for _, pool := range pools {
		if pool.Addr().Is4() != want.Addr().Is4() || pool.Bits() > want.Bits() {
			continue
		}
		first := netip.PrefixFrom(pool.Masked().Addr(), want.Bits())
		c := first
		if next, ok := p.next[first]; ok {
			c = next
		}
		for range pickTries {
			if !pool.Contains(c.Addr()) {
				break
			}
			at := p.place(c.Addr())
			if !p.taken(c) && (at == len(p.own) || Broadcast(c).Less(p.own[at].Start)) {
				p.next[first] = nextPrefix(c)
				return netip.PrefixFrom(c.Addr().Next(), c.Bits()), true
			}
			c = nextPrefix(c)
		}
	}
	return netip.Prefix{}, false
}

// nextPrefix returns the prefix of the same length behind p. It wraps around at
// the end of the address space.
func nextPrefix(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	carry := uint16(1) << ((8 - p.Bits()%8) % 8)
	for i := (p.Bits() - 1) / 8; i >= 0 && carry > 0; i-- {
		carry += uint16(b[i])
		b[i] = byte(carry)
		carry >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}

// uniqueLocal is a /48 with a global ID of 40 random bits (RFC 4193 section 3).
func uniqueLocal(random [5]byte) netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], 0xfd<<56)
	copy(a[1:6], random[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}
