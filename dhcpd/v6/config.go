package v6

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

const maxBoot = 512 // octets of a boot file's name and parameters

// Subnet, Range and Reservation are those of package pool.
type (
	Subnet      = pool.SubnetConfig
	Range       = pool.Range
	Reservation = pool.Reservation
)

// A Config is what is served on one link.
type Config struct {
	DUID      string // the server's, see DUIDLL
	Subnets   []Subnet
	Stateless bool         // no addresses are assigned, only the rest is sent
	DNS       []netip.Addr // option 23
	Search    []string     // option 24
	Domain    string       // what follows a client's hostname in option 39
	Boot      *boot.Config // nil: no boot file is sent

	// Sent to a client without an address. They take precedence over DNS and Search, as do
	// those of a subnet.
	Options option.List
	Tags    []option.Tag
}

// DUIDLL returns the DUID that is made of an Ethernet address (RFC 8415 §11.4).
func DUIDLL(mac lease.MAC) string { return "\x00\x03\x00\x01" + string(mac[:]) }

// A Service is a Config that was checked and made ready. It does not change.
type Service struct {
	*pool.Service
	duid      string
	stateless bool
	domain    string
	book      *option.Book // for clients without an address
	boot      *boot.Config
}

// Compile checks a Config and makes it ready. The error has a line for each
// finding, with the path of what is wrong.
func Compile(cfg Config) (*Service, error) {
	s := &Service{Service: pool.NewService(true), duid: cfg.DUID, stateless: cfg.Stateless, domain: cfg.Domain, boot: cfg.Boot}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !pool.ValidDUID(cfg.DUID) {
		wrong("duid: %d octets, want 3 to 130", len(cfg.DUID))
	}
	for i, a := range cfg.DNS {
		if !a.Is6() || a.Is4In6() {
			wrong("dns[%d]: %q is not an IPv6 address", i, a)
		}
	}
	for i, d := range cfg.Search {
		if _, ok := option.AppendName(nil, d); !ok {
			wrong("search[%d]: %q is not a domain", i, d)
		}
	}
	if _, ok := option.AppendName(nil, cfg.Domain); !ok && cfg.Domain != "" {
		wrong("domain: %q is not a domain", cfg.Domain)
	}
	var implied option.List
	implied.Addrs(optDNS, cfg.DNS)
	implied.Names(optSearch, cfg.Search)
	implied.Seconds(optRefresh, refreshTime)
	render := func(o option.Option, _ option.List) []byte {
		return appendOption(make([]byte, 0, 4+len(o.Value)), o.Code, o.Value)
	}
	var err error
	if s.book, err = option.NewBook(option.Merge(cfg.Options, implied), cfg.Tags, render); err != nil {
		errs = append(errs, err)
	}
	for i := range cfg.Subnets {
		sub := &cfg.Subnets[i]
		_, found := s.Add(sub, func(*pool.Subnet) (*option.Book, error) {
			return option.NewBook(option.Merge(sub.Options, implied), sub.Tags, render)
		})
		for _, err := range found {
			wrong("subnets[%d].%w", i, err)
		}
	}
	errs = append(errs, s.Complete()...)
	if cfg.Boot != nil {
		if a := cfg.Boot.Server; !a.Is6() || a.Is4In6() {
			wrong("boot.server: %q is not an IPv6 address", a)
		}
		for i, f := range cfg.Boot.Files {
			size := len(f.Name)
			for _, p := range f.Params {
				size += 2 + len(p)
			}
			if f.Name == "" || size > maxBoot {
				wrong("boot.files[%d]: a name and parameters of %d octets", i, size)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// RelayServers returns the server's addresses that relays may send to. A nil Service has
// none.
func (s *Service) RelayServers() (all []netip.Addr) {
	if s == nil {
		return nil
	}
	for _, sub := range s.Subnets {
		if sub.Relayed && !slices.Contains(all, sub.Server) {
			all = append(all, sub.Server)
		}
	}
	return all
}

// Reach returns the subnets that a message may be answered from: those of the
// link, or the one that its relays name, which may be one of the link's.
func (s *Service) Reach(req *Request) []*pool.Subnet {
	link := req.link()
	if !link.IsValid() {
		return s.OnLink
	}
	for i, sub := range s.Subnets {
		if sub.Prefix.Contains(link) {
			if !sub.Relayed && req.Source.IsValid() && !req.Source.IsLinkLocalUnicast() && req.Source != link {
				return nil // the packet does not come from that relay
			}
			return s.Subnets[i : i+1]
		}
	}
	return nil
}
