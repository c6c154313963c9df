package wire

import (
	"net/netip"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) filter(path string, p *vnetv1.Filter) netdrv.Filter {
	return netdrv.Filter{
		Preset:   known(r, path+".preset", p.GetPreset(), netdrv.ParsePreset, "%q is not a preset: use clean-traffic, internet-only or none"),
		Isolated: p.GetIsolated(),
		Rules:    each(path+".rules", p.GetRules(), r.filterRule),
		In:       r.action(path+".in", p.GetIn()),
		Out:      r.action(path+".out", p.GetOut()),
		Sets: each(path+".sets", p.GetSets(), func(path string, p *vnetv1.FilterSet) netdrv.FilterSet {
			return netdrv.FilterSet{Name: p.GetName(), Prefixes: each(path+".prefixes", p.GetPrefixes(), func(path, s string) netip.Prefix {
				return known(r, path, s, netdrv.ParseRemotePrefix, "%q is neither an address nor a prefix, such as 192.0.2.0/24")
			})}
		}),
		Allow: each(path+".allow", p.GetAllow(), func(path, s string) netdrv.FrameKind {
			return known(r, path, s, netdrv.ParseFrameKind, "%q is not bpdu, vlan, ra or dhcp-server")
		}),
	}
}

func (r *reader) filterRule(path string, p *vnetv1.FilterRule) netdrv.FilterRule {
	protocol, err := netdrv.ParseRuleProtocol(p.GetProtocol())
	if err != nil {
		r.findings.Add(path+".protocol", "%v", err)
	}
	return netdrv.FilterRule{
		Direction: knownIfAny(r, path+".direction", p.GetDirection(), netdrv.ParseDirection, "%q is neither out nor in"),
		Action:    r.action(path+".action", p.GetAction()),
		Protocol:  protocol,
		Ports: each(path+".ports", p.GetPorts(), func(path, s string) netdrv.PortRange {
			p, err := netdrv.ParsePortRange(s)
			if err != nil {
				r.findings.Add(path, "%v", err)
			}
			return p
		}),
		Remote: p.GetRemote(),
		Log:    p.GetLog(),
	}
}

func (r *reader) action(path, s string) netdrv.Action {
	return knownIfAny(r, path, s, netdrv.ParseAction, "%q is not accept, drop or reject")
}

func toFilter(f netdrv.Filter) *vnetv1.Filter {
	p := &vnetv1.Filter{
		Isolated: f.Isolated, Rules: all(f.Rules, toFilterRule), In: actionWord(f.In), Out: actionWord(f.Out),
		Sets: all(f.Sets, func(s netdrv.FilterSet) *vnetv1.FilterSet {
			return &vnetv1.FilterSet{Name: s.Name, Prefixes: all(s.Prefixes, prefixWord)}
		}),
		Allow: all(f.Allow, netdrv.FrameKind.String),
	}
	if f.Preset != netdrv.Unfiltered {
		p.Preset = f.Preset.String()
	}
	return some(p)
}

func toFilterRule(r netdrv.FilterRule) *vnetv1.FilterRule {
	p := &vnetv1.FilterRule{
		Action: actionWord(r.Action), Protocol: netdrv.RuleProtocol(r.Protocol), Remote: r.Remote, Log: r.Log,
		Ports: all(r.Ports, netdrv.PortRange.String),
	}
	if r.Direction != 0 {
		p.Direction = r.Direction.String()
	}
	return p
}

func actionWord(a netdrv.Action) string {
	if a == 0 {
		return ""
	}
	return a.String()
}

// prefixWord writes a single address without its length.
func prefixWord(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
