package netdrv

import (
	"net/netip"
	"strings"
)

// maxAliases bounds how many CNAMEs of a definition are followed.
const maxAliases = 8

// Names has what the names of a network stand for, as its DNS server has it: by the
// records of the definition, or else by its reservations. A lookup costs the same
// however many there are. It does not follow changes of the network.
type Names struct {
	suffix   string               // the domain with a dot before it, in lower case
	records  map[string][]*Record // A, AAAA and CNAME, by name below the domain in lower case
	reserved map[string][]*Reservation
}

// NamesOf indexes the names of a network.
func NamesOf(n *Network) *Names {
	x := &Names{suffix: "." + strings.ToLower(n.DNS.Domain), records: map[string][]*Record{}, reserved: map[string][]*Reservation{}}
	for i := range n.DNS.Records {
		switch r := &n.DNS.Records[i]; r.Type {
		case "A", "AAAA", "CNAME":
			name := x.relative(r.Name)
			x.records[name] = append(x.records[name], r)
		}
	}
	for _, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		x.reserve(s.DHCP.Reservations)
		for i := range s.DHCP.Relayed {
			x.reserve(s.DHCP.Relayed[i].Reservations)
		}
	}
	return x
}

func (x *Names) reserve(rs []Reservation) {
	for i := range rs {
		if r := &rs[i]; r.Hostname != "" {
			name := x.relative(r.Hostname)
			x.reserved[name] = append(x.reserved[name], r)
		}
	}
}

// relative returns a name without the network's domain, in lower case.
func (x *Names) relative(name string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), x.suffix)
}

// Addresses returns the addresses of a name. The leases in force, which count beside
// reservations, are asked for with one label in lower case.
func (x *Names) Addresses(name string, leases func(label string) []netip.Addr) []netip.Addr {
	for range maxAliases {
		name = x.relative(name)
		out, alias := x.fromRecords(name)
		switch {
		case alias != "":
			name = alias
		case out != nil:
			return out
		default:
			for _, r := range x.reserved[name] {
				out = append(out, r.Address)
			}
			return append(out, leases(name)...)
		}
	}
	return nil
}

func (x *Names) fromRecords(name string) (out []netip.Addr, alias string) {
	for _, r := range x.records[name] {
		if r.Type == "CNAME" {
			return nil, r.Value
		}
		if a, err := netip.ParseAddr(r.Value); err == nil {
			out = append(out, a)
		}
	}
	return out, ""
}
