package netdrv

import (
	"fmt"
	"net/netip"
)

// PublishedPort is a port of the host that is forwarded to a guest, in one family.
type PublishedPort struct {
	Protocol Protocol
	Address  netip.Addr // of the host; none: all of the family
	IPv6     bool
	Port     uint16
	Sources  string // who may call, as text
}

// PublishedPorts returns the target of each published port. The forwards are resolved.
func PublishedPorts(networks []Network) map[PublishedPort]netip.AddrPort {
	out := map[PublishedPort]netip.AddrPort{}
	for i := range networks {
		for _, f := range networks[i].Forwards {
			a := f.Target()
			if !a.IsValid() || f.Loopback() {
				continue
			}
			from := ""
			if len(f.From) > 0 {
				from = fmt.Sprint(f.Callers(a.Is4()))
			}
			for j := range f.Listen.Ports.Count() {
				d := PublishedPort{f.Listen.Protocol, f.Address, a.Is6(), f.Listen.Ports.Start + uint16(j), from}
				out[d] = netip.AddrPortFrom(a, f.Ports.Start+uint16(j))
			}
		}
	}
	return out
}

// Flow is a connection as the kernel tracks it: who began it, to where, and who
// answers, which is another where the destination was translated.
type Flow struct {
	Protocol          Protocol
	From, To, Answers netip.AddrPort
}

// PortChange is a door that leads elsewhere than before; the addresses are invalid where
// there was, or is, no such door.
type PortChange struct {
	Port    PublishedPort
	Was, Is netip.AddrPort
}

// FlowDel ends connections through doors that lead elsewhere by now, so that the
// next packet of theirs is translated again.
type FlowDel struct{ Changes []PortChange }

// String prints one as conntrack(8) would have it, and says how many there are.
func (s FlowDel) String() string {
	m := s.Changes[0]
	out := fmt.Sprintf("conntrack -D -p %s --orig-port-dst %d", m.Port.Protocol, m.Port.Port)
	if m.Port.Address.IsValid() {
		out += " --orig-dst " + m.Port.Address.String()
	}
	if m.Was.IsValid() {
		out += fmt.Sprintf(" --reply-src %s --reply-port-src %d", m.Was.Addr(), m.Was.Port())
	}
	if more := len(s.Changes) - 1; more > 0 {
		out += fmt.Sprintf(" (and %d more)", more)
	}
	return out
}

// Cause returns the step, which is no repair.
func (s FlowDel) Cause() string { return s.String() }

func (FlowDel) Removes() bool { return false }

// Stale returns a function that reports whether a flow ends; local reports whether an
// address is the host's.
func (s FlowDel) Stale(local func(netip.Addr) bool) func(Flow) bool {
	type at struct {
		protocol Protocol
		port     uint16
	}
	moved := map[at][]PortChange{}
	for _, m := range s.Changes {
		k := at{m.Port.Protocol, m.Port.Port}
		moved[k] = append(moved[k], m)
	}
	return func(f Flow) bool {
		for _, m := range moved[at{f.Protocol, f.To.Port()}] {
			if m.ends(f, local) {
				return true
			}
		}
		return false
	}
}

// ends: what went to where the door led, and what is led past the door. A guest
// that calls itself is led to the host.
func (m PortChange) ends(f Flow, local func(netip.Addr) bool) bool {
	to := f.To.Addr()
	switch {
	case to.Is6() != m.Port.IPv6, m.Port.Address.IsValid() && to != m.Port.Address, to.IsLoopback():
		return false
	case m.Was.IsValid() && f.Answers == m.Was && f.To != m.Was:
		return true
	}
	return m.Is.IsValid() && f.Answers != m.Is && f.From.Addr() != m.Is.Addr() && (m.Port.Address.IsValid() || local(to))
}

// PortChanges returns the published ports of which the target changed.
func PortChanges(was, is map[PublishedPort]netip.AddrPort) []PortChange {
	var out []PortChange
	for d, to := range is {
		if was[d] != to {
			out = append(out, PortChange{d, was[d], to})
		}
	}
	for d, to := range was {
		if _, stays := is[d]; !stays {
			out = append(out, PortChange{d, to, netip.AddrPort{}})
		}
	}
	return out
}
