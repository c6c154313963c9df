package netdrv

import (
	"fmt"
	"strings"
)

// A Step is one change to the kernel. It prints as the command that an
// administrator would type. Applying a step twice is no error.
type Step interface{ String() string }

type (
	// LinkAdd makes a bridge, down, with its MAC and MTU, and says in its alias
	// whose it is.
	LinkAdd struct{ Link Link }
	// LinkSet changes MAC, MTU, alias and up of a bridge that exists. Only the
	// fields that differ are set.
	LinkSet struct{ Link, Have Link }
	// LinkUp brings a bridge up.
	LinkUp struct{ Name string }
	// LinkDel removes a bridge. Its ports stay, without a master.
	LinkDel struct{ Name string }
	// AddrAdd and AddrDel change one address; IPv6 is added without duplicate
	// address detection, for a bridge without ports has no carrier to do it on.
	AddrAdd struct{ Addr Addr }
	AddrDel struct{ Addr Addr }
	// SysctlSet writes one setting.
	SysctlSet struct{ Sysctl Sysctl }
)

func (s LinkAdd) String() string {
	return fmt.Sprintf("ip link add %s address %s mtu %d type bridge", s.Link.Name, s.Link.MAC, s.Link.MTU)
}

func (s LinkSet) String() string {
	out := []string{"ip link set", s.Link.Name}
	if s.Link.MAC != s.Have.MAC {
		out = append(out, "address", s.Link.MAC.String())
	}
	if s.Link.MTU != s.Have.MTU {
		out = append(out, "mtu", fmt.Sprint(s.Link.MTU))
	}
	if s.Link.Network != s.Have.Network {
		out = append(out, "alias", Alias(s.Link.Network))
	}
	return strings.Join(out, " ")
}

func (s LinkUp) String() string  { return "ip link set " + s.Name + " up" }
func (s LinkDel) String() string { return "ip link del " + s.Name }

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

func (s SysctlSet) String() string {
	return fmt.Sprintf("sysctl -w %s=%s", s.Sysctl.Key, s.Sysctl.Value)
}

const aliasPrefix = "vnetd:"

// Alias is what a link of network carries as its alias, for people and for us.
func Alias(network string) string { return aliasPrefix + network }

// ParseAlias is the inverse of Alias.
func ParseAlias(alias string) (network string, ok bool) { return strings.CutPrefix(alias, aliasPrefix) }
