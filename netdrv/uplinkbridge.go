package netdrv

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Built reports whether the network's bridge is one that vnetd builds on links
// of the host.
func (n *Network) HasUplinkBridge() bool {
	return n.Mode == ExistingBridge && len(n.Bridge.Uplinks) > 0
}

// MovesHost reports whether a live network's change from old to n moves
// addresses of the host: from one link to another, or to a bridge that is made
// again. Either may be nil, for a network that starts or stops.
func MovesHost(old, n *Network) bool {
	was, is := old != nil && old.HasUplinkBridge(), n != nil && n.HasUplinkBridge()
	if was && is {
		return old.Bridge.Name != n.Bridge.Name || !slices.Equal(old.Bridge.Uplinks, n.Bridge.Uplinks)
	}
	return was || is
}

// UplinkBridges is the input of PlanUplinkBridges besides the snapshot.
type UplinkBridges struct {
	// Live are networks that are to stand; those that are not Built are passed
	// over.
	Live []Network
	// Members are guests' links as UpdateMembers has them.
	Members []Member
	// Have is what the kernel holds of ours.
	Have State
}

// Build returns the plans that make built bridges stand, with the host's
// addresses and routes on them, and that take down those of ours on the ground
// that are not wanted, with everything moved back to their first uplink. It
// records nothing: what is on an uplink belongs on its bridge, and what is on a
// bridge that goes belongs on its uplink, however it got there.
//
// What moves is on both links for a moment, never on none.
func PlanUplinkBridges(b UplinkBridges, g UplinkSnapshot) []Plan {
	w := bridgePlanner{UplinkBridges: b, snapshot: g, plans: map[string][]Step{}, removed: map[string]bool{}}
	w.snapshot.Links = maps.Clone(g.Links)
	w.snapshot.Objects = slices.Clone(g.Objects)
	wanted := map[string]*Network{}
	for i := range b.Live {
		if n := &b.Live[i]; n.HasUplinkBridge() {
			wanted[n.Bridge.Name] = n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Links)) {
		if l := g.Links[name]; l.Ours && l.Uplinks != "" && wanted[name] == nil {
			w.removeBridge(name, l)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		w.build(wanted[name])
	}
	var out []Plan
	for _, n := range slices.Sorted(maps.Keys(w.plans)) {
		out = append(out, Plan{Network: n, Steps: w.plans[n]})
	}
	return out
}

// builder plays its own steps on the ground, so that what one bridge gives back
// is there for the next.
type bridgePlanner struct {
	UplinkBridges
	snapshot UplinkSnapshot
	plans    map[string][]Step
	removed  map[string]bool // bridges that are taken down
}

func (w *bridgePlanner) add(network string, steps ...Step) {
	if len(steps) > 0 {
		w.plans[network] = append(w.plans[network], steps...)
	}
}

// takeDown moves everything back and removes the bridge.
func (w *bridgePlanner) removeBridge(bridge string, l SnapshotLink) {
	w.removed[bridge] = true
	var back []string
	for _, u := range strings.Fields(l.Uplinks) {
		if up, exists := w.snapshot.Links[u]; exists && (up.Master == bridge || up.Master == "") {
			back = append(back, u)
		}
	}
	if len(back) > 0 {
		w.move(l.Network, []string{bridge}, back[0], true)
	}
	for _, u := range back {
		up := w.snapshot.Links[u]
		if up.Master == bridge {
			w.add(l.Network, UplinkDel{Uplink: u, Bridge: bridge})
			up.Master = ""
			w.snapshot.Links[u] = up
		}
	}
	w.add(l.Network, LinkDel{bridge})
	delete(w.snapshot.Links, bridge)
}

// build makes a bridge stand. A new one needs its first uplink, which gives it
// its MAC, and nothing on any that could not come along; otherwise nothing is
// done, and HostConflicts or GroundConflicts say why.
func (w *bridgePlanner) build(n *Network) {
	first, ok := w.snapshot.Links[n.Bridge.Uplinks[0]]
	have, exists := w.snapshot.Links[n.Bridge.Name]
	switch {
	case exists && !have.Ours, !exists && (!ok || !w.free(first.Master) || UplinkConflicts(n, w.snapshot) != nil):
		return
	case !exists:
		have.Settings = w.snapshot.Defaults
	case !ok:
		first = have
	}
	w.bridge(n, first, have, exists)
	for _, s := range w.settings(n, first, have) {
		w.add(n.Name, SysctlSet{s})
	}
	if !have.Up {
		w.add(n.Name, LinkUp{n.Bridge.Name})
	}
	in := w.enslaveUplinks(n, have)
	w.move(n.Name, in, n.Bridge.Name, false)
	w.members(n)
}

// bridge makes the link, or what it is to be.
func (w *bridgePlanner) bridge(n *Network, first, have SnapshotLink, exists bool) {
	want := Link{
		Network: n.Name, Name: n.Bridge.Name, Kind: KindBridge, MAC: first.MAC,
		MTU: w.mtu(n, first), Up: true, Uplinks: strings.Join(n.Bridge.Uplinks, " "),
	}
	if !exists {
		w.add(n.Name, LinkAdd{want})
		return
	}
	now := Link{
		Network: have.Network, Name: n.Bridge.Name, Kind: KindBridge, MAC: have.MAC,
		MTU: have.MTU, Up: true, Uplinks: have.Uplinks,
	}
	if now != want {
		w.add(n.Name, LinkSet{want, now})
	}
}

// mtu is the network's word, or the smallest of the uplinks': a bridge forwards
// to all of them.
func (w *bridgePlanner) mtu(n *Network, first SnapshotLink) int {
	if n.Bridge.MTU > 0 {
		return n.Bridge.MTU
	}
	mtu := first.MTU
	for _, u := range n.Bridge.Uplinks {
		if l, ok := w.snapshot.Links[u]; ok {
			mtu = min(mtu, l.MTU)
		}
	}
	return mtu
}

// settings are the host's of its first uplink, which the bridge takes the place
// of. Where the uplink accepts router advertisements, the bridge goes on to do
// so when the host starts to forward (see keepRouterAdvertisements).
func (w *bridgePlanner) settings(n *Network, first, have SnapshotLink) []Sysctl {
	var out []Sysctl
	for _, key := range slices.Sorted(maps.Keys(first.Settings)) {
		value := first.Settings[key]
		if key == "ipv6/accept_ra" && value == "1" {
			if w.snapshot.Forwarding {
				continue
			}
			value = "2"
		}
		if have.Settings[key] != value {
			family, name, _ := strings.Cut(key, "/")
			out = append(out, Sysctl{n.Name, n.Bridge.Name, "net/" + family + "/conf/" + n.Bridge.Name + "/" + name, value})
		}
	}
	return out
}

// uplinks puts uplinks into the bridge, and takes out those that were in it. One
// that is in another's is another's. It returns those that are in by
// then, and have nothing that cannot be moved.
func (w *bridgePlanner) enslaveUplinks(n *Network, have SnapshotLink) []string {
	var in []string
	for _, u := range n.Bridge.Uplinks {
		l, exists := w.snapshot.Links[u]
		switch {
		case !exists || l.Master != n.Bridge.Name && !w.free(l.Master):
			continue
		case l.Master != n.Bridge.Name || !l.Up:
			w.add(n.Name, UplinkAdd{Uplink: u, Bridge: n.Bridge.Name})
		}
		// The last address that goes would take a route along that has to stay.
		if !slices.ContainsFunc(w.snapshot.On(u), func(h HostObject) bool { return h.Immovable != "" }) {
			in = append(in, u)
		}
	}
	for _, u := range strings.Fields(have.Uplinks) {
		if w.snapshot.Links[u].Master == n.Bridge.Name && !slices.Contains(n.Bridge.Uplinks, u) {
			w.add(n.Name, UplinkDel{Uplink: u, Bridge: n.Bridge.Name})
		}
	}
	return in
}

// move copies the host's addresses, routes and neighbours to another link, then deletes
// the originals in reverse order, because deleting an address also deletes its routes and
// secondaries. Kernel-derived objects are deleted last.
func (w *bridgePlanner) move(network string, from []string, to string, back bool) {
	there := w.snapshot.On(to)
	var adds, dels, follow, neighbours []Step
	for _, link := range from {
		for _, h := range w.snapshot.On(link) {
			switch {
			case h.Immovable != "":
			case h.Kind == ObjectNeighbour:
				neighbours = append(neighbours, ObjectAdd{h, to, back})
			case h.KernelDerived:
				follow = append(follow, ObjectDel{Object: h, Back: back})
			default:
				if !onLink(there, h) {
					adds = append(adds, ObjectAdd{h.copied(), to, back})
					there = append(there, h.copied())
				}
				dels = append(dels, ObjectDel{Object: h, Back: back})
			}
		}
	}
	dels = append(follow, append(dels, stalePlaceholders(there, back)...)...)
	if len(adds) > 0 {
		w.add(network, neighbours...)
	}
	slices.Reverse(dels)
	w.add(network, adds...)
	w.add(network, dels...)
	w.moved(from, to)
}

// onLink reports whether a link has a holding, or what takes its place.
func onLink(there []HostObject, h HostObject) bool {
	return slices.ContainsFunc(there, func(o HostObject) bool {
		return o.Kind == h.Kind && (o.Key == h.Key || o.Key == h.copied().Key)
	})
}

// stalePlaceholders deletes placeholder routes of which the RA-learned original is back.
func stalePlaceholders(there []HostObject, back bool) []Step {
	var out []Step
	for _, h := range there {
		for _, l := range there {
			if l.Placeholder != nil && l.Placeholder.Key == h.Key && l.Key != h.Key {
				out = append(out, ObjectDel{Object: h, Back: back, Stale: true})
			}
		}
	}
	return out
}

// moved notes on the ground what move has planned.
func (w *bridgePlanner) moved(from []string, to string) {
	for i, h := range w.snapshot.Objects {
		if slices.Contains(from, h.Link) && h.Immovable == "" {
			h = h.copied()
			h.RawLink, h.Link = cmp.Or(h.RawLink, h.Link), to
			w.snapshot.Objects[i] = h
		}
	}
}

// free reports whether a link with that master may be put into a bridge.
func (w *bridgePlanner) free(master string) bool { return master == "" || w.removed[master] }

// members puts guests' links back that have no master, or one that goes.
func (w *bridgePlanner) members(n *Network) {
	master := map[int]string{}
	for _, m := range w.Have.Members {
		master[m.Index] = m.Bridge
	}
	goes := func(bridge string) bool {
		return bridge == "" || w.removed[bridge] || slices.ContainsFunc(w.Have.Links, func(l Link) bool {
			return l.Name == bridge && l.Network == n.Name && bridge != n.Bridge.Name
		})
	}
	for _, m := range w.Members {
		if now, exists := master[m.Index]; exists && m.Network == n.Name && goes(now) {
			m.Bridge = n.Bridge.Name
			w.add(n.Name, MemberAdd{m})
		}
	}
}

// GroundConflicts returns why the uplinks of n cannot carry its bridge, beyond
// what HostConflicts finds.
func UplinkConflicts(n *Network, g UplinkSnapshot) Findings {
	var fs Findings
	if !n.HasUplinkBridge() {
		return nil
	}
	for i, u := range n.Bridge.Uplinks {
		path, l := index("bridge.uplinks", i), g.Links[u]
		if l.Wireless {
			fs.Add(path, "%s is wireless, and an access point takes no frames of guests; use mode nat or route", u)
		}
		for _, r := range l.Rules {
			fs.Add(path, "%s is named by the routing rule %q, which would not fit traffic over %s; name %s there, or remove it", u, r, n.Bridge.Name, n.Bridge.Name)
		}
		for _, h := range g.On(u) {
			if h.Immovable != "" {
				fs.Add(path, "%s %s of %s cannot be moved: %s", h.Kind.word(), h.Key, u, h.Immovable)
			}
		}
	}
	return fs
}

// LeasedAddresses warns of addresses of n's uplinks that a DHCP client of the host renews,
// which will look for them on the uplink.
func LeasedAddresses(n *Network, g UplinkSnapshot) []string {
	var out []string
	for _, u := range n.Bridge.Uplinks {
		for _, h := range g.On(u) {
			if h.Leased && n.HasUplinkBridge() {
				out = append(out, fmt.Sprintf("%s of %s is leased (%s): the host's DHCP client renews it on %s; have its configuration name %s instead",
					h.Key, u, h.Attributes, u, n.Bridge.Name))
			}
		}
	}
	return out
}

func (k HostObjectKind) word() string {
	switch k {
	case ObjectAddr:
		return "address"
	case ObjectNeighbour:
		return "neighbour"
	}
	return "route"
}

// RaiseUplinks brings the links up that macvtaps and bridges of live networks are on:
// while one is down, its guests have no link. Those that a bridge has yet to get are
// brought up with it.
func RaiseUplinks(live []Network, host Host) []Plan {
	var out []Plan
	for i := range live {
		n := &live[i]
		p := Plan{Network: n.Name}
		for _, u := range guestUplinks(n) {
			if l, ok := host.Links[u]; ok && !l.Up && (n.Mode == DirectLink || l.Master == n.Bridge.Name) {
				p.Steps = append(p.Steps, UplinkUp{u})
			}
		}
		if len(p.Steps) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// UplinkProblems says what is wrong with links of the host, and is the host's to change,
// so that guests of a live network do not reach others; nil if nothing is. setting reads
// a setting by its path below /proc/sys.
func UplinkProblems(n *Network, host Host, setting func(key string) string) error {
	var errs []error
	for _, u := range guestUplinks(n) {
		if l, ok := host.Links[u]; ok && !l.Carrier {
			errs = append(errs, fmt.Errorf("no carrier on uplink %s: guests are cut off there; check the cable and the other end", u))
		}
	}
	forwards := func(link, family string) {
		if key := "net/" + family + "/conf/" + link + "/forwarding"; setting(key) == "0" {
			errs = append(errs, fmt.Errorf("uplink %s does not forward replies to guests: %s is 0; set it to 1 (sysctl -w %s=1, or IPv4Forwarding= and IPv6Forwarding= of systemd.network)", link, key, key))
		}
	}
	links := n.Uplinks
	if len(links) == 0 {
		links = host.DefaultLinks
	}
	for _, link := range links {
		pinned := len(n.Uplinks) > 0
		if n.Mode.Forwards() && n.HasIPv4() && (pinned || host.Defaults[link].IPv4) {
			forwards(link, "ipv4")
		}
		if n.Mode.Forwards() && n.HasIPv6() && (pinned || host.Defaults[link].IPv6) {
			forwards(link, "ipv6")
		}
	}
	return errors.Join(errs...)
}

// guestUplinks are the links of the host that a definition gives to guests.
func guestUplinks(n *Network) []string {
	if n.Mode == DirectLink {
		return n.Direct.Uplinks
	}
	return n.Bridge.Uplinks
}
