package netdrv

import (
	"cmp"
	"strings"
)

// A HostObject is something of the host's on a link: an address, a route, a
// neighbour. It is moved as the kernel gave it, so that nothing is lost that
// this package has no word for.
type HostObject struct {
	Kind HostObjectKind
	Link string
	// Key tells it from others of its kind on the link, and is the same on
	// another one: what ip(8) says of it without the link.
	Key string
	// More is what ip(8) says besides: lifetimes, a label.
	Attributes string
	// Raw is the kernel's message, which only netdrv/kernel reads, and Read the link
	// that it was about; empty for Link.
	Raw, RawLink string
	// Follows: the kernel makes it because of an address, and on another link
	// again. It is not moved, but does not stay behind either.
	KernelDerived bool
	// Leased: an address with an end, which a client of the host keeps up.
	Leased bool
	// Stays says why it cannot be moved; "" if it can.
	Immovable string
	// Gap takes the place of a route that the kernel has learned, until it has
	// learned it again on the other link. Nil for everything else.
	Placeholder *HostObject
}

// HoldingKind is ip(8)'s word for an object.
type HostObjectKind string

// The kinds of holdings.
const (
	ObjectAddr      HostObjectKind = "addr"
	ObjectRoute     HostObjectKind = "route"
	ObjectNeighbour HostObjectKind = "neigh"
)

// on returns the holding as it is to be on another link.
func (h HostObject) copied() HostObject {
	if h.Placeholder != nil {
		return *h.Placeholder
	}
	return h
}

// family is " -6" for what ip(8) would take for IPv4 otherwise.
func (h *HostObject) family() string {
	if h.Kind == ObjectRoute && strings.Contains(h.Key, ":") {
		return " -6"
	}
	return ""
}

// UplinkSnapshot is what bridges that vnetd builds stand on, as it is now: the bridges,
// their uplinks, and what the host has on either.
type UplinkSnapshot struct {
	Links   map[string]SnapshotLink
	Objects []HostObject // in the kernel's order
	// Forwarding: the host forwards IPv6.
	Forwarding bool
	// Defaults are the settings that a new link gets.
	Defaults map[string]string
}

// GroundLink is a bridge or an uplink.
type SnapshotLink struct {
	Index  int
	Kind   string // ip-link's word
	Master string
	MAC    MAC
	MTU    int
	Up     bool
	// Ours, Network and Uplinks are a bridge's that vnetd built; see Link.
	Ours    bool
	Network string
	Uplinks string
	// Wireless: frames of others do not pass.
	Wireless bool
	// Settings are sysctls by what comes before and after the link's name:
	// ipv6/accept_ra.
	Settings map[string]string
	// Rules are routing policy rules that name the link, as ip(8) says them.
	Rules []string
}

// Restore puts what was on a link that is gone on another, as if it were there:
// what the kernel makes by itself, and where neighbours were, is left out.
func (g *UplinkSnapshot) Restore(held []HostObject, link string) {
	for _, h := range held {
		if !h.KernelDerived && h.Kind != ObjectNeighbour && h.Immovable == "" {
			h = h.copied()
			h.RawLink, h.Link = cmp.Or(h.RawLink, h.Link), link
			g.Objects = append(g.Objects, h)
		}
	}
}

// On returns what is on a link.
func (g *UplinkSnapshot) On(link string) []HostObject {
	var out []HostObject
	for _, h := range g.Objects {
		if h.Link == link {
			out = append(out, h)
		}
	}
	return out
}
