package netdrv

import (
	"cmp"
	"strings"
)

// A HostObject is an address, a route or a neighbour of the host on a link. It is copied
// with the message that the kernel returned, so that attributes that this package does
// not know are kept.
type HostObject struct {
	Kind HostObjectKind
	Link string
	// Key tells it from others of its kind on the link, and is the same on
	// another one: what ip(8) says of it without the link.
	Key string
	// Attributes is what ip(8) prints besides: lifetimes, a label.
	Attributes string
	// Raw is the kernel's message, which only netdrv/kernel reads, and RawLink the link
	// that it was about; empty for Link.
	Raw, RawLink string
	// KernelDerived: the kernel creates it with an address. It is not copied, but it is
	// deleted from the old link.
	KernelDerived bool
	// Leased: an address with an end, which a client of the host keeps up.
	Leased bool
	// Immovable is the reason for which it cannot be moved; "" if it can.
	Immovable string
	// Placeholder replaces a route that the kernel has learned, until it has
	// learned it again on the other link. Nil for everything else.
	Placeholder *HostObject
}

// HoldingKind is ip(8)'s word for an object.
type HostObjectKind string

// The kinds of host objects.
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

// UplinkSnapshot is what the kernel holds of bridges that vnetd builds and of their
// uplinks: the links, and the objects of the host on them.
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

// Restore adds the objects of a deleted link to another, as if they were there. It leaves
// out kernel-derived objects and neighbours.
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
