package v4

import "net/netip"

// Space is how many addresses the ranges of a subnet have.
type Space struct {
	Prefix netip.Prefix
	Size   uint64
}

// Spaces are those that the sender of a message may get an address of.
func (p *Pool) Spaces(req *Request) (all []Space) {
	for _, sub := range p.svc.reach(req) {
		if sub.spans.size > 0 {
			all = append(all, Space{sub.prefix, uint64(sub.spans.size)})
		}
	}
	return all
}
