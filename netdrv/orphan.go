package netdrv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Orphan is what the kernel holds of ours for a network that is not declared, or
// for ports of a declared network that are not: another state declared them.
type Orphan struct {
	// Network is the name in the links' alias; the link's own where it has no alias.
	Network string
	Links   []Link // sorted by name
	Addrs   []Addr
	Routes  []LinkRoute
	// Guests are the links by which guests are attached, sorted: taps and veths in its
	// bridges, taps that are open, and all macvtaps, which do not tell.
	Guests []string
}

// String says what it is, for a person.
func (o *Orphan) String() string {
	var names []string
	for _, l := range o.Links {
		names = append(names, l.Name)
	}
	guests := "no guests"
	if len(o.Guests) > 0 {
		guests = "guests: " + strings.Join(o.Guests, ", ")
	}
	return fmt.Sprintf("%s of network %s (%s)", strings.Join(names, ", "), o.Network, guests)
}

// Bridges are the orphan's bridges.
func (o *Orphan) Bridges() []Link {
	return slices.DeleteFunc(slices.Clone(o.Links), func(l Link) bool { return l.Kind != KindBridge })
}

// SplitOrphans takes what is not declared out of have. known reports whether a link
// belongs to what is declared or deleted. A tap of a declared network that is no
// declared port remains a member of its bridge, as any guest's link is.
func SplitOrphans(have State, known func(Link) bool) (State, []Orphan) {
	orphan := map[string]string{} // network by link
	bridge := map[string]string{}
	for _, l := range have.Links {
		if !known(l) {
			orphan[l.Name] = cmp.Or(l.Network, l.Name)
		}
	}
	if len(orphan) == 0 {
		return have, nil
	}
	for _, m := range have.Members {
		bridge[m.Link] = m.Bridge
	}
	// left: the link's traffic is not ours to shape.
	left := func(link string) bool {
		if b := bridge[link]; b != "" {
			return orphan[b] != ""
		}
		return orphan[link] != ""
	}
	for _, r := range have.Redirects { // an ifb goes with the link that leads to it
		if left(r.Link) {
			orphan[r.To] = cmp.Or(orphan[r.Link], orphan[bridge[r.Link]])
			orphan[r.Default] = orphan[r.To]
		}
	}
	delete(orphan, "")
	out := map[string]*Orphan{}
	for _, l := range have.Links {
		name := orphan[l.Name]
		if name == "" {
			continue
		}
		if out[name] == nil {
			out[name] = &Orphan{Network: name}
		}
		out[name].Links = append(out[name].Links, l)
		if l.Kind == KindMacvtap || l.Kind == KindTap && l.Carrier {
			out[name].Guests = append(out[name].Guests, l.Name)
		}
	}
	for _, a := range have.Addrs {
		if o := out[orphan[a.Link]]; o != nil {
			o.Addrs = append(o.Addrs, a)
		}
	}
	for _, r := range have.Routes {
		if o := out[orphan[r.Link]]; o != nil {
			o.Routes = append(o.Routes, r)
		}
	}
	for _, m := range have.Members {
		if o := out[orphan[m.Bridge]]; o != nil {
			o.Guests = append(o.Guests, m.Link)
		}
	}
	drop := func(link string) bool { return orphan[link] != "" }
	have.Links = slices.DeleteFunc(slices.Clone(have.Links), func(l Link) bool { return drop(l.Name) })
	have.Addrs = slices.DeleteFunc(slices.Clone(have.Addrs), func(a Addr) bool { return drop(a.Link) })
	have.Routes = slices.DeleteFunc(slices.Clone(have.Routes), func(r LinkRoute) bool { return drop(r.Link) })
	have.Sysctls = slices.DeleteFunc(slices.Clone(have.Sysctls), func(s Sysctl) bool { return drop(s.Link) })
	have.Queues = slices.DeleteFunc(slices.Clone(have.Queues), func(q Queue) bool { return left(q.Link) })
	have.Redirects = slices.DeleteFunc(slices.Clone(have.Redirects), func(r Redirect) bool { return left(r.Link) })
	var sorted []Orphan
	for _, name := range slices.Sorted(maps.Keys(out)) {
		o := out[name]
		slices.Sort(o.Guests)
		o.Guests = slices.Compact(o.Guests)
		sorted = append(sorted, *o)
	}
	return have, sorted
}

// WithOrphans returns the host with orphans as links and prefixes that are in use:
// nothing that is declared may take them over by accident. Its maps are its own.
func (h Host) WithOrphans(orphans []Orphan) Host {
	if len(orphans) == 0 {
		return h
	}
	h.Links = maps.Clone(h.Links)
	h.Prefixes = slices.Clone(h.Prefixes)
	for i := range orphans {
		o := &orphans[i]
		for _, l := range o.Links {
			h.Links[l.Name] = HostLink{Index: l.Index, Kind: string(l.Kind), Master: l.Master, Up: l.Up, MTU: l.MTU, MAC: l.MAC, Orphan: o.Network}
		}
		for _, a := range o.Addrs {
			if ip := a.Prefix.Addr(); !ip.IsLinkLocalUnicast() {
				h.Prefixes = append(h.Prefixes, HostPrefix{Prefix: a.Prefix, Link: a.Link})
			}
		}
		for _, r := range o.Routes {
			h.Prefixes = append(h.Prefixes, HostPrefix{Prefix: r.Destination, Link: r.Link, Route: true})
		}
	}
	return h
}

// Without returns the host without an orphan. Its maps are its own.
func (h Host) Without(o *Orphan) Host {
	h.Links, h.AltNames = maps.Clone(h.Links), maps.Clone(h.AltNames)
	gone := map[string]bool{}
	for _, l := range o.Links {
		gone[l.Name] = true
		delete(h.Links, l.Name)
	}
	maps.DeleteFunc(h.AltNames, func(_, link string) bool { return gone[link] })
	h.Prefixes = slices.DeleteFunc(slices.Clone(h.Prefixes), func(p HostPrefix) bool { return gone[p.Link] })
	return h
}

// Adopted is the definition that an orphan's links show: bridge, MAC, MTU, addresses,
// routes, uplinks, and the mode where the kind of its links says it. Its Mode is 0 if
// they do not: a bridge with addresses may be of mode nat, route, open or isolated.
func (o *Orphan) Adopted() Network {
	n := Network{Name: o.Network}
	for _, l := range o.Links {
		switch l.Kind {
		case KindBridge:
			n.Bridge.Name, n.Bridge.MAC = l.Name, l.MAC
			if l.MTU != defaultMTU {
				n.Bridge.MTU = l.MTU
			}
			if l.Uplinks != "" {
				n.Mode, n.Bridge.Uplinks = ExistingBridge, strings.Fields(l.Uplinks)
			}
		case KindMacvlan:
			n.Bridge.Name, n.Bridge.MAC = l.Name, l.MAC
			n.Mode, n.Direct = DirectLink, Direct{Uplinks: []string{l.Parent}, HostAccess: true}
		case KindMacvtap:
			n.Mode, n.Direct.Mode = DirectLink, l.Mode
			if !slices.Contains(n.Direct.Uplinks, l.Parent) {
				n.Direct.Uplinks = append(n.Direct.Uplinks, l.Parent)
			}
		}
	}
	for _, a := range o.Addrs {
		if n.Mode != ExistingBridge && a.Link == n.Bridge.Name && !a.Prefix.Addr().IsLinkLocalUnicast() {
			n.Subnets = append(n.Subnets, Subnet{Address: a.Prefix})
		}
	}
	slices.SortFunc(n.Subnets, func(a, b Subnet) int { return a.Address.Addr().Compare(b.Address.Addr()) })
	if n.Mode == 0 && len(n.Subnets) == 0 {
		n.Mode, n.HostAccess.Limited = Isolated, true
	}
	if n.Mode == 0 {
		for _, r := range o.Routes {
			m := r.Metric
			if m == metric(0, r.Destination.Addr()) {
				m = 0
			}
			n.Routes = append(n.Routes, StaticRoute{Destination: r.Destination, Via: r.Via, Metric: m})
		}
	}
	return n
}

// Ports are declarations for the orphan's taps and macvtaps. guest says which MAC a
// bridge has learned behind a link; zero if none, or several.
func (o *Orphan) Ports(guest func(Link) MAC) []Port {
	var out []Port
	for _, l := range o.Links {
		if !l.IsPort() {
			continue
		}
		p := Port{Network: o.Network, Link: l.Name, MAC: l.MAC, Uplink: l.Parent, Owner: l.Owner, Queues: l.Queues}
		if l.Kind == KindTap {
			p.MAC[0] = 0x52 // Port.MAC.Tap is the tap's own
			if m := guest(l); !m.IsZero() && m.Tap() == l.MAC {
				p.MAC = m
			}
		}
		out = append(out, p)
	}
	return out
}

// Closed is an orphan's bridge as a network for the firewall: the guests reach each
// other, and of the host what an isolated network offers, and nothing else does them.
func (o *Orphan) Closed() []Network {
	var out []Network
	for _, l := range o.Bridges() {
		if l.Uplinks != "" {
			continue // the host does not route there
		}
		n := Network{Name: o.Network, Mode: Isolated, Bridge: Bridge{Name: l.Name, MAC: l.MAC}, HostAccess: HostAccess{Limited: true}}
		for _, a := range o.Addrs {
			if a.Link == l.Name && !a.Prefix.Addr().IsLinkLocalUnicast() {
				n.Subnets = append(n.Subnets, Subnet{Address: a.Prefix})
			}
		}
		out = append(out, n)
	}
	return out
}

// Treatment is what rules do with the packets of a bridge.
type Treatment struct {
	Mode    Mode // NAT or Route; 0 if the rules do not tell
	IPv6NAT bool
	// Exact: a network of that mode has these rules and no other.
	Exact bool
}
