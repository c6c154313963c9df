package v6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dhcpd/option"
)

// The options that a Config may hold, by their names in RFC 8415 and as noted.
const (
	OptVendor        uint16 = 17
	OptDNSServers    uint16 = optDNS
	OptSearch        uint16 = optSearch
	OptSNTPServers   uint16 = 31         // RFC 4075
	OptRefreshTime   uint16 = optRefresh // an hour unless said
	OptNTPServers    uint16 = 56         // RFC 5908, see NTPServers
	OptBootFile      uint16 = 59         // RFC 5970
	OptSolMaxRT      uint16 = 82
	OptInfMaxRT      uint16 = 83
	OptCaptivePortal uint16 = 103 // RFC 8910
)

// ntpServer is the suboption of an NTP server's address, RFC 5908 §4.1.
const ntpServer = 1

// NTPServers returns the value of option 56, nil for none.
func NTPServers(addrs []netip.Addr) []byte {
	var b []byte
	for _, a := range addrs {
		b = appendOption(b, ntpServer, a.AsSlice())
	}
	return b
}

// given are the options that follow from the rest of the configuration.
func given(cfg *Config) (l option.List, err error) {
	for i, a := range cfg.DNS {
		if !a.Is6() || a.Is4In6() {
			err = errors.Join(err, fmt.Errorf("dns[%d]: %q is not an IPv6 address", i, a))
		}
	}
	for i, d := range cfg.Search {
		if _, ok := option.AppendName(nil, d); !ok {
			err = errors.Join(err, fmt.Errorf("search[%d]: %q is not a domain", i, d))
		}
	}
	if _, ok := option.AppendName(nil, cfg.Domain); !ok && cfg.Domain != "" {
		err = errors.Join(err, fmt.Errorf("domain: %q is not a domain", cfg.Domain))
	}
	l.Addrs(optDNS, cfg.DNS)
	l.Names(optSearch, cfg.Search)
	l.Seconds(optRefresh, refreshTime)
	return l, err
}

func newBook(options, given option.List, tags []option.Tag) (*option.Book, error) {
	return option.NewBook(option.Merge(options, given), tags, render)
}

func render(o option.Option, _ option.List) []byte {
	b := make([]byte, 0, 4+len(o.Value))
	b = binary.BigEndian.AppendUint16(b, o.Code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(o.Value)))
	return append(b, o.Value...)
}

// reserve enters into a decision what the client's reservations say of options
// and of what to boot: in the subnet of its first address, or, if there is none,
// in any that it can be answered from.
func (p *Pool) reserve(req *Request, d *Decision) {
	ia := &IA{}
	if len(req.IAs()) > 0 {
		ia = &req.ias[0]
	}
	c, sub := p.client(req, ia), p.svc.subnetOf(d)
	for r := range p.svc.reservations(c) {
		at := &p.svc.subnets[r.subnet]
		if d.bootFile == "" {
			d.bootFile = r.BootFile
		}
		if d.own == nil && r.own != nil && (sub == nil && slices.Contains(c.on, at) || sub == at) {
			d.own, d.book = r.own, at.book
		}
	}
	switch {
	case d.book != nil:
	case sub != nil:
		d.book = sub.book
	default:
		d.book = p.svc.book
	}
}

// options returns what counts for a client.
func (d *Decision) options(req *Request) *option.Set {
	c := option.Client{
		MAC: req.MAC(), Hostname: req.Hostname,
		VendorClass: option.Class{Value: req.VendorClass, Width: 2},
		UserClass:   option.Class{Value: req.UserClass, Width: 2},
	}
	return d.book.Set(&c, d.own)
}

// subnetOf is the subnet of the first address that is given, or nil.
func (s *Service) subnetOf(d *Decision) *subnet {
	for i := range d.IAs {
		if sub := s.subnet(d.IAs[i].Address); sub != nil {
			return sub
		}
	}
	return nil
}
