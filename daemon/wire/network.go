// Package wire translates between the contract (api/vnet/v1) and the
// vocabulary (netdrv), both ways. It is one assignment after the other; what
// cannot be read, an address say, becomes a finding with the field's path.
package wire

import (
	"fmt"
	"net/netip"
	"strings"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

// FromNetwork reads a definition. The findings are about what cannot be read;
// whether the rest makes sense is netdrv.Validate's to say.
func FromNetwork(p *vnetv1.Network) (netdrv.Network, netdrv.Findings) {
	var r reader
	n := netdrv.Network{
		Name:      p.GetName(),
		Mode:      r.mode("mode", p.GetMode()),
		Bridge:    r.bridge("bridge", p.GetBridge()),
		Direct:    r.direct("direct", p.GetDirect()),
		Uplinks:   p.GetUplinks(),
		Subnets:   each("subnets", p.GetSubnets(), r.subnet),
		DNS:       r.dns("dns", p.GetDns()),
		RA:        r.ra("ra", p.GetRa()),
		Filter:    r.filter("filter", p.GetFilter()),
		NAT:       r.nat("nat", p.GetNat()),
		Routes:    each("routes", p.GetRoutes(), r.route),
		Bandwidth: r.networkBandwidth("bandwidth", p.GetBandwidth()),
		Autostart: p.GetAutostart(),
		Transient: p.GetTransient(),
		Access:    access(p.GetAccess()),
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

// reader collects what cannot be read.
type reader struct{ findings netdrv.Findings }

func (r *reader) mode(path string, m vnetv1.Mode) netdrv.Mode {
	word := strings.ToLower(strings.TrimPrefix(m.String(), "MODE_"))
	mode, ok := netdrv.ParseMode(word)
	if !ok && m != vnetv1.Mode_MODE_UNSPECIFIED {
		r.findings.Add(path, "%s is not known to this version", word)
	}
	return mode
}

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
