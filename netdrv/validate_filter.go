package netdrv

import (
	"regexp"
)

const (
	// maxRules bounds what a packet is compared with, of a port and of its network
	// each, and maxRulePorts and maxSetPrefixes the kernel's sets.
	maxRules       = 200
	maxRulePorts   = 64
	maxSets        = 64
	maxSetPrefixes = 4096
)

var setNameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

func validateFilter(fs *Findings, n *Network) {
	f := &n.Filter
	switch {
	case n.Mode == DirectLink && (f.Asks() || f.Sets != nil || f.Allow != nil):
		fs.Add("filter", "has no bridge to work on in mode direct: a macvtap's frames go to its uplink past the host's rules; use mode bridge")
		return
	case n.Mode == ExistingBridge && f.Isolated:
		fs.Add("filter.isolated", "is for modes nat, route, open and isolated: in mode bridge, other links of the bridge would have to be isolated, too")
	case n.Mode.OwnsBridge() && f.Allow != nil:
		fs.Add("filter.allow", "is for mode bridge: on a bridge without an uplink, none of it is dropped but by a preset")
	case n.Mode.OwnsBridge() && f.Preset.Clean() && len(n.Subnets) == 0:
		fs.Add("filter.preset", "%s needs a subnet: without one, the addresses of guests are not known", f.Preset)
	}
	validateSets(fs, f.Sets)
	validateRules(fs, f, f)
}

// validatePortFilter is about what a port adds.
func validatePortFilter(fs *Findings, p *Port, n *Network) {
	f := &p.Filter
	if f.Sets != nil {
		fs.Add("filter.sets", "are the network's to have: give them in the filter of %s", n.Name)
	}
	switch {
	case n.Mode == DirectLink && (f.Asks() || f.Allow != nil):
		fs.Add("filter", "has no bridge to work on in mode direct: a macvtap's frames go to its uplink past the host's rules; use mode bridge")
		return
	case n.Mode == ExistingBridge && f.Isolated:
		fs.Add("filter.isolated", "is for modes nat, route, open and isolated: in mode bridge, other links of the bridge would have to be isolated, too")
	case n.Mode.OwnsBridge() && f.Allow != nil:
		fs.Add("filter.allow", "is for mode bridge: on a bridge without an uplink, none of it is dropped but by a preset")
	case n.Mode.OwnsBridge() && f.Preset.Clean() && len(n.Subnets) == 0:
		fs.Add("filter.preset", "%s needs a subnet: without one, the addresses of guests are not known", f.Preset)
	}
	validateRules(fs, f, &n.Filter)
}

func validateSets(fs *Findings, sets []FilterSet) {
	if len(sets) > maxSets {
		fs.Add("filter.sets", "are %d; at most %d", len(sets), maxSets)
	}
	seen := map[string]int{}
	for i, s := range sets {
		at := index("filter.sets", i)
		if !setNameRE.MatchString(s.Name) {
			fs.Add(at+".name", "%q is not a name: use 1 to 63 letters, digits, '-' or '_', the first a letter or digit", s.Name)
		}
		once(fs, at+".name", "filter.sets", seen, s.Name, i)
		if len(s.Prefixes) > maxSetPrefixes {
			fs.Add(at+".prefixes", "are %d; at most %d", len(s.Prefixes), maxSetPrefixes)
		}
	}
}

// validateRules is about the rules of a filter, which know the sets of the network's.
func validateRules(fs *Findings, f, network *Filter) {
	if len(f.Rules) > maxRules {
		fs.Add("filter.rules", "are %d; at most %d, and sets and ranges say more with fewer", len(f.Rules), maxRules)
	}
	for i := range f.Rules {
		validateRule(fs, index("filter.rules", i), &f.Rules[i], network)
	}
}

func validateRule(fs *Findings, at string, r *FilterRule, network *Filter) {
	if r.Direction == 0 {
		fs.Add(at+".direction", "is missing: use out for connections that guests begin, in for those to them")
	}
	if r.Action == 0 {
		fs.Add(at+".action", "is missing: use accept, drop or reject")
	}
	if len(r.Ports) > 0 && !r.Protocol.HasPorts() {
		fs.Add(at+".ports", "need a protocol that has ports: tcp, udp or sctp")
	}
	if len(r.Ports) > maxRulePorts {
		fs.Add(at+".ports", "are %d; at most %d", len(r.Ports), maxRulePorts)
	}
	for i, p := range r.Ports {
		if p.Start == 0 || p.End < p.Start {
			fs.Add(index(at+".ports", i), "%d to %d is not a range of ports", p.Start, p.End)
		}
	}
	validateRemote(fs, at, r, network)
}

func validateRemote(fs *Findings, at string, r *FilterRule, network *Filter) {
	if name, ok := setName(r.Remote); ok {
		if _, known := network.set(name); !known {
			fs.Add(at+".remote", "%s is not among filter.sets of the network", r.Remote)
		}
		return
	}
	p, ok := ParseRemotePrefix(r.Remote)
	switch {
	case ok && p.Addr().Is6() && r.Protocol == ICMP:
		fs.Add(at+".protocol", "icmp is IPv4's, and %s is IPv6; use icmpv6", r.Remote)
	case ok && p.Addr().Is4() && r.Protocol == ICMPv6:
		fs.Add(at+".protocol", "icmpv6 is IPv6's, and %s is IPv4; use icmp", r.Remote)
	}
}

// UnknownRemotes finds the names in a network's rules, or those of a port of it, that belong
// to none of the networks, n included, and to none of the ports.
func UnknownRemotes(f *Filter, n *Network, networks []Network, ports []Port) Findings {
	var fs Findings
	around := &Resolver{Networks: networks, Ports: ports}
	for i := range f.Rules {
		r := &f.Rules[i]
		if !around.known(r.Remote, n) {
			fs.Add(index("filter.rules", i)+".remote", "%q is no address, prefix, network, or guest that is declared: a port, a reservation "+
				"or a record; of another network, write NETWORK/NAME", r.Remote)
		}
	}
	return fs
}

func (s *Resolver) known(remote string, n *Network) bool {
	_, isSet := setName(remote)
	_, isPrefix := ParseRemotePrefix(remote)
	if remote == "" || remote == RemoteHost || isSet || isPrefix || remote == n.Name {
		return true
	}
	s.index()
	if s.networks[remote] != nil {
		return true
	}
	where, name := s.guestOf(remote, n)
	return where != nil && s.isDeclared(where, name)
}
