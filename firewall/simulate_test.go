package firewall

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/vnetd/vnetd/netdrv"
)

// packet is what rules can see of one.
type packet struct {
	iif, oif string
	src, dst netip.Addr
	proto    L4Proto
	sport    uint16
	dport    uint16
	icmp     uint16
	first    bool // of a TCP connection
	state    CTState
}

// simulator does by hand what the kernel does with a ruleset; packet tests of
// firewall/nft see to it that the kernel does the same.
type simulator struct {
	table Table
	// source is the translation that was met, if any.
	source Expr
	// added are the elements of dynamic sets.
	added map[string]bool
}

// simulateBridge is about the bridge table.
func simulateBridge(r Ruleset) *simulator {
	t, _ := find(r.Tables, "bridge vnetd", Table.ID)
	return &simulator{table: t, added: map[string]bool{}}
}

func simulate(r Ruleset) *simulator {
	if len(r.Tables) == 0 {
		return &simulator{}
	}
	return &simulator{table: r.Tables[0]}
}

// passes runs the chains of a hook.
func (s *simulator) passes(hook Base, p packet) bool {
	for _, c := range s.table.Chains {
		if c.Base == hook {
			v := s.chain(c.Name, p)
			return v == Accept || v == Return
		}
	}
	return true
}

// translated runs the postrouting hook, and returns what it met.
func (s *simulator) translated(p packet) Expr {
	s.source = nil
	s.passes(PostroutingNAT, p)
	return s.source
}

// chain returns Accept, Drop, or Return where nothing was decided.
func (s *simulator) chain(name string, p packet) VerdictKind {
	c, ok := find(s.table.Chains, name, chainName)
	if !ok {
		panic("no chain " + name)
	}
	for _, r := range c.Rules {
		v := s.rule(r, p)
		switch v.Kind {
		case Accept, Drop, Return:
			return v.Kind
		case Goto:
			return s.chain(v.Chain, p)
		case Jump:
			if k := s.chain(v.Chain, p); k != Return {
				return k
			}
		}
	}
	return Return
}

func (s *simulator) rule(r Rule, p packet) Verdict {
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case Verdict:
			return e
		case Simple:
			if e == RejectTCPReset || e == RejectProhibited {
				return drop
			}
		case SNAT:
			s.source = e
			return accept
		case ByMap:
			if el, ok := s.element(e.Map, e.Fields, p); ok {
				return el.Verdict
			}
			return Verdict{}
		}
		if !s.matches(e, p) {
			break
		}
	}
	return Verdict{}
}

func (s *simulator) matches(e Expr, p packet) bool {
	switch e := e.(type) {
	case AddTo:
		if e.Over == (Rate{}) && p.has(e.Fields) {
			s.added[e.Set+p.text(e.Fields)] = true
		}
		return e.Over == (Rate{}) && p.has(e.Fields)
	case Simple:
		switch e {
		case IPv4, EtherIPv4:
			return p.dst.Is4()
		case EtherIPv6:
			return p.dst.Is6()
		case EtherARP, Fragment4, Fragment6:
			return false
		case TCPSyn:
			return p.proto == TCP && p.first
		case TCPHandshake:
			return p.proto == TCP
		}
	case InSet:
		_, ok := s.element(e.Set, e.Fields, p)
		return ok != e.Not && p.has(e.Fields)
	case InPrefix:
		t := IPv6Addr
		if e.Prefix.Addr().Is4() {
			t = IPv4Addr
		}
		return p.has([]Field{e.Field}) && e.Prefix.Contains(p.field(e.Field).Prefix(t).Addr())
	case Is:
		return p.has([]Field{e.Field}) && p.field(e.Field) == number(e.Number)
	case L4Proto:
		return p.proto == e
	case CTState:
		return cmp.Or(p.state, New)&e != 0
	}
	return true
}

// has reports whether the packet has the fields.
func (p packet) has(fs []Field) bool {
	for _, f := range fs {
		switch f {
		case IPSAddr, IPDAddr:
			if !p.dst.Is4() {
				return false
			}
		case IP6SAddr, IP6DAddr:
			if !p.dst.Is6() {
				return false
			}
		case UDPDPort, UDPSPort:
			if p.proto != UDP {
				return false
			}
		case TCPDPort, TCPSPort:
			if p.proto != TCP {
				return false
			}
		case SCTPDPort, SCTPSPort:
			if p.proto != L4Proto(netdrv.SCTP) {
				return false
			}
		case EtherSAddr, EtherDAddr: // no packet here has them
			return false
		case ICMPKind, ICMPv6Kind:
			if p.proto != map[Field]L4Proto{ICMPKind: 1, ICMPv6Kind: 58}[f] {
				return false
			}
		}
	}
	return true
}

// text returns the values of the fields.
func (p packet) text(fs []Field) string {
	s := ""
	for _, f := range fs {
		s += fmt.Sprint(" ", p.field(f))
	}
	return s
}

func (p packet) field(f Field) Value {
	switch f {
	case IIFName:
		return name(p.iif)
	case OIFName:
		return name(p.oif)
	case IPSAddr, IP6SAddr:
		return address(p.src)
	case IPDAddr, IP6DAddr:
		return address(p.dst)
	case L4Protocol:
		return number(uint16(p.proto))
	case DPort, UDPDPort, TCPDPort, SCTPDPort:
		return number(p.dport)
	case SPort, UDPSPort, TCPSPort, SCTPSPort:
		return number(p.sport)
	}
	return number(p.icmp)
}

func (s *simulator) element(set string, fs []Field, p packet) (Element, bool) {
	if !p.has(fs) {
		return Element{}, false
	}
	t, ok := find(s.table.Sets, set, setName)
	if !ok {
		panic("no set " + set)
	}
	if t.Dynamic.Size > 0 {
		return Element{}, s.added[set+p.text(fs)]
	}
next:
	for _, e := range t.Elements {
		for i, f := range fs {
			if !holds(t.Key[i], e.Key[i], p.field(f)) {
				continue next
			}
		}
		return e, true
	}
	return Element{}, false
}

func holds(t Type, key, v Value) bool {
	switch t {
	case IPv4Addr, IPv6Addr:
		return key.Prefix(t).Contains(v.Prefix(t).Addr())
	case InetProto, InetService, ICMPType, ICMPv6Type:
		return key.Numbers().Start <= v.Numbers().Start && v.Numbers().End <= key.Numbers().End
	}
	return key == v
}
