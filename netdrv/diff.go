package netdrv

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Plan is what to do for one network, in order. Network is "" for what is the
// whole host's.
type Plan struct {
	Network string
	Steps   []Step
}

// String prints a step a line.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Diff returns the plans that make have equal to want, sorted by network, the
// host's first; none if nothing is to be done. Within a plan, a link comes
// before its settings, settings before addresses, and "up" last, so that no
// guest sees a half-made bridge; guests' links join after that. A new address
// comes before an old one goes.
func Diff(want, have State) []Plan {
	d := differ{want: byLink(want), have: byLink(have), plans: map[string][]Step{}}
	d.dropTraffic(want, have)
	d.sysctls("")
	for _, l := range want.Links {
		d.link(l)
	}
	for _, l := range have.Links {
		if _, wanted := d.want.links[l.Name]; !wanted {
			d.add(l.Network, LinkDel{l.Name})
		}
	}
	d.members(want.Members, have.Members)
	d.traffic(want, have)
	return d.sorted()
}

// indexed is a State by link, so that a Diff costs what its states hold.
type indexed struct {
	links   map[string]Link
	addrs   map[string][]Addr
	routes  map[string][]LinkRoute
	sysctls map[string][]Sysctl
}

func byLink(s State) indexed {
	x := indexed{map[string]Link{}, map[string][]Addr{}, map[string][]LinkRoute{}, map[string][]Sysctl{}}
	for _, l := range s.Links {
		x.links[l.Name] = l
	}
	for _, a := range s.Addrs {
		x.addrs[a.Link] = append(x.addrs[a.Link], a)
	}
	for _, r := range s.Routes {
		x.routes[r.Link] = append(x.routes[r.Link], r)
	}
	for _, c := range s.Sysctls {
		x.sysctls[c.Link] = append(x.sysctls[c.Link], c)
	}
	return x
}

type differ struct {
	want, have indexed
	plans      map[string][]Step
}

func (d *differ) add(network string, s Step) { d.plans[network] = append(d.plans[network], s) }

func (d *differ) sorted() []Plan {
	var out []Plan
	for _, n := range slices.Sorted(maps.Keys(d.plans)) {
		out = append(out, Plan{Network: n, Steps: d.plans[n]})
	}
	return out
}

func (d *differ) link(l Link) {
	h, exists := d.have.links[l.Name]
	if exists && mustRecreate(l, h) {
		d.add(l.Network, LinkDel{l.Name})
		d.forget(l.Name)
		h, exists = Link{}, false
	}
	up := h.Up
	h.Up, h.Index, h.Carrier, h.Queues = l.Up, l.Index, false, l.Queues
	if exists && h.FDBMaxLearned < 0 {
		l.FDBMaxLearned = h.FDBMaxLearned
	}
	if exists && l.Kind == KindTap {
		l = l.withDefaults(h)
	}
	switch {
	case !exists:
		d.add(l.Network, LinkAdd{l})
		if l.Master != "" {
			h = l
			h.Master = ""
			d.add(l.Network, LinkSet{l, h})
		}
	case h != l:
		d.add(l.Network, LinkSet{l, h})
	}
	d.sysctls(l.Name)
	d.addrs(l)
	switch {
	case l.Up && !up:
		d.add(l.Network, LinkUp{l.Name})
	case !l.Up && up:
		d.add(l.Network, LinkDown{l.Name})
	}
	d.routes(l)
}

// withDefaults keeps the MAC and MTU of a tap where none is wanted.
func (l Link) withDefaults(have Link) Link {
	if l.MAC.IsZero() {
		l.MAC = have.MAC
	}
	if l.MTU == 0 {
		l.MTU = have.MTU
	}
	return l
}

// remade reports whether a link cannot become another: its kind, its parent and
// its mode are for life, and so are a tap's owner and persist flag while a guest has it open.
func mustRecreate(want, have Link) bool {
	return want.Kind != have.Kind || want.Parent != have.Parent || want.Mode != have.Mode ||
		want.Owner != have.Owner || want.Group != have.Group || want.Persist != have.Persist
}

// forget drops what goes with a link.
func (d *differ) forget(link string) {
	delete(d.have.addrs, link)
	delete(d.have.routes, link)
	delete(d.have.sysctls, link)
}

func (d *differ) addrs(l Link) {
	want, have := d.want.addrs[l.Name], d.have.addrs[l.Name]
	wanted, there := prefixesOf(want), prefixesOf(have)
	for _, a := range want {
		if !there[a.Prefix] {
			d.add(l.Network, AddrAdd{a})
		}
	}
	for _, a := range have {
		if !wanted[a.Prefix] && !keptByKernel(a, l) {
			d.add(l.Network, AddrDel{a})
		}
	}
}

func prefixesOf(addrs []Addr) map[netip.Prefix]bool {
	out := make(map[netip.Prefix]bool, len(addrs))
	for _, a := range addrs {
		out[a.Prefix] = true
	}
	return out
}

// kernelMade reports whether the kernel keeps an address by itself: on links
// that are not bridges it is not told otherwise.
func keptByKernel(a Addr, l Link) bool {
	return l.Kind != KindBridge && a.Prefix.Addr().Is6()
}

func (d *differ) routes(l Link) {
	want, have := d.want.routes[l.Name], d.have.routes[l.Name]
	wanted, there := routeSet(want), routeSet(have)
	for _, r := range have {
		if !wanted[r.unowned()] {
			d.add(l.Network, RouteDel{r})
		}
	}
	for _, r := range want {
		if !there[r.unowned()] {
			d.add(l.Network, RouteAdd{r})
		}
	}
}

func routeSet(routes []LinkRoute) map[LinkRoute]bool {
	out := make(map[LinkRoute]bool, len(routes))
	for _, r := range routes {
		out[r.unowned()] = true
	}
	return out
}

// unowned is the route without its network, as the kernel has it.
func (r LinkRoute) unowned() LinkRoute {
	r.Network = ""
	return r
}

// sysctls compares the settings of one link, or of the host when link is "".
func (d *differ) sysctls(link string) {
	have := d.have.sysctls[link]
	for _, s := range d.want.sysctls[link] {
		now := slices.IndexFunc(have, func(h Sysctl) bool { return h.Key == s.Key })
		if now < 0 || have[now].Value != s.Value {
			d.add(s.Network, SysctlSet{s})
		}
	}
}

// members puts guests' links back that have no master, or one that goes. One
// that is in another bridge stays there, and one that is gone is passed over. A
// port is not isolated when it joins.
func (d *differ) members(want, have []Member) {
	now := map[int]Member{}
	for _, m := range have {
		now[m.Index] = m
	}
	for _, m := range want {
		_, ours := d.want.links[m.Link] // a port knows its bridge
		h, exists := now[m.Index]
		if exists && !ours && (h.Bridge == "" || d.removes(h.Bridge)) {
			d.add(m.Network, MemberAdd{m})
			h.Bridge, h.Isolated = m.Bridge, false
		}
		if h.Bridge == m.Bridge && h.Isolated != m.Isolated {
			d.add(m.Network, MemberSet{m})
		}
	}
}

// goes reports whether a link of ours is not wanted any more.
func (d *differ) removes(link string) bool {
	_, had := d.have.links[link]
	_, wanted := d.want.links[link]
	return had && !wanted
}
