package v4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

const ethernetMTU = 1500

// Range and Reservation are those of package pool.
type (
	Range       = pool.Range
	Reservation = pool.Reservation
)

// A Config is what is served in one subnet. Options take precedence over Routers,
// DNS, Domain and MTU.
type Config struct {
	Server       netip.Prefix // the server's address, and the subnet
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
	Boot         *boot.Config // nil: no boot file is sent
}

// A Subnet is a Config that was checked and made ready. It does not change.
type Subnet struct {
	*pool.Subnet
	domain  string
	maxSize int // of a reply, headers included
	boot    *boot.Config
}

// A Service is the subnets of one link, and those behind relays on it, checked
// and made ready. It does not change.
type Service struct {
	*pool.Service
	subnets []*Subnet
}

// Compile checks configurations and makes them ready, one for each subnet. The
// error has a line for each finding, with the path of what is wrong.
func Compile(cfgs ...Config) (*Service, error) {
	s := &Service{Service: pool.NewService(false)}
	var errs []error
	for i := range cfgs {
		cfg := &cfgs[i]
		sub, wrong := s.Add(&pool.SubnetConfig{
			Server: cfg.Server, Relayed: cfg.Relayed, Ranges: cfg.Ranges, Reservations: cfg.Reservations,
			LeaseTime: cfg.LeaseTime, RenewTime: cfg.RenewTime, RebindTime: cfg.RebindTime,
		}, func(sub *pool.Subnet) (*option.Book, error) {
			implied, err := impliedOptions(cfg, sub)
			book, wrong := option.NewBook(option.Merge(cfg.Options, implied), cfg.Tags, render)
			return book, errors.Join(err, wrong)
		})
		if sub != nil {
			s.subnets = append(s.subnets, &Subnet{sub, cfg.Domain, cmp.Or(cfg.MTU, ethernetMTU), cfg.Boot})
			wrong = append(wrong, checkBoot(cfg)...)
		}
		for _, err := range wrong {
			errs = append(errs, fmt.Errorf("subnets[%d].%w", i, err))
		}
	}
	if err := errors.Join(append(errs, s.Complete()...)...); err != nil {
		return nil, err
	}
	return s, nil
}

func checkBoot(cfg *Config) (errs []error) {
	if cfg.Boot == nil {
		return nil
	}
	if !cfg.Boot.Server.Is4() {
		errs = append(errs, fmt.Errorf("boot.server: %q is not an IPv4 address", cfg.Boot.Server))
	}
	for i, f := range cfg.Boot.Files {
		if f.Name == "" || len(f.Name) > maxFile {
			errs = append(errs, fmt.Errorf("boot.files[%d]: a name of %d octets", i, len(f.Name)))
		}
	}
	return errs
}

// impliedOptions are the options that follow from the rest of the configuration.
func impliedOptions(cfg *Config, s *pool.Subnet) (l option.List, err error) {
	l.Bytes(optMask, binary.BigEndian.AppendUint32(nil, math.MaxUint32<<(32-s.Prefix.Bits())))
	if s.Broadcast.IsValid() {
		l.Addrs(optBroadcast, []netip.Addr{s.Broadcast})
	}
	l.Addrs(optRouter, cfg.Routers)
	l.Addrs(optDNS, cfg.DNS)
	l.Text(optDomain, cfg.Domain)
	l.Uint16(optMTU, cfg.MTU)
	for path, addrs := range map[string][]netip.Addr{"routers": cfg.Routers, "dns": cfg.DNS} {
		for i, a := range addrs {
			if !a.Is4() {
				err = errors.Join(err, fmt.Errorf("%s[%d]: %q is not an IPv4 address", path, i, a))
			}
		}
	}
	if len(cfg.Domain) > 253 {
		err = errors.Join(err, errors.New("domain: longer than 253 octets"))
	}
	if cfg.MTU != 0 && (cfg.MTU < 68 || cfg.MTU > math.MaxUint16) {
		err = errors.Join(err, fmt.Errorf("mtu: %d is not between 68 and 65535", cfg.MTU))
	}
	return l, err
}

// reach returns the subnets that a message may be answered from: those of the
// link; the one that its relay is in, or selects, which may be one of the link's if the
// packet comes from the relay's address; or, for a renewal by unicast from a client
// behind a relay, the one of its address.
func (s *Service) reach(req *Request) []*pool.Subnet {
	at := req.GIAddr
	switch {
	case req.Relayed() && req.Link.IsValid():
		at = req.Link
	case !req.Relayed() && req.Unicast:
		at = req.CIAddr
	case !req.Relayed():
		return s.OnLink
	}
	fromRelay := req.Relayed() && (!req.Source.IsValid() || req.Source == req.GIAddr)
	for i, sub := range s.Subnets {
		if (sub.Relayed || fromRelay) && sub.Prefix.Contains(at) {
			return s.Subnets[i : i+1]
		}
	}
	if req.Relayed() {
		return nil
	}
	return s.OnLink
}

// isServer reports whether a message names this server, or no server.
func (s *Service) isServer(req *Request) bool {
	if !req.ServerID.IsValid() || req.ServerID == req.ServerOverride {
		return true
	}
	return slices.ContainsFunc(s.Subnets, func(sub *pool.Subnet) bool { return req.ServerID == sub.Server })
}

// Servers returns the server's addresses, each once.
func (s *Service) Servers() []netip.Addr {
	var all []netip.Addr
	for _, sub := range s.Subnets {
		if !slices.Contains(all, sub.Server) {
			all = append(all, sub.Server)
		}
	}
	return all
}
