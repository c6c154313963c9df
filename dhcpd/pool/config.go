package pool

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
)

// Infinite is the LeaseTime of a lease that never ends, and InfiniteSeconds its value
// on the wire (RFC 2131 §3.3, RFC 8415 §7.7).
const (
	Infinite        = time.Duration(math.MaxInt64)
	InfiniteSeconds = math.MaxUint32
)

const (
	defaultLeaseTime = time.Hour
	minLeaseTime     = 2 * time.Minute // that a client can ask for; dnsmasq's limit too
	maxDUID          = 130             // RFC 8415 §11.1
)

// A SubnetConfig is one prefix of a link, or behind relays on it.
type SubnetConfig struct {
	Server       netip.Prefix  // the server's address, and the subnet
	Relayed      netip.Prefix  // zero: none; else the subnet is this one, behind relays
	Ranges       []Range       // for clients without a reservation
	LeaseTime    time.Duration // 0: an hour
	RenewTime    time.Duration // T1; 0: half of the lease time
	RebindTime   time.Duration // T2; 0: seven eighths of it, in IPv6 four fifths
	Reservations []Reservation
	Options      option.List // for clients with an address in the subnet
	Tags         []option.Tag
}

// A Range is the addresses from Start to End, both included.
type Range struct{ Start, End netip.Addr }

// A Reservation gives a client always the same address and hostname. The client
// is known by its MAC, its ClientID or its DUID (any of them, in IPv6), or, with none
// of them, by the hostname that it sends. The address may be outside of the ranges;
// without one, only the hostname is fixed. Hostname may be "" if another key is there.
// Options and the named tags take precedence over those of the subnet.
type Reservation struct {
	MAC      lease.MAC
	ClientID string // IPv4: the octets of option 61; with or without a type of 0 before them
	DUID     string // the octets; in IPv4 that of a client identifier of RFC 4361
	Address  netip.Addr
	Hostname string
	Options  option.List
	Tags     []string
	BootFile string // takes precedence over the boot files of the subnet

	subnet *Subnet
	own    *option.Own
}

// A Subnet is a SubnetConfig that was checked and made ready. It does not change.
type Subnet struct {
	Server    netip.Addr
	Prefix    netip.Prefix
	Relayed   bool       // behind a relay
	Broadcast netip.Addr // of IPv4; zero in a /31 or /32
	T1, T2    uint32     // seconds; 0: derived from the lease time
	Book      *option.Book
	Number    int // among those of its service

	leaseTime time.Duration
	ranges    ranges
}

// Size returns how many addresses the ranges have, or MaxUint64 if more.
func (s *Subnet) Size() uint64 { return s.ranges.size }

// Usable reports whether a client may have the address: it is neither the server's, nor
// the network's (in IPv6 the subnet-router anycast address, RFC 4291 §2.6.1), nor the
// broadcast address.
func (s *Subnet) Usable(a netip.Addr) bool {
	if !s.Prefix.Contains(a) || a == s.Server {
		return false
	}
	return s.Prefix.Bits() >= s.Prefix.Addr().BitLen()-1 || a != s.Prefix.Addr() && a != s.Broadcast
}

// InRange reports whether a usable address is in a range.
func (s *Subnet) InRange(a netip.Addr) bool {
	_, in := s.ranges.number(a)
	return in && s.Usable(a)
}

// Seconds returns the lease time for a client that asks for one, or for 0.
func (s *Subnet) Seconds(asked time.Duration) uint32 {
	d := s.leaseTime
	if asked > 0 && asked < d {
		d = min(d, max(asked, minLeaseTime))
	}
	return uint32(min(max(d/time.Second, 1), InfiniteSeconds))
}

// A Service is the subnets of one link and those behind relays on it, with their
// reservations. It does not change once it is complete.
type Service struct {
	IPv6    bool
	Subnets []*Subnet
	OnLink  []*Subnet // those that are not behind a relay

	sorted     []*Subnet // by prefix
	size       uint64    // addresses in all ranges, or MaxUint64 if more
	byMAC      map[lease.MAC][]*Reservation
	byID       map[string][]*Reservation // by ClientID, and with a type of 0 before it
	byDUID     map[string][]*Reservation
	byOwnName  map[string][]*Reservation // by the hostname that the client sends
	byAddr     map[netip.Addr]*Reservation
	byHostname map[string]*Reservation
	macsOnly   bool // every reservation has a MAC
}

// NewService returns a service without subnets.
func NewService(ipv6 bool) *Service {
	return &Service{
		IPv6: ipv6, macsOnly: true,
		byMAC: map[lease.MAC][]*Reservation{}, byID: map[string][]*Reservation{}, byDUID: map[string][]*Reservation{},
		byOwnName: map[string][]*Reservation{}, byAddr: map[netip.Addr]*Reservation{}, byHostname: map[string]*Reservation{},
	}
}

// Add checks a subnet and its reservations, and adds it. book makes its options ready. The
// subnet is nil if it has no valid prefix.
func (s *Service) Add(cfg *SubnetConfig, book func(*Subnet) (*option.Book, error)) (*Subnet, []error) {
	family := "IPv4"
	if s.IPv6 {
		family = "IPv6"
	}
	isFamily := func(a netip.Addr) bool { return a.Is6() == s.IPv6 && a.IsValid() && !a.Is4In6() }
	if !isFamily(cfg.Server.Addr()) {
		return nil, []error{fmt.Errorf("server: %q is not an %s address with a prefix", cfg.Server, family)}
	}
	sub := &Subnet{
		Server: cfg.Server.Addr(), Prefix: cfg.Server.Masked(), Number: len(s.Subnets), leaseTime: cmp.Or(cfg.LeaseTime, defaultLeaseTime),
		T1: uint32(cfg.RenewTime / time.Second), T2: uint32(cfg.RebindTime / time.Second),
	}
	if cfg.Relayed.IsValid() {
		sub.Relayed, sub.Prefix = true, cfg.Relayed.Masked()
	}
	if !isFamily(sub.Prefix.Addr()) {
		return nil, []error{fmt.Errorf("relayed: %q is not an %s prefix", cfg.Relayed, family)}
	}
	if !s.IPv6 && sub.Prefix.Bits() < 31 {
		sub.Broadcast = add(sub.Prefix.Addr(), math.MaxUint32>>sub.Prefix.Bits())
	}
	var errs []error
	if cfg.LeaseTime < 0 {
		errs = append(errs, fmt.Errorf("leaseTime: %s is negative", cfg.LeaseTime))
	}
	if cfg.RenewTime < 0 || cfg.RebindTime < 0 {
		errs = append(errs, fmt.Errorf("renewTime, rebindTime: %s is negative", min(cfg.RenewTime, cfg.RebindTime)))
	}
	var err error
	if sub.ranges, err = newRanges(sub.Prefix, cfg.Ranges); err != nil {
		errs = append(errs, lines(err)...)
	}
	if sub.Book, err = book(sub); err != nil {
		errs = append(errs, lines(err)...)
	}
	s.size = addSaturated(s.size, sub.ranges.size)
	s.Subnets = append(s.Subnets, sub)
	if !sub.Relayed {
		s.OnLink = append(s.OnLink, sub)
	}
	for i := range cfg.Reservations {
		if err := s.reserve(sub, cfg.Reservations[i]); err != nil {
			errs = append(errs, fmt.Errorf("reservations[%d]: %w", i, err))
		}
	}
	return sub, errs
}

// lines returns the parts of a joined error.
func lines(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		all = append(all, lines(e)...)
	}
	return all
}

// Complete makes subnets be found by address. No two may overlap.
func (s *Service) Complete() (errs []error) {
	s.sorted = slices.Clone(s.Subnets)
	slices.SortStableFunc(s.sorted, func(a, b *Subnet) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	for i := 1; i < len(s.sorted); i++ {
		a, b := s.sorted[i-1], s.sorted[i]
		if a.Prefix.Overlaps(b.Prefix) {
			if a.Number > b.Number {
				a, b = b, a
			}
			errs = append(errs, fmt.Errorf("subnets[%d].server: %s overlaps %s", b.Number, b.Prefix, a.Prefix))
		}
	}
	return errs
}

// reserve checks a reservation of a subnet and indexes it.
func (s *Service) reserve(sub *Subnet, r Reservation) (err error) {
	r.subnet = sub
	switch ownName := r.byOwnName(); {
	case ownName && r.Hostname == "" && s.IPv6:
		return errors.New("neither a MAC, nor a DUID, nor a hostname")
	case ownName && r.Hostname == "":
		return errors.New("neither a MAC, nor a client identifier, nor a DUID, nor a hostname")
	case s.IPv6 && r.DUID != "" && !ValidDUID(r.DUID):
		return fmt.Errorf("duid: %d octets, want 3 to %d", len(r.DUID), maxDUID)
	}
	if sub.Book != nil { // else the error in its options has been reported
		if r.own, err = sub.Book.Own(r.Options, r.Tags); err != nil {
			return err
		}
	}
	if r.Hostname != "" {
		name := Hostname([]byte(r.Hostname))
		if name == "" {
			return fmt.Errorf("hostname %q is not a label of letters, digits and inner hyphens", r.Hostname)
		}
		// In two subnets a client has the same name.
		if o := s.byHostname[name]; o != nil && (!o.sameClient(&r) || !s.IPv6 && sub.Prefix.Contains(o.Address)) {
			return fmt.Errorf("hostname %q is reserved twice", name)
		}
		r.Hostname = name
	}
	if !s.IPv6 {
		for _, o := range slices.Concat(s.byMAC[r.MAC], s.byID[r.ClientID], s.byDUID[r.DUID]) {
			if o.sameClient(&r) && sub.Prefix.Contains(o.Address) {
				who := r.MAC.String()
				if r.MAC == (lease.MAC{}) {
					who = fmt.Sprintf("client identifier %x", r.ClientID)
				}
				if r.MAC == (lease.MAC{}) && r.ClientID == "" {
					who = fmt.Sprintf("DUID %x", r.DUID)
				}
				return fmt.Errorf("%s has two reservations", who)
			}
		}
	}
	if r.Address.IsValid() {
		if !sub.Usable(r.Address) {
			return fmt.Errorf("%s is not an address for a client of %s", r.Address, sub.Prefix)
		}
		if s.byAddr[r.Address] != nil {
			return fmt.Errorf("%s is reserved twice", r.Address)
		}
		s.byAddr[r.Address] = &r
	}
	if r.MAC == (lease.MAC{}) {
		s.macsOnly = false
	} else {
		s.byMAC[r.MAC] = append(s.byMAC[r.MAC], &r)
	}
	if r.ClientID != "" {
		for _, id := range []string{r.ClientID, "\x00" + r.ClientID} {
			s.byID[id] = append(s.byID[id], &r)
		}
	}
	if r.DUID != "" {
		s.byDUID[r.DUID] = append(s.byDUID[r.DUID], &r)
	}
	if r.byOwnName() {
		s.byOwnName[r.Hostname] = append(s.byOwnName[r.Hostname], &r)
	}
	if r.Hostname != "" {
		s.byHostname[r.Hostname] = &r
	}
	return nil
}

// ValidDUID reports whether a DUID has an allowed length.
func ValidDUID(d string) bool { return len(d) >= 3 && len(d) <= maxDUID }

// byOwnName reports whether the client is known by the hostname that it sends.
func (r *Reservation) byOwnName() bool {
	return r.MAC == (lease.MAC{}) && r.ClientID == "" && r.DUID == ""
}

func (r *Reservation) sameClient(o *Reservation) bool {
	return r.MAC == o.MAC && r.ClientID == o.ClientID && r.DUID == o.DUID && (!r.byOwnName() || r.Hostname == o.Hostname)
}

// IsFor reports whether a reservation is the client's.
func (r *Reservation) IsFor(c *Client) bool {
	switch {
	case r.MAC != (lease.MAC{}) && r.MAC == c.Key.MAC:
		return true
	case r.ClientID != "" && (r.ClientID == c.ID || "\x00"+r.ClientID == c.ID):
		return true
	case r.DUID != "" && r.DUID == c.DUID:
		return true
	}
	return r.byOwnName() && r.Hostname == c.Name
}

// reservations are those of a client: by MAC, client identifier, DUID, hostname.
func (s *Service) reservations(c *Client) iter.Seq[*Reservation] {
	return func(yield func(*Reservation) bool) {
		for _, all := range [][]*Reservation{s.byMAC[c.Key.MAC], s.byID[c.ID], s.byDUID[c.DUID], s.byOwnName[c.Name]} {
			for _, r := range all {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// ReservationOf returns the reservation of an address, or nil.
func (s *Service) ReservationOf(a netip.Addr) *Reservation { return s.byAddr[a] }

// Profile returns the options and the boot file that a client's reservations have in
// sub, or, if sub is nil, in any subnet of the client, which it then returns.
func (s *Service) Profile(c *Client, sub *Subnet) (own *option.Own, bootFile string, in *Subnet) {
	in = sub
	for r := range s.reservations(c) {
		if bootFile == "" && (s.IPv6 || !r.Address.IsValid() || sub.Prefix.Contains(r.Address)) {
			bootFile = r.BootFile
		}
		if own == nil && r.own != nil && (r.subnet == sub || sub == nil && slices.Contains(c.Subnets, r.subnet)) {
			own, in = r.own, r.subnet
		}
	}
	return own, bootFile, in
}

// Subnet returns the subnet that an address is in, or nil.
func (s *Service) Subnet(a netip.Addr) *Subnet {
	i, found := slices.BinarySearchFunc(s.sorted, a, func(sub *Subnet, a netip.Addr) int { return sub.Prefix.Addr().Compare(a) })
	if !found {
		i--
	}
	if i < 0 || !s.sorted[i].Prefix.Contains(a) {
		return nil
	}
	return s.sorted[i]
}
