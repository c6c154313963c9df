package v4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
)

// Infinite is the LeaseTime of a lease that never ends.
const Infinite = time.Duration(math.MaxInt64)

const (
	defaultLeaseTime = time.Hour
	shortestLease    = 2 * time.Minute // that a client can ask for; dnsmasq's limit too
	infiniteSeconds  = math.MaxUint32  // RFC 2131 §3.3
	ethernetMTU      = 1500
)

// A Range is the addresses from Start to End, both included.
type Range struct{ Start, End netip.Addr }

// A Reservation gives a client always the same address and hostname. The client
// is known by its MAC, its ClientID or its DUID, or, with none of them, by what
// it calls itself: Hostname. The address may be outside of the ranges; without
// one, only the hostname is fixed. Hostname may be "" if another key is there.
// Options and the tags that it names count before those of the subnet.
type Reservation struct {
	MAC      lease.MAC
	ClientID string // the octets of option 61; with or without a type of 0 before them
	DUID     string // the octets; that in a client identifier of RFC 4361
	Address  netip.Addr
	Hostname string
	Options  option.List
	Tags     []string
	BootFile string // before all of Config.Boot's

	subnet *Subnet
	own    *option.Own
}

// A Config is what is served in one subnet. What Options say counts before
// Routers, DNS, Domain and MTU.
type Config struct {
	Server       netip.Prefix // our address, and the subnet
	Relayed      netip.Prefix // zero: none; else the subnet is this one, behind relays
	Ranges       []Range
	LeaseTime    time.Duration // 0: an hour
	RenewTime    time.Duration // T1; 0: half of the lease time
	RebindTime   time.Duration // T2; 0: seven eighths of it
	Reservations []Reservation
	Routers      []netip.Addr // option 3
	DNS          []netip.Addr // option 6
	Domain       string       // option 15, and what follows the hostname in option 81
	MTU          int          // of the link, option 26; 0: not sent, and 1500
	Options      option.List
	Tags         []option.Tag
	Boot         *boot.Config // nil: nobody is told what to boot
}

// A Subnet is a Config that was checked and made ready. It does not change.
type Subnet struct {
	server    netip.Addr
	prefix    netip.Prefix
	relayed   bool
	broadcast netip.Addr // zero in a /31 or /32
	leaseTime time.Duration
	t1, t2    uint32 // seconds; 0: as the lease time says
	domain    string
	longest   int // of a reply, headers included
	spans     spans
	number    int // of the subnet in its service
	book      *option.Book
	boot      *boot.Config
}

// Server returns our address, which replies come from.
func (s *Subnet) Server() netip.Addr { return s.server }

// Prefix returns the subnet's prefix.
func (s *Subnet) Prefix() netip.Prefix { return s.prefix }

// Size returns how many addresses the ranges have.
func (s *Subnet) Size() int { return s.spans.size }

// newSubnet makes a subnet ready, but for its reservations.
func newSubnet(cfg *Config) (*Subnet, error) {
	if !cfg.Server.Addr().Is4() {
		return nil, fmt.Errorf("server: %q is not an IPv4 address with a prefix", cfg.Server)
	}
	s := &Subnet{
		server: cfg.Server.Addr(), prefix: cfg.Server.Masked(), leaseTime: cfg.LeaseTime, domain: cfg.Domain, boot: cfg.Boot,
		t1: uint32(cfg.RenewTime / time.Second), t2: uint32(cfg.RebindTime / time.Second), longest: cmp.Or(cfg.MTU, ethernetMTU),
	}
	if cfg.Relayed.IsValid() {
		s.relayed, s.prefix = true, cfg.Relayed.Masked()
	}
	if !s.prefix.Addr().Is4() {
		return nil, fmt.Errorf("relayed: %q is not an IPv4 prefix", cfg.Relayed)
	}
	if s.leaseTime == 0 {
		s.leaseTime = defaultLeaseTime
	}
	if s.prefix.Bits() < 31 {
		s.broadcast = lastAddr(s.prefix)
	}
	err := errors.Join(s.setRanges(cfg.Ranges), s.setOptions(cfg), checkBoot(cfg))
	if cfg.LeaseTime < 0 {
		err = errors.Join(err, fmt.Errorf("leaseTime: %s is negative", cfg.LeaseTime))
	}
	return s, err
}

func (s *Subnet) setRanges(ranges []Range) error {
	var errs []error
	var all []span
	for i, r := range ranges {
		switch {
		case !s.prefix.Contains(r.Start):
			errs = append(errs, fmt.Errorf("ranges[%d]: %s is outside %s", i, r.Start, s.prefix))
		case !s.prefix.Contains(r.End):
			errs = append(errs, fmt.Errorf("ranges[%d]: %s is outside %s", i, r.End, s.prefix))
		case r.End.Less(r.Start):
			errs = append(errs, fmt.Errorf("ranges[%d]: %s comes after %s", i, r.Start, r.End))
		case toUint(r.End)-toUint(r.Start) >= maxSpan:
			errs = append(errs, fmt.Errorf("ranges[%d]: more than %d addresses", i, maxSpan))
		default:
			all = append(all, span{first: toUint(r.Start), last: toUint(r.End)})
		}
	}
	s.spans = newSpans(all)
	if s.spans.size > maxSpan {
		errs = append(errs, fmt.Errorf("ranges: more than %d addresses", maxSpan))
	}
	return errors.Join(errs...)
}

// usable says whether a client may have the address at all.
func (s *Subnet) usable(a netip.Addr) bool {
	if !s.prefix.Contains(a) || a == s.server {
		return false
	}
	return s.prefix.Bits() >= 31 || a != s.prefix.Addr() && a != s.broadcast
}

// seconds is what option 51 says to a client that asks for so long, or not
// at all.
func (s *Subnet) seconds(asked time.Duration) uint32 {
	d := s.leaseTime
	if asked > 0 && asked < d {
		d = min(d, max(asked, shortestLease))
	}
	return uint32(min(max(d/time.Second, 1), infiniteSeconds))
}

func lastAddr(p netip.Prefix) netip.Addr {
	return fromUint(toUint(p.Addr()) | math.MaxUint32>>p.Bits())
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func fromUint(u uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], u)
	return netip.AddrFrom4(b)
}
