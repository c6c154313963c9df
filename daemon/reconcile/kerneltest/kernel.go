// Package kerneltest has an in-memory kernel, firewall and servers for tests of the engine and
// the service, which need no privileges.
package kerneltest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vnetd/vnetd/netdrv"
)

// Kernel holds links, addresses, routes and settings. Its fields may be changed with Lock held.
type Kernel struct {
	sync.Mutex
	Links     map[string]netdrv.Link
	Addrs     map[netdrv.Addr]bool
	Routes    map[netdrv.LinkRoute]bool
	Settings  map[string]string
	Guests    map[int]netdrv.Member // that others made, by index
	Queues    map[string]netdrv.Queue
	Redirects map[string]netdrv.Redirect
	Host      netdrv.Host
	Learned   map[int][]netdrv.MAC // behind links
	Sockets   []netdrv.Socket
	Flows     map[netip.Addr]int
	Snapshot  netdrv.UplinkSnapshot
	// Neighbours are the IPv4 entries of the neighbour table, which has room for 100.
	Neighbours []netdrv.Neighbour
	Steps      []string         // that were applied
	Fail       map[string]error // by step
	Observed   int              // how often everything was observed

	index   int
	changes uint64
	wake    func(string)
	wakeFDB func(string)
}

// New returns a kernel without links of ours, on a host with the link eth0.
func New() *Kernel {
	return &Kernel{
		Links: map[string]netdrv.Link{}, Addrs: map[netdrv.Addr]bool{}, Routes: map[netdrv.LinkRoute]bool{},
		Settings: map[string]string{}, Guests: map[int]netdrv.Member{}, Queues: map[string]netdrv.Queue{},
		Redirects: map[string]netdrv.Redirect{}, Learned: map[int][]netdrv.MAC{}, Flows: map[netip.Addr]int{},
		Host: netdrv.Host{
			Links: map[string]netdrv.HostLink{"eth0": {Index: 2}}, DefaultLinks: []string{"eth0"},
			Prefixes: []netdrv.HostPrefix{{Prefix: netip.MustParsePrefix("203.0.113.2/24"), Link: "eth0"}},
		},
		Fail: map[string]error{}, index: 10,
	}
}

// Change changes the host, and notifies.
func (k *Kernel) Change(change func()) {
	k.Lock()
	change()
	k.changes++
	wake := k.wake
	k.Unlock()
	if wake != nil {
		wake("")
	}
}

// Plug makes a guest's link that is not ours, in a bridge, and returns its index.
func (k *Kernel) Plug(link, bridge string, mac netdrv.MAC) int {
	k.Lock()
	k.index++
	index := k.index
	k.Guests[index] = netdrv.Member{Link: link, Index: index, Kind: "tap", Bridge: bridge}
	if !mac.IsZero() {
		k.Learned[index] = []netdrv.MAC{mac}
	}
	wake, wakeFDB := k.wake, k.wakeFDB
	k.Unlock()
	if wake != nil {
		wakeFDB(bridge)
		wake("")
	}
	return index
}

func (k *Kernel) state(wanted func(link string) bool) (s netdrv.State) {
	for _, name := range slices.Sorted(maps.Keys(k.Links)) {
		l := k.Links[name]
		if !wanted(name) && !wanted(l.Master) {
			continue
		}
		s.Links = append(s.Links, l)
		if l.IsPort() && l.Kind == netdrv.KindTap {
			s.Members = append(s.Members, netdrv.Member{Link: name, Index: l.Index, Kind: "tap", Bridge: l.Master})
		}
	}
	for a := range k.Addrs {
		if wanted(a.Link) {
			s.Addrs = append(s.Addrs, a)
		}
	}
	for r := range k.Routes {
		if wanted(r.Link) {
			s.Routes = append(s.Routes, r)
		}
	}
	for link, q := range k.Queues {
		if wanted(link) {
			s.Queues = append(s.Queues, q)
		}
	}
	for link, r := range k.Redirects {
		if wanted(link) {
			s.Redirects = append(s.Redirects, r)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(k.Guests)) {
		s.Members = append(s.Members, k.Guests[index])
	}
	return s
}

// Observe implements reconcile.Kernel, as the methods below do.
func (k *Kernel) Observe(context.Context) (netdrv.State, netdrv.Host, error) {
	k.Lock()
	defer k.Unlock()
	k.Observed++
	host := k.Host
	host.Links = maps.Clone(host.Links)
	return k.state(func(string) bool { return true }), host, k.Fail["observe"]
}

func (k *Kernel) ObserveLinks(_ context.Context, names []string, _ []int) (netdrv.State, error) {
	k.Lock()
	defer k.Unlock()
	return k.state(func(link string) bool {
		return slices.Contains(names, link) || slices.ContainsFunc(names, func(n string) bool { return netdrv.IfbName(n) == link })
	}), k.Fail["observe"]
}

func (k *Kernel) ObserveUplinks(context.Context, []string) (netdrv.UplinkSnapshot, error) {
	k.Lock()
	defer k.Unlock()
	s := k.Snapshot
	s.Links = maps.Clone(s.Links)
	return s, k.Fail["uplinks"]
}

func (k *Kernel) Sysctls(keys []string) (map[string]string, error) {
	k.Lock()
	defer k.Unlock()
	out := map[string]string{}
	for _, key := range keys {
		out[key] = k.Settings[key]
	}
	return out, nil
}

func (k *Kernel) CountFlows(netdrv.FlowOwners) (map[netip.Addr]int, error) {
	k.Lock()
	defer k.Unlock()
	return maps.Clone(k.Flows), nil
}

func (k *Kernel) EndFlows(_ netdrv.FlowOwners, excess map[netip.Addr]int) error {
	k.Lock()
	defer k.Unlock()
	for a, n := range excess {
		k.Flows[a] -= n
	}
	return nil
}

func (k *Kernel) NeighbourTable(ipv6 bool) (entries, limit int, err error) {
	list, err := k.BridgeNeighbours(ipv6, nil)
	return len(list), 100, err
}

func (k *Kernel) BridgeNeighbours(ipv6 bool, _ map[string]bool) ([]netdrv.Neighbour, error) {
	k.Lock()
	defer k.Unlock()
	if ipv6 {
		return nil, nil
	}
	return slices.Clone(k.Neighbours), nil
}

func (k *Kernel) DeleteNeighbours(entries []netdrv.Neighbour) error {
	k.Lock()
	defer k.Unlock()
	k.Neighbours = slices.DeleteFunc(k.Neighbours, func(n netdrv.Neighbour) bool { return slices.Contains(entries, n) })
	return nil
}

func (k *Kernel) Counters(context.Context) (map[string]netdrv.Counters, error) {
	k.Lock()
	defer k.Unlock()
	out := map[string]netdrv.Counters{}
	for name := range k.Links {
		out[name] = netdrv.Counters{RxBytes: 1}
	}
	return out, k.Fail["counters"]
}

func (k *Kernel) Apply(_ context.Context, step netdrv.Step) error {
	k.Lock()
	defer k.Unlock()
	k.Steps = append(k.Steps, step.String())
	if err := k.Fail[step.String()]; err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	up := func(name string, up bool) {
		l := k.Links[name]
		l.Up = up
		k.Links[name] = l
	}
	member := func(m netdrv.Member, bridge string) {
		if g, ok := k.Guests[m.Index]; ok {
			g.Bridge, g.Isolated = bridge, m.Isolated
			k.Guests[m.Index] = g
		} else if l, ok := k.Links[m.Link]; ok {
			l.Master = bridge
			k.Links[m.Link] = l
		}
	}
	switch s := step.(type) {
	case netdrv.LinkAdd:
		l := s.Link
		k.index++
		l.Index, l.Up, l.Master, l.Queues = k.index, false, "", 0
		k.Links[l.Name] = l
	case netdrv.LinkSet:
		l, was := s.Link, k.Links[s.Link.Name]
		l.Index, l.Up, l.Carrier, l.Queues = was.Index, was.Up, was.Carrier, 0
		k.Links[l.Name] = l
	case netdrv.LinkUp:
		up(s.Name, true)
	case netdrv.LinkDown:
		up(s.Name, false)
	case netdrv.LinkDel:
		delete(k.Links, s.Name)
		maps.DeleteFunc(k.Addrs, func(a netdrv.Addr, _ bool) bool { return a.Link == s.Name })
		maps.DeleteFunc(k.Routes, func(r netdrv.LinkRoute, _ bool) bool { return r.Link == s.Name })
		for i, g := range k.Guests {
			if g.Bridge == s.Name {
				g.Bridge = ""
				k.Guests[i] = g
			}
		}
		for name, l := range k.Links {
			if l.Master == s.Name {
				l.Master = ""
				k.Links[name] = l
			}
		}
	case netdrv.AddrAdd:
		k.Addrs[s.Addr] = true
	case netdrv.AddrDel:
		delete(k.Addrs, s.Addr)
	case netdrv.RouteAdd:
		k.Routes[s.Route] = true
	case netdrv.RouteDel:
		delete(k.Routes, s.Route)
	case netdrv.MemberAdd:
		member(s.Member, s.Member.Bridge)
	case netdrv.MemberDel:
		member(s.Member, "")
	case netdrv.MemberSet:
		member(s.Member, s.Member.Bridge)
	case netdrv.SysctlSet:
		k.Settings[s.Sysctl.Key] = s.Sysctl.Value
	case netdrv.QueueSet:
		k.Queues[s.Queue.Link] = s.Queue
	case netdrv.QueueDel:
		delete(k.Queues, s.Link)
	case netdrv.RedirectAdd:
		k.Redirects[s.Redirect.Link] = s.Redirect
	case netdrv.RedirectDel:
		delete(k.Redirects, s.Link)
	}
	return nil
}

func (k *Kernel) Listeners(wanted func(netdrv.Socket) bool) ([]netdrv.Socket, error) {
	k.Lock()
	defer k.Unlock()
	return slices.DeleteFunc(slices.Clone(k.Sockets), func(s netdrv.Socket) bool { return !wanted(s) }), nil
}

func (k *Kernel) MakeTap(ctx context.Context, l netdrv.Link, _ bool) ([]*os.File, error) {
	if err := k.Apply(ctx, netdrv.LinkAdd{Link: l}); err != nil {
		return nil, err
	}
	return k.OpenTap(ctx, l)
}

func (k *Kernel) OpenTap(_ context.Context, l netdrv.Link) ([]*os.File, error) {
	k.Lock()
	defer k.Unlock()
	if is, ok := k.Links[l.Name]; ok {
		is.Carrier = true
		k.Links[l.Name] = is
	}
	f, err := os.Open(os.DevNull)
	return []*os.File{f}, err
}

func (k *Kernel) OpenMacvtap(ctx context.Context, l netdrv.Link) ([]*os.File, error) {
	return k.OpenTap(ctx, l)
}

func (k *Kernel) LearnedMACs(context.Context) (map[int][]netdrv.MAC, error) {
	k.Lock()
	defer k.Unlock()
	return maps.Clone(k.Learned), k.Fail["learned"]
}

func (k *Kernel) StoredMACs() map[int]netdrv.MAC { return nil }

func (k *Kernel) RestoreMACs(map[int]netdrv.MAC) {}

func (k *Kernel) HostChanges() uint64 {
	k.Lock()
	defer k.Unlock()
	return k.changes
}

func (k *Kernel) Watch() (func(context.Context, func(string)) error, error) {
	return k.watch(&k.wake), nil
}

func (k *Kernel) WatchFDB() (func(context.Context, func(string)) error, error) {
	return k.watch(&k.wakeFDB), nil
}

func (k *Kernel) watch(to *func(string)) func(context.Context, func(string)) error {
	return func(ctx context.Context, wake func(string)) error {
		k.Lock()
		*to = wake
		k.Unlock()
		<-ctx.Done()
		return nil
	}
}

func (k *Kernel) FDBEntries(context.Context) ([]netdrv.FDBEntry, error) {
	k.Lock()
	defer k.Unlock()
	var out []netdrv.FDBEntry
	for index, macs := range k.Learned {
		for _, m := range macs {
			out = append(out, netdrv.FDBEntry{Index: index, MAC: m})
		}
	}
	return out, nil
}

// FDBGrowth is the real kernel's; here nothing grows.
func (k *Kernel) FDBGrowth() uint64 { return 0 }

// SetLearning is the real kernel's; here it does nothing.
func (k *Kernel) SetLearning(int, bool) error { return nil }
