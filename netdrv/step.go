package netdrv

import (
	"fmt"
	"strings"
)

// A Step is one change to the kernel. Applying a step twice is no error.
type Step interface {
	// String returns the command that an administrator would type.
	String() string
	// Cause returns what made the step necessary, where it repairs what was in place
	// before: "address 192.168.10.1/24 was gone from lab0".
	Cause() string
	// Removes reports whether the step is part of taking a network down, which comes
	// before the rules of the firewall change.
	Removes() bool
}

type (
	// LinkAdd makes a link, down, with its MAC and MTU, and its network in the alias.
	LinkAdd struct{ Link Link }
	// LinkSet changes MAC, MTU, alias and master of a link that exists. Only the
	// fields that differ are set.
	LinkSet struct{ Link, Have Link }
	// LinkUp and LinkDown bring a link up and down.
	LinkUp   struct{ Name string }
	LinkDown struct{ Name string }
	// LinkDel removes a link. A bridge's ports stay, without a master.
	LinkDel struct{ Name string }
	// AddrAdd and AddrDel change one address; IPv6 is added without duplicate
	// address detection, for a bridge without ports has no carrier to do it on.
	AddrAdd struct{ Addr Addr }
	AddrDel struct{ Addr Addr }
	// RouteAdd and RouteDel change one route, marked as ours by its protocol.
	RouteAdd struct{ Route LinkRoute }
	RouteDel struct{ Route LinkRoute }
	// MemberAdd makes a guest's link a port of a bridge; MemberDel takes it out.
	MemberAdd struct{ Member Member }
	MemberDel struct{ Member Member }
	// MemberSet sets whether a port of a bridge is isolated.
	MemberSet struct{ Member Member }
	// SysctlSet writes one setting.
	SysctlSet struct{ Sysctl Sysctl }
)

func (s LinkAdd) String() string {
	l := s.Link
	if l.Kind == KindTap {
		queues := ""
		if l.Queues > 1 {
			queues = " multi_queue"
		}
		return fmt.Sprintf("ip tuntap add %s mode tap vnet_hdr%s user %d", l.Name, queues, l.Owner)
	}
	out := []string{"ip link add", l.Name}
	if l.Parent != "" {
		out = append(out, "link", l.Parent)
	}
	out = append(out, "address", l.MAC.String(), "mtu", fmt.Sprint(l.MTU), "type", string(l.Kind))
	if l.Mode != 0 {
		out = append(out, "mode", l.Mode.String())
	}
	return strings.Join(out, " ")
}

func (s LinkSet) String() string {
	out := []string{"ip link set", s.Link.Name}
	if s.Link.MAC != s.Have.MAC {
		out = append(out, "address", s.Link.MAC.String())
	}
	if s.Link.MTU != s.Have.MTU {
		out = append(out, "mtu", fmt.Sprint(s.Link.MTU))
	}
	if s.Link.FDBMaxLearned != s.Have.FDBMaxLearned {
		out = append(out, "type", "bridge", "fdb_max_learned", fmt.Sprint(s.Link.FDBMaxLearned))
	}
	if s.Link.Alias() != s.Have.Alias() {
		out = append(out, "alias", s.Link.Alias())
	}
	switch {
	case s.Link.Master == s.Have.Master:
	case s.Link.Master == "":
		out = append(out, "nomaster")
	default:
		out = append(out, "master", s.Link.Master)
	}
	return strings.Join(out, " ")
}

func (s LinkUp) String() string   { return "ip link set " + s.Name + " up" }
func (s LinkDown) String() string { return "ip link set " + s.Name + " down" }
func (s LinkDel) String() string  { return "ip link del " + s.Name }

func (s AddrAdd) String() string {
	nodad := ""
	if s.Addr.Prefix.Addr().Is6() {
		nodad = " nodad"
	}
	return fmt.Sprintf("ip addr add %s dev %s%s", s.Addr.Prefix, s.Addr.Link, nodad)
}

func (s AddrDel) String() string {
	return fmt.Sprintf("ip addr del %s dev %s", s.Addr.Prefix, s.Addr.Link)
}

func (s RouteAdd) String() string { return "ip route add " + s.Route.String() }
func (s RouteDel) String() string { return "ip route del " + s.Route.String() }

// String says "10.99.0.0/16 via 10.20.0.5 dev virbr1 metric 5", as ip does.
func (r LinkRoute) String() string {
	s := r.Destination.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	s += " dev " + r.Link
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}

func (s MemberAdd) String() string {
	return fmt.Sprintf("ip link set %s master %s", s.Member.Link, s.Member.Bridge)
}

func (s MemberDel) String() string {
	return fmt.Sprintf("ip link set %s nomaster", s.Member.Link)
}

func (s MemberSet) String() string {
	return fmt.Sprintf("bridge link set dev %s isolated %s", s.Member.Link, onOff(s.Member.Isolated))
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (s SysctlSet) String() string {
	return fmt.Sprintf("sysctl -w %s=%s", s.Sysctl.Key, s.Sysctl.Value)
}

func (s LinkAdd) Cause() string  { return "link " + s.Link.Name + " was gone" }
func (s LinkSet) Cause() string  { return "link " + s.Link.Name + " was changed" }
func (s LinkUp) Cause() string   { return "link " + s.Name + " was down" }
func (s LinkDown) Cause() string { return "link " + s.Name + " was up" }
func (s LinkDel) Cause() string  { return "link " + s.Name + " was there" }
func (s AddrAdd) Cause() string {
	return fmt.Sprintf("address %s was gone from %s", s.Addr.Prefix, s.Addr.Link)
}

func (s AddrDel) Cause() string {
	return fmt.Sprintf("address %s was on %s", s.Addr.Prefix, s.Addr.Link)
}
func (s RouteAdd) Cause() string  { return "route " + s.Route.String() + " was gone" }
func (s RouteDel) Cause() string  { return "route " + s.Route.String() + " was there" }
func (s MemberAdd) Cause() string { return s.Member.Link + " was off " + s.Member.Bridge }
func (s MemberDel) Cause() string { return s.Member.Link + " was on " + s.Member.Bridge }
func (s MemberSet) Cause() string {
	return s.Member.Link + " was isolated " + onOff(!s.Member.Isolated)
}
func (s SysctlSet) Cause() string { return s.Sysctl.Key + " was not " + s.Sysctl.Value }

func (LinkAdd) Removes() bool   { return false }
func (LinkSet) Removes() bool   { return false }
func (LinkUp) Removes() bool    { return false }
func (LinkDown) Removes() bool  { return false }
func (LinkDel) Removes() bool   { return true }
func (AddrAdd) Removes() bool   { return false }
func (AddrDel) Removes() bool   { return false }
func (RouteAdd) Removes() bool  { return false }
func (RouteDel) Removes() bool  { return false }
func (MemberAdd) Removes() bool { return false }
func (MemberDel) Removes() bool { return false }
func (MemberSet) Removes() bool { return false }
func (SysctlSet) Removes() bool { return false }

func (s LinkAdd) expected(added map[string]bool) bool {
	return s.Link.Kind == KindIfb && added[s.Link.Name]
}
func (s LinkUp) expected(added map[string]bool) bool { return added[s.Name] }
func (s LinkDel) expected(map[string]bool) bool      { return strings.HasPrefix(s.Name, ifbPrefix) }

// ExternalChanges returns the plans without the consequences of our own earlier steps and
// of ports that came or went, which are the links in added.
func ExternalChanges(plans []Plan, added map[string]bool) []Plan {
	var out []Plan
	for _, p := range plans {
		var steps []Step
		for _, s := range p.Steps {
			if e, ok := s.(interface{ expected(map[string]bool) bool }); !ok || !e.expected(added) {
				steps = append(steps, s)
			}
		}
		if len(steps) > 0 {
			out = append(out, Plan{Network: p.Network, Steps: steps})
		}
	}
	return out
}
