package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// Rulebook is what connections of a guest are asked, in either direction. Ports with
// the same one share its chains.
type Rulebook struct {
	Network string
	// Foreign: the bridge is somebody else's, and its DHCP servers and routers with it.
	Foreign bool
	// Out is about connections that the guest begins, In about those to it.
	Out, In Side
}

// Side is the rules of one direction: the first clause that fits decides, or else Else.
type Side struct {
	Clauses []Clause
	Else    netdrv.Action
}

// Clause is a rule whose names are resolved.
type Clause struct {
	Protocol netdrv.Protocol // 0: any
	Ports    []netdrv.PortRange
	// Remotes are who is at the other end, merged; unless Anybody, none is nobody.
	Remotes []netip.Prefix
	Anybody bool
	Action  netdrv.Action
	Log     bool
	// Comment says whose rule it is.
	Comment string
}

// denies reports whether something does not pass.
func (s *Side) denies() bool {
	for i := range s.Clauses {
		if s.Clauses[i].Action != netdrv.Accept {
			return true
		}
	}
	return s.Else > netdrv.Accept
}

// logs reports whether something that passes is noted.
func (s *Side) logs() bool {
	for i := range s.Clauses {
		if c := &s.Clauses[i]; c.Log && c.Action == netdrv.Accept {
			return true
		}
	}
	return false
}

// rejects reports whether something does not pass that is to be told so.
func (s *Side) rejects() bool {
	return s.Else == netdrv.Reject || slices.ContainsFunc(s.Clauses, func(c Clause) bool { return c.Action == netdrv.Reject })
}

// losesFragments reports whether something passes for its ports only, which fragments
// have none of.
func (s *Side) losesFragments() bool {
	return s.denies() && slices.ContainsFunc(s.Clauses, func(c Clause) bool { return c.Action == netdrv.Accept && len(c.Ports) > 0 })
}

// asks reports whether the rules matter.
func (s *Side) asks() bool { return s.denies() || s.logs() }

// RulebookOf resolves a filter of a port on a network; nil if it has nothing to say.
// The comments name rules by the port's filter up to own of them, then the network's.
func RulebookOf(f netdrv.Filter, n *netdrv.Network, link string, own int, s *netdrv.Surroundings) *Rulebook {
	b := Rulebook{Network: n.Name, Foreign: !n.Mode.OwnsBridge(), Out: Side{Else: f.Out}, In: Side{Else: f.In}}
	for i := range f.Rules {
		r := &f.Rules[i]
		c := Clause{
			Protocol: r.Protocol, Ports: r.Ports, Anybody: r.Remote == "", Action: r.Action, Log: r.Log,
			Comment: fmt.Sprintf("%s: filter.rules[%d]", n.Name, i-own),
		}
		if i < own {
			c.Comment = fmt.Sprintf("%s: filter.rules[%d]", link, i)
		}
		if !c.Anybody {
			c.Remotes = s.Remote(n, r.Remote)
		}
		side := &b.Out
		if r.Direction == netdrv.In {
			side = &b.In
		}
		side.Clauses = append(side.Clauses, c)
	}
	if f.Preset == netdrv.InternetOnly {
		b.Out.Clauses = append(b.Out.Clauses, internetOnly(n, s)...)
	}
	if !b.Out.asks() && !b.In.asks() {
		return nil
	}
	return &b
}

// chains are the names of a rulebook's. They change with what the rules say, so that no
// chain ever does.
type chains struct{ out, in, outAnswers, inAnswers string }

func (b *Rulebook) chains() chains {
	sum := sha256.Sum256([]byte(b.text()))
	id := b.Network + "_" + hex.EncodeToString(sum[:6])
	return chains{"out_" + id, "in_" + id, "out_answers_" + id, "in_answers_" + id}
}

// text is the same for rulebooks that ask the same.
func (b *Rulebook) text() string {
	var t strings.Builder
	fmt.Fprintln(&t, b.Network, b.Foreign)
	for _, s := range []*Side{&b.Out, &b.In} {
		fmt.Fprintln(&t, s.Else)
		for i := range s.Clauses {
			fmt.Fprintf(&t, "%+v\n", s.Clauses[i])
		}
	}
	return t.String()
}
