package netdrv

import "net/netip"

// State is what the kernel should hold for us (want) or holds (have). It names
// nothing that is not ours.
type State struct {
	Links   []Link
	Addrs   []Addr
	Sysctls []Sysctl
}

// Link is a bridge of ours.
type Link struct {
	// Network owns the link. In have it is read from the link's alias, and is
	// empty when a crash came between making the link and naming its owner.
	Network string
	Name    string
	MAC     MAC
	MTU     int
	Up      bool
}

// Addr is an address on a link of ours.
type Addr struct {
	Network string
	Link    string
	Prefix  netip.Prefix
}

// Sysctl is a kernel setting; Key is a path below /proc/sys, because a link's
// name may hold a dot.
type Sysctl struct {
	Network string // "" when the setting is the host's
	Link    string // our link that it belongs to, or ""
	Key     string
	Value   string
}

// Host is what the kernel holds that is not ours, as far as it matters to us.
type Host struct {
	// Links are the names of all links that are not ours.
	Links map[string]bool
	// Prefixes are in use by the host: addresses and routes, but for default
	// routes and what hangs on our links.
	Prefixes []HostPrefix
	// RALinks have a default route learned by the kernel from router
	// advertisements, with the value of their accept_ra.
	RALinks map[string]string
}

// HostPrefix is a prefix that the host itself uses.
type HostPrefix struct {
	Prefix netip.Prefix
	Link   string
	Route  bool // a route and not an address
}
