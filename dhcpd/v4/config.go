package v4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

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

// A Reservation gives a client always the same address and hostname. The
// address may be outside of the ranges; without one, only the hostname is
// fixed. Hostname may be "". Options and the tags that it names count before
// those of the subnet.
type Reservation struct {
	MAC      lease.MAC
	Address  netip.Addr
	Hostname string
	Options  option.List
	Tags     []string
}

// A Config is what is served in one subnet. What Options say counts before
// Routers, DNS, Domain and MTU.
type Config struct {
	Server       netip.Prefix // our address, and the subnet
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
}

// A Subnet is a Config that was checked and made ready. It does not change.
type Subnet struct {
	server    netip.Addr
	prefix    netip.Prefix
	broadcast netip.Addr // zero in a /31 or /32
	leaseTime time.Duration
	t1, t2    uint32 // seconds; 0: as the lease time says
	domain    string
	longest   int // of a reply, headers included
	spans     spans
	byMAC     map[lease.MAC]Reservation
	byAddr    map[netip.Addr]lease.MAC
	byName    map[string]lease.MAC
	book      *option.Book
	own       map[lease.MAC]*option.Own // of reservations with options or tags
}

// Compile checks a Config and makes it ready. The error has a line for each
// finding, with the path of what is wrong.
func Compile(cfg Config) (*Subnet, error) {
	if !cfg.Server.Addr().Is4() {
		return nil, fmt.Errorf("server: %q is not an IPv4 address with a prefix", cfg.Server)
	}
	s := &Subnet{
		server:    cfg.Server.Addr(),
		prefix:    cfg.Server.Masked(),
		leaseTime: cfg.LeaseTime,
		t1:        uint32(cfg.RenewTime / time.Second),
		t2:        uint32(cfg.RebindTime / time.Second),
		domain:    cfg.Domain,
		longest:   cmp.Or(cfg.MTU, ethernetMTU),
		byMAC:     map[lease.MAC]Reservation{},
		byAddr:    map[netip.Addr]lease.MAC{},
		byName:    map[string]lease.MAC{},
	}
	if s.leaseTime == 0 {
		s.leaseTime = defaultLeaseTime
	}
	if s.prefix.Bits() < 31 {
		s.broadcast = lastAddr(s.prefix)
	}
	err := errors.Join(s.setRanges(cfg.Ranges), s.setReservations(cfg.Reservations), s.setOptions(&cfg))
	if cfg.LeaseTime < 0 {
		err = errors.Join(err, fmt.Errorf("leaseTime: %s is negative", cfg.LeaseTime))
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Subnet) setRanges(ranges []Range) error {
	var errs []error
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
			s.spans.add(toUint(r.Start), toUint(r.End))
		}
	}
	if s.spans.size > maxSpan {
		errs = append(errs, fmt.Errorf("ranges: more than %d addresses", maxSpan))
	}
	return errors.Join(errs...)
}

func (s *Subnet) setReservations(all []Reservation) error {
	var errs []error
	for i, r := range all {
		if err := s.reserve(r); err != nil {
			errs = append(errs, fmt.Errorf("reservations[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Subnet) reserve(r Reservation) error {
	if _, twice := s.byMAC[r.MAC]; twice {
		return fmt.Errorf("%s is reserved for twice", r.MAC)
	}
	if r.Address.IsValid() {
		if !s.usable(r.Address) {
			return fmt.Errorf("%s is not an address for a client of %s", r.Address, s.prefix)
		}
		if _, twice := s.byAddr[r.Address]; twice {
			return fmt.Errorf("%s is reserved twice", r.Address)
		}
		s.byAddr[r.Address] = r.MAC
	}
	if r.Hostname != "" {
		name := Hostname([]byte(r.Hostname))
		if name == "" {
			return fmt.Errorf("hostname %q is not a label of letters, digits and inner hyphens", r.Hostname)
		}
		if _, twice := s.byName[name]; twice {
			return fmt.Errorf("hostname %q is reserved twice", name)
		}
		r.Hostname = name
		s.byName[name] = r.MAC
	}
	s.byMAC[r.MAC] = r
	return nil
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
