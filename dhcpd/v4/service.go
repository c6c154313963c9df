package v4

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// A Service is the subnets of one link, and those behind relays on it, checked
// and made ready. It does not change.
type Service struct {
	subnets  []*Subnet
	sorted   []*Subnet // by prefix
	onLink   []*Subnet // those that are not behind a relay
	byMAC    map[lease.MAC][]*Reservation
	byID     map[string][]*Reservation // by ClientID, and with a type of 0 before it
	byDUID   map[string][]*Reservation
	byOwn    map[string][]*Reservation // by what the client calls itself
	byAddr   map[netip.Addr]*Reservation
	byName   map[string]*Reservation
	onlyMACs bool // nobody has to be known otherwise
}

// Compile checks configurations and makes them ready, one for each subnet. The
// error has a line for each finding, with the path of what is wrong.
func Compile(cfgs ...Config) (*Service, error) {
	s := &Service{
		byMAC: map[lease.MAC][]*Reservation{}, byID: map[string][]*Reservation{}, byDUID: map[string][]*Reservation{},
		byOwn: map[string][]*Reservation{}, byAddr: map[netip.Addr]*Reservation{}, byName: map[string]*Reservation{},
		onlyMACs: true,
	}
	var errs []error
	for i := range cfgs {
		for _, err := range s.add(&cfgs[i]) {
			errs = append(errs, fmt.Errorf("subnets[%d].%w", i, err))
		}
	}
	errs = append(errs, s.sort()...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Service) add(cfg *Config) []error {
	sub, err := newSubnet(cfg)
	errs := lines(err)
	if sub == nil {
		return errs
	}
	sub.number = len(s.subnets)
	s.subnets = append(s.subnets, sub)
	if !sub.relayed {
		s.onLink = append(s.onLink, sub)
	}
	for i := range cfg.Reservations {
		if err := s.reserve(sub, cfg.Reservations[i]); err != nil {
			errs = append(errs, fmt.Errorf("reservations[%d]: %w", i, err))
		}
	}
	return errs
}

// sort makes subnets be found by address. No two may overlap.
func (s *Service) sort() (errs []error) {
	s.sorted = slices.Clone(s.subnets)
	slices.SortStableFunc(s.sorted, func(a, b *Subnet) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	for i := 1; i < len(s.sorted); i++ {
		a, b := s.sorted[i-1], s.sorted[i]
		if a.prefix.Overlaps(b.prefix) {
			if a.number > b.number {
				a, b = b, a
			}
			errs = append(errs, fmt.Errorf("subnets[%d].server: %s overlaps %s", b.number, b.prefix, a.prefix))
		}
	}
	return errs
}

// lines takes a joined error apart.
func lines(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, lines(e)...)
	}
	return all
}

func (s *Service) reserve(sub *Subnet, r Reservation) (err error) {
	r.subnet = sub
	if sub.book != nil { // else its options are wrong, which was said
		if r.own, err = sub.book.Own(r.Options, r.Tags); err != nil {
			return err
		}
	}
	if r.Hostname != "" {
		name := Hostname([]byte(r.Hostname))
		if name == "" {
			return fmt.Errorf("hostname %q is not a label of letters, digits and inner hyphens", r.Hostname)
		}
		// In two subnets a client has the same name.
		if o := s.byName[name]; o != nil && (!o.sameClient(&r) || sub.prefix.Contains(o.Address)) {
			return fmt.Errorf("hostname %q is reserved twice", name)
		}
		r.Hostname = name
	}
	for _, o := range s.known(&r) {
		if o.sameClient(&r) && sub.prefix.Contains(o.Address) {
			return fmt.Errorf("%s is reserved for twice", r.who())
		}
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
	return s.index(&r)
}

// known are the reservations with the same key.
func (s *Service) known(r *Reservation) []*Reservation {
	return slices.Concat(s.byMAC[r.MAC], s.byID[r.ClientID], s.byDUID[r.DUID])
}

// index enters a reservation by how its client is known.
func (s *Service) index(r *Reservation) error {
	if r.MAC != (lease.MAC{}) {
		s.byMAC[r.MAC] = append(s.byMAC[r.MAC], r)
	} else {
		s.onlyMACs = false
	}
	if r.ClientID != "" {
		for _, id := range []string{r.ClientID, "\x00" + r.ClientID} {
			s.byID[id] = append(s.byID[id], r)
		}
	}
	if r.DUID != "" {
		s.byDUID[r.DUID] = append(s.byDUID[r.DUID], r)
	}
	switch {
	case r.byOwnName() && r.Hostname == "":
		return errors.New("neither a MAC, nor a client identifier, nor a DUID, nor a hostname")
	case r.byOwnName():
		s.byOwn[r.Hostname] = append(s.byOwn[r.Hostname], r)
	}
	if r.Hostname != "" {
		s.byName[r.Hostname] = r
	}
	return nil
}

// byOwnName says whether the client is known by what it calls itself.
func (r *Reservation) byOwnName() bool {
	return r.MAC == (lease.MAC{}) && r.ClientID == "" && r.DUID == ""
}

func (r *Reservation) sameClient(o *Reservation) bool {
	return r.MAC == o.MAC && r.ClientID == o.ClientID && r.DUID == o.DUID && (!r.byOwnName() || r.Hostname == o.Hostname)
}

func (r *Reservation) who() string {
	switch {
	case r.MAC != (lease.MAC{}):
		return r.MAC.String()
	case r.ClientID != "":
		return fmt.Sprintf("client identifier %x", r.ClientID)
	}
	return fmt.Sprintf("DUID %x", r.DUID)
}

// reservations are those of a client, the surest first.
func (s *Service) reservations(c *client) iter.Seq[*Reservation] {
	return func(yield func(*Reservation) bool) {
		for _, all := range [][]*Reservation{s.byMAC[c.mac], s.byID[c.id], s.byDUID[c.duid], s.byOwn[c.name]} {
			for _, r := range all {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// reservation returns the client's in a subnet, or one of a name alone.
func (s *Service) reservation(c *client, sub *Subnet) *Reservation {
	for r := range s.reservations(c) {
		if !r.Address.IsValid() || sub.prefix.Contains(r.Address) {
			return r
		}
	}
	return nil
}

// isFor says whether a reservation is the client's.
func (r *Reservation) isFor(c *client) bool {
	switch {
	case r.MAC != (lease.MAC{}) && r.MAC == c.mac:
		return true
	case r.ClientID != "" && (r.ClientID == c.id || "\x00"+r.ClientID == c.id):
		return true
	case r.DUID != "" && r.DUID == c.duid:
		return true
	}
	return r.byOwnName() && r.Hostname == c.name
}

// reach returns the subnets that a message may be answered from: those of the
// link; the one that its relay is in, or says to ask for, which may be one of the
// link's if the packet comes from the relay's address; or, if a client behind a relay
// knows us already and says so by unicast, the one of its address.
func (s *Service) reach(req *Request) []*Subnet {
	at := req.GIAddr
	switch {
	case req.Relayed() && req.Link.IsValid():
		at = req.Link
	case !req.Relayed() && req.Unicast:
		at = req.CIAddr
	case !req.Relayed():
		return s.onLink
	}
	for i, sub := range s.subnets {
		if (sub.relayed || req.Relayed() && req.bySelf()) && sub.prefix.Contains(at) {
			return s.subnets[i : i+1]
		}
	}
	if req.Relayed() {
		return nil
	}
	return s.onLink
}

// subnet returns the subnet that an address is in, or nil.
func (s *Service) subnet(a netip.Addr) *Subnet {
	i, found := slices.BinarySearchFunc(s.sorted, a, func(sub *Subnet, a netip.Addr) int { return sub.prefix.Addr().Compare(a) })
	if !found {
		i--
	}
	if i < 0 || !s.sorted[i].prefix.Contains(a) {
		return nil
	}
	return s.sorted[i]
}

// size is the addresses of all ranges.
func (s *Service) size() (n int) {
	for _, sub := range s.subnets {
		n += sub.spans.size
	}
	return n
}

// isOurs says whether a server identifier means us.
func (s *Service) isOurs(req *Request) bool {
	for _, sub := range s.subnets {
		if req.ServerID == sub.server {
			return true
		}
	}
	return req.ServerOverride.IsValid() && req.ServerID == req.ServerOverride
}

// Servers returns our addresses, each once.
func (s *Service) Servers() []netip.Addr {
	var all []netip.Addr
	for _, sub := range s.subnets {
		if !slices.Contains(all, sub.server) {
			all = append(all, sub.server)
		}
	}
	return all
}
