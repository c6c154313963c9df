// Package wire translates between the contract (api/vnet/v1) and domain types (netdrv). What
// cannot be read, such as an address, becomes a finding with the path of its field.
package wire

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

// FromNetwork reads a definition. The findings are about what cannot be read;
// whether the rest makes sense is netdrv.Validate's to say.
func FromNetwork(p *vnetv1.Network) (netdrv.Network, netdrv.Findings) {
	var r reader
	n := netdrv.Network{
		Name: p.GetName(),
		Mode: knownIfAny(&r, "mode", enumWord(p.GetMode()), netdrv.ParseMode, "%s is not known to this version"),
		Bridge: netdrv.Bridge{
			Name: p.GetBridge().GetName(), MAC: r.optionalMAC("bridge.mac", p.GetBridge().GetMac()), MTU: r.mtu("bridge.mtu", p.GetBridge().GetMtu()),
			FDBMaxLearned: int(p.GetBridge().GetFdbMaxLearned()), Uplinks: p.GetBridge().GetUplinks(),
		},
		Direct:  r.direct("direct", p.GetDirect()),
		Uplinks: p.GetUplinks(),
		Subnets: each("subnets", p.GetSubnets(), func(path string, p *vnetv1.Subnet) netdrv.Subnet {
			return netdrv.Subnet{Address: r.gateway(path+".address", p.GetAddress()), SLAAC: choice(p.Slaac), DHCP: r.dhcp(path+".dhcp", p.GetDhcp())}
		}),
		DNS:       r.dns("dns", p.GetDns()),
		RA:        r.ra("ra", p.GetRa()),
		Filter:    r.filter("filter", p.GetFilter()),
		Autostart: p.GetAutostart(),
		Transient: p.GetTransient(),
		NAT: netdrv.NATOptions{
			Ports:     r.ports("nat.ports", p.GetNat().GetPorts()),
			Addresses: each("nat.addresses", p.GetNat().GetAddresses(), r.addresses), IPv6: p.GetNat().GetIpv6(),
		},
		Routes: each("routes", p.GetRoutes(), func(path string, p *vnetv1.Route) netdrv.StaticRoute {
			return netdrv.StaticRoute{
				Destination: r.prefix(path+".destination", p.GetDestination()), Via: r.addr(path+".via", p.GetVia()), Metric: int(p.GetMetric()),
			}
		}),
		Bandwidth: netdrv.NetworkBandwidth{
			In: r.rate("bandwidth.in", p.GetBandwidth().GetIn()), Out: r.rate("bandwidth.out", p.GetBandwidth().GetOut()),
			PerPort: r.bandwidth("bandwidth.perPort", p.GetBandwidth().GetPerPort()),
		},
		Access: netdrv.Access{
			Users: p.GetAccess().GetUsers(), Groups: p.GetAccess().GetGroups(),
			MACPrefix: p.GetAccess().GetMacPrefix(), MaxPorts: int(min(p.GetAccess().GetMaxPorts(), 1<<20)),
		},
	}
	n.Forwards = each("forwards", p.GetForwards(), r.forward)
	n.HostAccess = r.hostAccess("hostServices", n.Mode, p.GetHostServices())
	return n, r.findings
}

// each reads the elements of a list, and is nil for an empty one.
func each[P, T any](path string, list []P, read func(path string, p P) T) []T {
	if len(list) == 0 {
		return nil
	}
	out := make([]T, 0, len(list))
	for i, p := range list {
		out = append(out, read(index(path, i), p))
	}
	return out
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// enumWord is the word of an enum's value, "" for an unspecified one.
func enumWord(v protoreflect.Enum) string {
	if v.Number() == 0 {
		return ""
	}
	return definition.Word(v)
}

// known reads a word by parse; why is the finding if that does not know it.
func known[T any](r *reader, path, s string, parse func(string) (T, bool), why string) T {
	v, ok := parse(s)
	if !ok {
		r.findings.Add(path, why, s)
	}
	return v
}

// knownIfAny is known; an empty word is the zero value.
func knownIfAny[T any](r *reader, path, s string, parse func(string) (T, bool), why string) (zero T) {
	if s == "" {
		return zero
	}
	return known(r, path, s, parse, why)
}

// reader collects what cannot be read.
type reader struct{ findings netdrv.Findings }

func (r *reader) optionalMAC(path, s string) netdrv.MAC {
	if s == "" {
		return netdrv.MAC{}
	}
	m, err := netdrv.ParseMAC(s)
	if err != nil {
		r.findings.Add(path, "%v", err)
	}
	return m
}

func (r *reader) addr(path, s string) netip.Addr {
	if s == "" {
		r.findings.Add(path, "is missing")
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		r.findings.Add(path, "%q is not an IP address", s)
		return netip.Addr{}
	}
	return a.Unmap()
}

// autoAddresses are the short words for "any free prefix".
var autoAddresses = map[string]string{"auto": "0.0.0.0/24", "auto6": "::/64"}

func (r *reader) gateway(path, s string) netip.Prefix {
	if long, ok := autoAddresses[s]; ok {
		s = long
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err == nil:
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits())
	case s == "":
		r.findings.Add(path, "is missing: give the gateway with its prefix length, such as 192.168.100.1/24")
	case !strings.Contains(s, "/"):
		r.findings.Add(path, "%q has no prefix length: write it as in %s/24", s, s)
	default:
		r.findings.Add(path, "%q is not an address with a prefix length, such as 192.168.100.1/24", s)
	}
	return netip.Prefix{}
}
