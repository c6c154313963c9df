package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// portFilter is what port create says of a port's filter.
type portFilter struct {
	filter vnetv1.Filter
	rules  []string
}

func (f *portFilter) flags(fs *pflag.FlagSet) {
	fs.StringVar(&f.filter.Preset, "filter-preset", "", "what the guest may say: clean-traffic or internet-only; its network's if not given")
	fs.BoolVar(&f.filter.Isolated, "isolated", false, "keep the guest from other isolated guests of its network")
	fs.StringArrayVar(&f.rules, "rule", nil, `a rule of the guest's own, "(in|out) (accept|drop|reject) [PROTOCOL[/PORTS]] [from|to REMOTE] [log]"; several times for several`)
	fs.StringSliceVar(&f.filter.Allow, "allow", nil, "frames that the guest may send in mode bridge: bpdu, vlan, ra, dhcp-server")
	fs.StringVar(&f.filter.In, "in", "", "what becomes of connections to the guest that no rule fits: accept, drop or reject")
	fs.StringVar(&f.filter.Out, "out", "", "the same for connections that the guest begins")
}

// into adds the flags to a port, on top of what a file says.
func (f *portFilter) into(p *vnetv1.Port) error {
	for _, words := range f.rules {
		r, err := parseRule(words)
		if err != nil {
			return err
		}
		f.filter.Rules = append(f.filter.Rules, r)
	}
	if proto.Size(&f.filter) == 0 {
		return nil
	}
	if p.Filter == nil {
		p.Filter = &vnetv1.Filter{}
	}
	proto.Merge(p.Filter, &f.filter)
	return nil
}

// parseRule reads a rule in words. Whether they make sense is the daemon's to say.
func parseRule(s string) (*vnetv1.FilterRule, error) {
	words := strings.Fields(s)
	if len(words) < 2 {
		return nil, fmt.Errorf(`rule %q: say at least direction and action, as in "in accept tcp/22 from @office"`, s)
	}
	r := &vnetv1.FilterRule{Direction: words[0], Action: words[1]}
	if words = words[2:]; len(words) > 0 && words[len(words)-1] == "log" {
		r.Log, words = true, words[:len(words)-1]
	}
	if i := slices.IndexFunc(words, func(w string) bool { return w == "from" || w == "to" }); i >= 0 {
		if len(words) != i+2 {
			return nil, fmt.Errorf("rule %q: one remote follows %q", s, words[i])
		}
		r.Remote, words = words[i+1], words[:i]
	}
	switch len(words) {
	case 0:
	case 1:
		protocol, ports, some := strings.Cut(words[0], "/")
		if r.Protocol = protocol; some {
			r.Ports = strings.Split(ports, ",")
		}
	default:
		return nil, fmt.Errorf(`rule %q: %q is one word too many; a remote follows "from" or "to"`, s, words[1])
	}
	return r, nil
}
