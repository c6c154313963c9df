package netdrv

import (
	"fmt"
	"net/netip"
	"strings"
)

// State is what the kernel should hold for us (want) or holds (have). It names
// nothing that is not ours, but for guests' links as members of bridges.
type State struct {
	Links   []Link
	Addrs   []Addr
	Routes  []LinkRoute
	Sysctls []Sysctl
	Members []Member
	// Queues and Redirects are on links of ours, and on guests'.
	Queues    []Queue
	Redirects []Redirect
}

// Link is a link of ours: a bridge, the host's macvlan of mode direct, a guest's tap
// or macvtap, or an ifb that holds back what comes in by another.
type Link struct {
	// Network owns the link. In have it is read from the link's alias, and is
	// empty when a crash came between making the link and naming its owner.
	Network string
	Name    string
	// Index is the kernel's, in have only.
	Index int
	Kind  Kind
	// MAC and MTU of a tap are what it has anyway, if zero in want.
	MAC MAC
	MTU int
	Up  bool
	// Parent and Mode are those of a macvlan or macvtap.
	Parent string
	Mode   DirectMode
	// Master is the bridge that a tap is in; "" if none.
	Master string
	// Carrier: a process has the tap or macvtap open, in have only.
	Carrier bool
	// Owner is the uid that may open a tap, NoOwner if the tap is not restricted to one;
	// Group is the gid that may besides. Persist: a tap stays when no process has it open.
	Owner   uint32
	Group   uint32
	Persist bool
	// Queues is how a tap is made; in have it is zero.
	Queues int
	// Uplinks are those of a bridge that stands on links of the host, with spaces
	// between. They are in its alias, for after a crash nothing else records
	// where the host's addresses came from.
	Uplinks string
	// FDBMaxLearned is how many MACs a bridge learns, 0 for no limit. In have it is negative
	// where the kernel knows no limit (before Linux 6.7).
	FDBMaxLearned int
}

// Kind is ip-link's word for what a link is.
type Kind string

// The kinds of links that we make.
const (
	KindBridge  Kind = "bridge"
	KindMacvlan Kind = "macvlan"
	KindMacvtap Kind = "macvtap"
	KindTap     Kind = "tap"
	KindIfb     Kind = "ifb"
)

// NoOwner is the Owner of a tap that any user may open.
const NoOwner = ^uint32(0)

// Tampered returns what of a port's link differs from how vnetd made it and can be
// changed by a process that has the link open, without any privilege (tun(4): SIOCSIFHWADDR,
// TUNSETOWNER, TUNSETGROUP, TUNSETPERSIST); "" if nothing does.
func (l *Link) Tampered(have Link) string {
	switch {
	case !l.MAC.IsZero() && l.MAC != have.MAC:
		return fmt.Sprintf("its MAC address is %s, and was %s", have.MAC, l.MAC)
	case l.Kind != KindTap:
		return ""
	case l.Owner != have.Owner, l.Group != have.Group:
		return "its owner or group is another"
	case l.Persist != have.Persist:
		return "its persist flag is another"
	}
	return ""
}

// IsPort reports whether the link is a guest's.
func (l *Link) IsPort() bool { return l.Kind == KindMacvtap || l.Kind == KindTap }

// Addr is an address on a link of ours.
type Addr struct {
	Network string
	Link    string
	Prefix  netip.Prefix
}

// LinkRoute is a route of ours, in the main table.
type LinkRoute struct {
	Network     string
	Link        string
	Destination netip.Prefix
	Via         netip.Addr // zero: the destination is on the link
	Metric      int
}

// Sysctl is a kernel setting; Key is a path below /proc/sys, because a link's
// name may hold a dot.
type Sysctl struct {
	Network string // "" when the setting is the host's
	Link    string // our link that it belongs to, or ""
	Key     string
	Value   string
}

// Member is a guest's link as a port of a bridge. Its index tells it from
// another link that has the name later.
type Member struct {
	Network string
	Link    string
	Index   int
	Kind    string // tap or veth
	// Bridge is the link's master; empty if it has none.
	Bridge string
	// MAC is the guest's, the first that was seen behind the link; zero until then.
	// It stays for as long as the link does.
	MAC MAC
	// LearnedMAC is the single MAC that a bridge has learned behind the link, for people to
	// read; zero if none was, or several were. A guest may choose it.
	LearnedMAC MAC
	// Isolated: the bridge passes nothing between this port and others that are
	// isolated.
	Isolated bool
}

// Host is what the kernel holds that is not ours, as far as it matters to us.
type Host struct {
	// Links are all links that are not ours, by name.
	Links map[string]HostLink
	// AltNames are alternative names of any links (ip-link(8): altname), and the names of
	// the links that have them: the kernel gives no name twice.
	AltNames map[string]string
	// Prefixes are in use by the host: addresses and routes, but for default
	// routes and what hangs on our links.
	Prefixes []HostPrefix
	// DefaultLinks are the links of default routes, the preferred one first.
	DefaultLinks []string
	// Spent are routes of ours that stood on a link of the host for one that the
	// kernel had yet to learn, and has learned.
	StalePlaceholders []LinkRoute
	// Defaults says of which families the default routes of DefaultLinks are.
	Defaults map[string]Families
	// Uplinks have, or had while the daemon ran, a default route: one that was removed
	// and is there again is known by its name.
	Uplinks []string
	// AcceptRA is accept_ra (Documentation/networking/ip-sysctl.rst) of the links that
	// are not in a bridge or bond.
	AcceptRA map[string]int
}

// Families says which families of addresses something is about.
type Families struct{ IPv4, IPv6 bool }

// HasLink reports whether a link of that name is there that is not ours, or any link
// that has it as an alternative name.
func (h *Host) HasLink(name string) bool {
	_, ok := h.Links[name]
	return ok || h.AltNames[name] != ""
}

// Taken reports whether a link of ours cannot have a name: it is in use, or that of the
// ifb that belongs to it is.
func (h *Host) Taken(name string) bool { return h.HasLink(name) || h.HasLink(IfbName(name)) }

// Addresses are those of the host itself.
func (h *Host) Addresses() []netip.Addr {
	var out []netip.Addr
	for _, p := range h.Prefixes {
		if !p.Route {
			out = append(out, p.Prefix.Addr())
		}
	}
	return out
}

// HostLink is a link that is not ours.
type HostLink struct {
	Index  int
	Kind   string // ip-link's word; "device" for hardware
	Master string // the bridge or bond that it is in
	Up     bool
	// Carrier: the link is up and can pass frames (IFF_LOWER_UP).
	Carrier bool
	MTU     int
	MAC     MAC
	// Orphan is the network of a link of ours that is not declared (see Orphan).
	Orphan string
}

// HostPrefix is a prefix that the host itself uses.
type HostPrefix struct {
	Prefix netip.Prefix
	Link   string
	Route  bool // a route and not an address
}

// String says "address 10.0.0.5/8 on eth0" or "route to 10.0.0.0/8 by eth0".
func (h HostPrefix) String() string {
	if h.Route {
		return "route to " + h.Prefix.String() + " by " + h.Link
	}
	return "address " + h.Prefix.String() + " on " + h.Link
}

const aliasPrefix = "vnetd:"

// Alias is what a link of network carries as its alias, for people and for us.
func Alias(network string) string { return aliasPrefix + network }

// ParseAlias is the inverse of Alias.
func ParseAlias(alias string) (network string, ok bool) {
	alias, ok = strings.CutPrefix(alias, aliasPrefix)
	network, _, _ = strings.Cut(alias, " ")
	return network, ok
}

// Alias is what the link carries as its alias: its network, and its uplinks.
func (l *Link) Alias() string { return strings.TrimSpace(Alias(l.Network) + " " + l.Uplinks) }

// ParseUplinks returns what Link.Alias said of the uplinks.
func ParseUplinks(alias string) string {
	_, uplinks, _ := strings.Cut(alias, " ")
	return uplinks
}
