package netdrv

import (
	"net/netip"
	"slices"
	"strings"
)

// maxAliases bounds how many CNAMEs of a definition are followed.
const maxAliases = 8

// Addresses returns what a name stands for on a network, as its DNS server has it:
// by the records of the definition, or else by its reservations and by the leases
// in force, which are asked for with one label in small letters.
func Addresses(n *Network, name string, leases func(label string) []netip.Addr) []netip.Addr {
	for range maxAliases {
		name = relative(n, name)
		out, alias := fromRecords(n, name)
		switch {
		case alias != "":
			name = alias
		case out != nil:
			return out
		default:
			return append(fromReservations(n, name), leases(name)...)
		}
	}
	return nil
}

// relative returns a name without the network's domain, in small letters.
func relative(n *Network, name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return strings.TrimSuffix(name, "."+strings.ToLower(n.DNS.Domain))
}

func fromRecords(n *Network, name string) (out []netip.Addr, alias string) {
	for _, r := range n.DNS.Records {
		if relative(n, r.Name) != name {
			continue
		}
		switch r.Type {
		case "A", "AAAA":
			if a, err := netip.ParseAddr(r.Value); err == nil {
				out = append(out, a)
			}
		case "CNAME":
			return nil, r.Value
		}
	}
	return out, ""
}

func fromReservations(n *Network, name string) (out []netip.Addr) {
	for _, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		all := s.DHCP.Reservations
		for _, relayed := range s.DHCP.Relayed {
			all = slices.Concat(all, relayed.Reservations)
		}
		for _, r := range all {
			if r.Hostname != "" && relative(n, r.Hostname) == name {
				out = append(out, r.Address)
			}
		}
	}
	return out
}
