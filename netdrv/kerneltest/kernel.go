// Package kerneltest has a kernel in memory, for tests of packages that observe and
// change the kernel through an interface. It needs no privilege and no namespace.
//
// It holds links of ours and of the host, addresses, routes and settings of links of
// ours, ports of bridges, forwarding databases, queues, redirects, the host's objects on
// uplinks, tracked connections, neighbours and sockets. The contract test of this
// package applies the same steps to it and to the real kernel, and compares what both
// return.
//
// It does not model what happens without a step or a call of a test: no link-local
// address, no route that the kernel derives from an address, no carrier, no lifetimes,
// no aging. Counters are zero. A queue has exactly the burst that it was given; the real
// kernel rounds it.
package kerneltest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Kernel is a kernel in memory. Its methods may be called from any goroutine, but its
// fields are for before it is used.
type Kernel struct {
	// Fail, if set, is called before each step; Apply returns its error.
	Fail func(netdrv.Step) error
	// Flows are tracked connections by the address that they are attributed to.
	Flows map[netip.Addr]int
	// Neighbours are on bridges; NeighbourLimit is the size of the table of each family.
	Neighbours     []netdrv.Neighbour
	NeighbourLimit int
	// Sockets are what Listeners finds.
	Sockets []netdrv.Socket

	mu        sync.Mutex
	next      int // the index of the next link
	links     map[string]*link
	addrs     []netdrv.Addr
	routes    []netdrv.LinkRoute
	sysctls   map[string]string
	queues    map[string]netdrv.Queue
	redirects map[string]netdrv.Redirect
	host      netdrv.Host // but for its links
	objects   []netdrv.HostObject
	stored    map[int]netdrv.MAC
	steps     []string
	changes   uint64
	watchers  []chan string // of everything
	fdb       []chan string // of forwarding databases
}

// link is any link: ours has a Network, a host's has none, and a guest's may be either.
type link struct {
	netdrv.Link
	ours     bool
	host     netdrv.HostLink
	isolated bool
	learned  []netdrv.MAC
}

// New returns a kernel that has a loopback and no other links.
func New() *Kernel {
	k := &Kernel{
		Flows: map[netip.Addr]int{}, NeighbourLimit: 1024,
		links: map[string]*link{}, queues: map[string]netdrv.Queue{}, redirects: map[string]netdrv.Redirect{}, stored: map[int]netdrv.MAC{},
		sysctls: map[string]string{"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"},
		host:    netdrv.Host{AltNames: map[string]string{}, AcceptRA: map[string]int{}, Defaults: map[string]netdrv.Families{}},
	}
	k.AddHostLink("lo", netdrv.HostLink{Kind: "loopback", Up: true, Carrier: true, MTU: 65536})
	return k
}

// AddHostLink adds a link that is not ours, and returns its index. One of kind veth can
// be a guest's.
func (k *Kernel) AddHostLink(name string, l netdrv.HostLink) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	l.Index = k.next
	k.links[name] = &link{host: l, Link: netdrv.Link{Name: name, Index: l.Index, Kind: netdrv.Kind(l.Kind), MAC: l.MAC, MTU: l.MTU, Up: l.Up, Master: l.Master}}
	k.hostChanged()
	return l.Index
}

// AddHostPrefix adds an address or a route of the host's.
func (k *Kernel) AddHostPrefix(p netdrv.HostPrefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Route && p.Prefix.Bits() == 0 {
		if !slices.Contains(k.host.DefaultLinks, p.Link) {
			k.host.DefaultLinks = append(k.host.DefaultLinks, p.Link)
		}
		f := k.host.Defaults[p.Link]
		f.IPv4, f.IPv6 = f.IPv4 || p.Prefix.Addr().Is4(), f.IPv6 || p.Prefix.Addr().Is6()
		k.host.Defaults[p.Link] = f
	} else {
		k.host.Prefixes = append(k.host.Prefixes, p)
	}
	k.hostChanged()
}

// AddHostObject adds an address, a route or a neighbour to a link of the host.
func (k *Kernel) AddHostObject(o netdrv.HostObject) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.objects = append(k.objects, o)
	k.hostChanged()
}

// SetMaster puts a link into a bridge, or takes it out of all, as another program would.
func (k *Kernel) SetMaster(name, bridge string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[name]
	l.Master, l.isolated, l.learned = bridge, false, nil
	k.wake("")
	if b := k.links[bridge]; b != nil && b.ours {
		send(k.fdb, bridge)
	}
	if !l.ours {
		k.changes++
	}
}

// DeleteLink deletes a link as another program would.
func (k *Kernel) DeleteLink(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[name]; l != nil && !l.ours {
		k.changes++
	}
	k.deleteLink(name)
	k.wake("")
}

// Change changes a link of ours as another program would.
func (k *Kernel) Change(name string, change func(l *netdrv.Link)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.links[name].Link)
	k.wake("")
}

// DeleteAddress deletes an address of a link of ours as another program would.
func (k *Kernel) DeleteAddress(name string, p netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addrs = slices.DeleteFunc(k.addrs, func(a netdrv.Addr) bool { return a.Link == name && a.Prefix == p })
	k.wake("")
}

// SetSysctl sets a setting as another program would.
func (k *Kernel) SetSysctl(key, value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.setSysctl(key, value)
	k.wake("")
}

// Learn has a bridge learn a MAC behind its port.
func (k *Kernel) Learn(port string, mac netdrv.MAC) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[port]
	if !slices.Contains(l.learned, mac) {
		l.learned = append(l.learned, mac)
	}
	if was, ok := k.stored[l.Index]; ok && was != mac {
		mac = netdrv.MAC{}
	}
	k.stored[l.Index] = mac
	send(k.fdb, "")
}

// Steps returns the steps that were applied without an error, as text.
func (k *Kernel) Steps() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.steps)
}

func (k *Kernel) hostChanged() {
	k.changes++
	k.wake("")
}

// wake tells those who watch of a change.
func (k *Kernel) wake(network string) { send(k.watchers, network) }

// send does not wait: a full queue has the wake-up that tells of everything.
func send(to []chan string, s string) {
	for _, c := range to {
		select {
		case c <- s:
		default:
		}
	}
}

// Watch is the real kernel's.
func (k *Kernel) Watch() (run func(ctx context.Context, wake func(network string)) error, err error) {
	return k.subscribe(&k.watchers), nil
}

// WatchFDB is the real kernel's.
func (k *Kernel) WatchFDB() (run func(ctx context.Context, wake func(bridge string)) error, err error) {
	return k.subscribe(&k.fdb), nil
}

func (k *Kernel) subscribe(to *[]chan string) func(context.Context, func(string)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := make(chan string, 1024)
	*to = append(*to, c)
	return func(ctx context.Context, wake func(string)) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case s := <-c:
				wake(s)
			}
		}
	}
}

// HostChanges is the real kernel's.
func (k *Kernel) HostChanges() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changes
}

// Sysctls is the real kernel's.
func (k *Kernel) Sysctls(keys []string) (map[string]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make(map[string]string, len(keys))
	for _, key := range keys {
		out[key] = k.sysctls[key]
	}
	return out, nil
}

// LearnedMACs is the real kernel's.
func (k *Kernel) LearnedMACs(context.Context) (map[int][]netdrv.MAC, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[int][]netdrv.MAC{}
	for index, mac := range k.stored {
		if !mac.IsZero() {
			out[index] = []netdrv.MAC{mac}
		}
	}
	for _, l := range k.links {
		if len(l.learned) > 0 {
			out[l.Index] = slices.Clone(l.learned)
		}
	}
	return out, nil
}

// StoredMACs is the real kernel's.
func (k *Kernel) StoredMACs() map[int]netdrv.MAC {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.stored)
}

// RestoreMACs is the real kernel's.
func (k *Kernel) RestoreMACs(macs map[int]netdrv.MAC) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for index, mac := range macs {
		if was, ok := k.stored[index]; ok && was != mac {
			mac = netdrv.MAC{}
		}
		k.stored[index] = mac
	}
}

// FDBEntries is the real kernel's.
func (k *Kernel) FDBEntries(context.Context) ([]netdrv.FDBEntry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []netdrv.FDBEntry
	for _, l := range k.sorted() {
		for _, mac := range l.learned {
			out = append(out, netdrv.FDBEntry{Index: l.Index, MAC: mac})
		}
	}
	return out, nil
}

// CountFlows is the real kernel's.
func (k *Kernel) CountFlows(netdrv.FlowOwners) (map[netip.Addr]int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.Flows), nil
}

// EndFlows is the real kernel's.
func (k *Kernel) EndFlows(_ netdrv.FlowOwners, excess map[netip.Addr]int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for a, n := range excess {
		k.Flows[a] = max(k.Flows[a]-n, 0)
	}
	return nil
}

// NeighbourTable is the real kernel's.
func (k *Kernel) NeighbourTable(ipv6 bool) (entries, limit int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.Neighbours {
		if n.Address.Is6() == ipv6 {
			entries++
		}
	}
	return entries, k.NeighbourLimit, nil
}

// BridgeNeighbours is the real kernel's.
func (k *Kernel) BridgeNeighbours(ipv6 bool, bridges map[string]bool) ([]netdrv.Neighbour, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(k.Neighbours), func(n netdrv.Neighbour) bool { return n.Address.Is6() != ipv6 || !bridges[n.Bridge] }), nil
}

// DeleteNeighbours is the real kernel's.
func (k *Kernel) DeleteNeighbours(entries []netdrv.Neighbour) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Neighbours = slices.DeleteFunc(k.Neighbours, func(n netdrv.Neighbour) bool { return slices.Contains(entries, n) })
	return nil
}

// Counters returns zeros for each link.
func (k *Kernel) Counters(context.Context) (map[string]netdrv.Counters, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string]netdrv.Counters{}
	for name := range k.links {
		out[name] = netdrv.Counters{}
	}
	return out, nil
}

// Listeners returns those of Sockets that are wanted.
func (k *Kernel) Listeners(wanted func(netdrv.Socket) bool) ([]netdrv.Socket, error) {
	return slices.DeleteFunc(slices.Clone(k.Sockets), func(s netdrv.Socket) bool { return !wanted(s) }), nil
}

// MakeTap adds a tap in use and returns files of /dev/null. The tap stays when they are
// closed; DeleteLink ends it.
func (k *Kernel) MakeTap(_ context.Context, l netdrv.Link, _ bool) ([]*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links[l.Name] != nil {
		return nil, fmt.Errorf("make tap %s: TUNSETIFF: %w", l.Name, unix.EBUSY)
	}
	if err := k.linkAdd(l); err != nil {
		return nil, err
	}
	k.links[l.Name].Persist, k.links[l.Name].Carrier = false, true
	k.wake("")
	return files(l.Queues)
}

// OpenTap returns files of /dev/null.
func (k *Kernel) OpenTap(_ context.Context, l netdrv.Link) ([]*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	have, err := k.ours(l.Name)
	if err != nil {
		return nil, fmt.Errorf("open tap %s: %w", l.Name, err)
	}
	have.Carrier = true
	k.wake("")
	return files(l.Queues)
}

// OpenMacvtap is OpenTap for macvtaps.
func (k *Kernel) OpenMacvtap(ctx context.Context, l netdrv.Link) ([]*os.File, error) {
	return k.OpenTap(ctx, l)
}

func files(n int) (out []*os.File, err error) {
	for len(out) < max(n, 1) {
		f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// sorted returns all links by index.
func (k *Kernel) sorted() []*link {
	return slices.SortedFunc(maps.Values(k.links), func(a, b *link) int { return a.Index - b.Index })
}

// ours returns a link of ours, or why there is none.
func (k *Kernel) ours(name string) (*link, error) {
	switch l := k.links[name]; {
	case l == nil:
		return nil, unix.ENODEV
	case !l.ours:
		return nil, fmt.Errorf("%s exists already and is not vnetd's", name)
	default:
		return l, nil
	}
}

func (k *Kernel) byIndex(index int) *link {
	for _, l := range k.links {
		if l.Index == index {
			return l
		}
	}
	return nil
}

// settings are the defaults of a new bridge's that Observe returns, in its order.
var settings = [][2]string{
	{"net/ipv4/conf/%s/promote_secondaries", "0"},
	{"net/ipv4/conf/%s/arp_ignore", "0"},
	{"net/ipv6/conf/%s/addr_gen_mode", "0"},
	{"net/ipv6/conf/%s/accept_ra", "1"},
	{"net/ipv6/conf/%s/disable_ipv6", "0"},
	{"net/ipv4/conf/%s/forwarding", "0"},
	{"net/ipv6/conf/%s/forwarding", "0"},
	{"net/ipv4/neigh/%s/unres_qlen_bytes", "212992"},
	{"net/ipv6/neigh/%s/unres_qlen_bytes", "212992"},
}

func setting(pattern, link string) string { return strings.Replace(pattern, "%s", link, 1) }

// FDBGrowth is the real kernel's; here nothing grows.
func (k *Kernel) FDBGrowth() uint64 { return 0 }

// SetLearning is the real kernel's; here it does nothing.
func (k *Kernel) SetLearning(int, bool) error { return nil }
