package v6

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/v4"
)

// Spaces are the subnets that the sender of a message may get an address of.
func (s *Service) Spaces(req *Request) (all []v4.Space) {
	for _, sub := range s.reach(req) {
		if len(sub.spans) > 0 {
			all = append(all, v4.Space{Prefix: sub.prefix, Size: sub.size()})
		}
	}
	return all
}

func (s *subnet) size() (n uint64) {
	for _, sp := range s.spans {
		n = addSaturated(addSaturated(n, sp.last), 1)
	}
	return n
}

// Prefix returns the subnet that an address is in; zero: none.
func (s *Service) Prefix(a netip.Addr) netip.Prefix {
	if sub := s.subnet(a); sub != nil {
		return sub.prefix
	}
	return netip.Prefix{}
}
