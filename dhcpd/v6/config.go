package v6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/v4"
)

// Infinite is the LeaseTime of a lease that never ends.
const Infinite = v4.Infinite

const (
	defaultLeaseTime = time.Hour
	infiniteSeconds  = math.MaxUint32 // RFC 8415 §7.7
	maxDUID          = 130            // RFC 8415 §11.1
	maxBoot          = 512            // octets of a boot file's name and parameters
)

// A Config is what is served on one link.
type Config struct {
	DUID      string // the server's own, see DUIDLL
	Subnets   []Subnet
	Stateless bool         // addresses are not given, only what follows
	DNS       []netip.Addr // option 23
	Search    []string     // option 24
	Domain    string       // what follows a client's hostname in option 39
	Boot      *boot.Config // nil: nobody is told what to boot

	// What a client is told that gets no address; what they say counts before
	// DNS and Search.
	Options option.List
	Tags    []option.Tag
}

// A Subnet is one prefix of the link.
type Subnet struct {
	Server       netip.Prefix  // our address, and the subnet
	Relayed      netip.Prefix  // zero: none; else the subnet is this one, behind relays
	Ranges       []Range       // for clients without a reservation
	LeaseTime    time.Duration // 0: an hour
	RenewTime    time.Duration // T1; 0: half of the lease time
	RebindTime   time.Duration // T2; 0: four fifths of it
	Reservations []Reservation
	Options      option.List // for who gets an address here; before DNS and Search
	Tags         []option.Tag
}

// A Range is the addresses from Start to End, both included: up to 2^64 of
// them.
type Range struct{ Start, End netip.Addr }

// A Reservation gives a client always the same address and hostname. The client
// is known by its MAC or its DUID; if both are given, by either; if neither is,
// by what it calls itself. The address may be outside of the ranges; without
// one, only the hostname is fixed. Hostname may be "" if another key is there.
// Options and the tags that it names count before those of the subnet.
type Reservation struct {
	MAC      lease.MAC
	DUID     string // the octets
	Address  netip.Addr
	Hostname string
	Options  option.List
	Tags     []string
	BootFile string // before all of Config.Boot's

	subnet int
	own    *option.Own
}

// DUIDLL returns the DUID that is made of an Ethernet address (RFC 8415 §11.4).
func DUIDLL(mac lease.MAC) string { return "\x00\x03\x00\x01" + string(mac[:]) }

// A Service is a Config that was checked and made ready. It does not change.
type Service struct {
	duid      string
	stateless bool
	domain    string
	subnets   []subnet
	onLink    []*subnet // those that are not behind a relay
	size      uint64    // addresses in all ranges, or MaxUint64 if more
	byMAC     map[lease.MAC][]*Reservation
	byDUID    map[string][]*Reservation
	byOwn     map[string][]*Reservation // by what the client calls itself
	byAddr    map[netip.Addr]*Reservation
	byName    map[string]*Reservation
	book      *option.Book // for clients without an address
	boot      *boot.Config
}

type subnet struct {
	server    netip.Addr
	prefix    netip.Prefix
	relayed   bool
	leaseTime time.Duration
	t1, t2    uint32 // seconds; 0: as the lease time says
	spans     []span
	book      *option.Book
}

// Compile checks a Config and makes it ready. The error has a line for each
// finding, with the path of what is wrong.
func Compile(cfg Config) (*Service, error) {
	s := &Service{
		duid: cfg.DUID, stateless: cfg.Stateless, domain: cfg.Domain, boot: cfg.Boot,
		byMAC: map[lease.MAC][]*Reservation{}, byDUID: map[string][]*Reservation{},
		byOwn: map[string][]*Reservation{}, byAddr: map[netip.Addr]*Reservation{}, byName: map[string]*Reservation{},
	}
	var errs []error
	if !validDUID(cfg.DUID) {
		errs = append(errs, fmt.Errorf("duid: %d octets, want 3 to %d", len(cfg.DUID), maxDUID))
	}
	given, err := given(&cfg)
	errs = append(errs, err)
	if s.book, err = newBook(cfg.Options, given, cfg.Tags); err != nil {
		errs = append(errs, err)
	}
	for i, sub := range cfg.Subnets {
		for _, err := range s.addSubnet(sub, given) {
			errs = append(errs, fmt.Errorf("subnets[%d]%w", i, err))
		}
	}
	errs = append(errs, checkBoot(&cfg))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range s.subnets {
		if sub := &s.subnets[i]; !sub.relayed {
			s.onLink = append(s.onLink, sub)
		}
	}
	return s, nil
}

func validDUID(d string) bool { return len(d) >= 3 && len(d) <= maxDUID }

func (s *Service) addSubnet(cfg Subnet, given option.List) (errs []error) {
	a := cfg.Server.Addr()
	if !cfg.Server.IsValid() || !a.Is6() || a.Is4In6() {
		return []error{fmt.Errorf(".server: %q is not an IPv6 address with a prefix", cfg.Server)}
	}
	sub := subnet{
		server: a, prefix: cfg.Server.Masked(), leaseTime: cfg.LeaseTime,
		t1: uint32(cfg.RenewTime / time.Second), t2: uint32(cfg.RebindTime / time.Second),
	}
	if cfg.Relayed.IsValid() {
		sub.relayed, sub.prefix = true, cfg.Relayed.Masked()
	}
	if !sub.prefix.Addr().Is6() {
		return []error{fmt.Errorf(".relayed: %q is not an IPv6 prefix", cfg.Relayed)}
	}
	if sub.leaseTime == 0 {
		sub.leaseTime = defaultLeaseTime
	}
	if sub.leaseTime < 0 {
		errs = append(errs, fmt.Errorf(".leaseTime: %s is negative", cfg.LeaseTime))
	}
	var err error
	if sub.book, err = newBook(cfg.Options, given, cfg.Tags); err != nil {
		return append(errs, fmt.Errorf(".%w", err))
	}
	for i, r := range cfg.Ranges {
		sp, err := newSpan(r, sub.prefix)
		if err != nil {
			errs = append(errs, fmt.Errorf(".ranges[%d]: %w", i, err))
			continue
		}
		sub.spans = append(sub.spans, sp)
		s.size = addSaturated(addSaturated(s.size, sp.last), 1)
	}
	for i := range cfg.Reservations {
		if err := s.reserve(&sub, cfg.Reservations[i]); err != nil {
			errs = append(errs, fmt.Errorf(".reservations[%d]: %w", i, err))
		}
	}
	s.subnets = append(s.subnets, sub)
	return errs
}

func (s *Service) reserve(sub *subnet, r Reservation) error {
	if r.byOwnName() && r.Hostname == "" {
		return errors.New("neither a MAC, nor a DUID, nor a hostname")
	}
	if r.DUID != "" && !validDUID(r.DUID) {
		return fmt.Errorf("duid: %d octets, want 3 to %d", len(r.DUID), maxDUID)
	}
	r.subnet = len(s.subnets)
	var err error
	if r.own, err = sub.book.Own(r.Options, r.Tags); err != nil {
		return err
	}
	if r.Address.IsValid() {
		if !sub.usable(r.Address) {
			return fmt.Errorf("%s is not an address for a client of %s", r.Address, sub.prefix)
		}
		if s.byAddr[r.Address] != nil {
			return fmt.Errorf("%s is reserved twice", r.Address)
		}
		s.byAddr[r.Address] = &r
	}
	if err := s.reserveName(&r); err != nil {
		return err
	}
	if r.DUID != "" {
		s.byDUID[r.DUID] = append(s.byDUID[r.DUID], &r)
	}
	if r.MAC != (lease.MAC{}) {
		s.byMAC[r.MAC] = append(s.byMAC[r.MAC], &r)
	}
	if r.byOwnName() {
		s.byOwn[r.Hostname] = append(s.byOwn[r.Hostname], &r)
	}
	return nil
}

// byOwnName says whether the client is known by what it calls itself.
func (r *Reservation) byOwnName() bool { return r.MAC == (lease.MAC{}) && r.DUID == "" }

func (s *Service) reserveName(r *Reservation) error {
	if r.Hostname == "" {
		return nil
	}
	name := v4.Hostname([]byte(r.Hostname))
	if name == "" {
		return fmt.Errorf("hostname %q is not a label of letters, digits and inner hyphens", r.Hostname)
	}
	// In two subnets a guest has the same name.
	if o := s.byName[name]; o != nil && (o.MAC != r.MAC || o.DUID != r.DUID) {
		return fmt.Errorf("hostname %q is reserved twice", name)
	}
	r.Hostname = name
	s.byName[name] = r
	return nil
}

// reservations are those of a client, the surest first.
func (s *Service) reservations(c *client) iter.Seq[*Reservation] {
	return func(yield func(*Reservation) bool) {
		for _, all := range [][]*Reservation{s.byMAC[c.MAC], s.byDUID[c.DUID], s.byOwn[c.name]} {
			for _, r := range all {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// isFor says whether a reservation is the client's.
func (r *Reservation) isFor(c *client) bool {
	return r.DUID != "" && r.DUID == c.DUID || r.MAC != (lease.MAC{}) && r.MAC == c.MAC ||
		r.byOwnName() && r.Hostname == c.name
}

// RelayServers returns our addresses that relays may send to. A nil Service has
// none.
func (s *Service) RelayServers() []netip.Addr {
	var all []netip.Addr
	if s == nil {
		return nil
	}
	for i := range s.subnets {
		if sub := &s.subnets[i]; sub.relayed && !slices.Contains(all, sub.server) {
			all = append(all, sub.server)
		}
	}
	return all
}

// reach returns the subnets that a message may be answered from: those of the
// link, or the one that its relays name, which may be one of the link's.
func (s *Service) reach(req *Request) []*subnet {
	link := req.link()
	if !link.IsValid() {
		return s.onLink
	}
	for i := range s.subnets {
		if sub := &s.subnets[i]; sub.prefix.Contains(link) {
			if !sub.relayed && req.Source.IsValid() && !req.Source.IsLinkLocalUnicast() && req.Source != link {
				return nil // it is not where it says
			}
			return []*subnet{sub}
		}
	}
	return nil
}

// subnet returns the subnet that an address is in, or nil.
func (s *Service) subnet(a netip.Addr) *subnet {
	for i := range s.subnets {
		if s.subnets[i].prefix.Contains(a) {
			return &s.subnets[i]
		}
	}
	return nil
}

// usable says whether a client may have the address at all. The first of a
// subnet is its routers' anycast address (RFC 4291 §2.6.1).
func (s *subnet) usable(a netip.Addr) bool {
	if !s.prefix.Contains(a) || a == s.server {
		return false
	}
	return s.prefix.Bits() >= 127 || a != s.prefix.Addr()
}

func (s *subnet) contains(a netip.Addr) bool {
	for i := range s.spans {
		if s.spans[i].contains(a) {
			return true
		}
	}
	return false
}

// seconds is the valid and preferred lifetime of the subnet's leases.
func (s *subnet) seconds() uint32 {
	return uint32(min(max(s.leaseTime/time.Second, 1), infiniteSeconds))
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}
