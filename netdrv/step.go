package netdrv

import (
	"fmt"
	"strings"
)

// A Step is one change to the kernel. It prints as the command that an
// administrator would type. Applying a step twice is no error.
type Step interface{ String() string }

type (
	// LinkAdd makes a link, down, with its MAC and MTU, and says in its alias
	// whose it is.
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
		return l.tuntap()
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

// tuntap is what ip-tuntap(8) would be told.
func (l *Link) tuntap() string {
	s := "ip tuntap add " + l.Name + " mode tap vnet_hdr"
	if l.Queues > 1 {
		s += " multi_queue"
	}
	return fmt.Sprintf("%s user %d", s, l.Owner)
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
