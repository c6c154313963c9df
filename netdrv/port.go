package netdrv

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// Port is a guest's interface on a network, as declared: a tap in the network's
// bridge, or a macvtap on its uplink in mode DirectLink. Ports are values.
type Port struct {
	// Network is the name of the network that it belongs to.
	Network string
	// Link is the link's name, unique on a host. CompletePort picks one if empty.
	Link string
	// Guest is the guest's name, one label (RFC 1035 section 2.3.1), or empty.
	Guest string
	// MAC is the guest's. CompletePort picks one if zero; it stays zero for a guest of
	// the tap broker that does not say.
	MAC MAC
	// Addresses are the guest's, in subnets of the network, at most one in each.
	Addresses []netip.Addr
	// Owner is the uid that may open the tap; 0 is root only.
	Owner uint32
	// Queues of a tap; 0 and 1 are one, and no multi-queue tap.
	Queues int
	// Uplink is a macvtap's.
	Uplink string
	// Bandwidth is the port's own; what it does not limit, its network's PerPort does.
	Bandwidth Bandwidth
	// Transient: the port is a tap broker's, and is gone with its guest.
	Transient bool
	// Holder is the process that a transient macvtap lives as long as.
	Holder Process
	// Granted is the entry of the access list by which a transient port was given: "user
	// NAME", "group NAME", or GrantedAdmin.
	Granted string
	// Filter is on top of the network's; see Filter.Over.
	Filter Filter
}

// Process is a process of this boot: the number alone may be another's later.
type Process struct {
	PID     int
	Started uint64 // ticks since boot, field 22 of proc_pid_stat(5)
}

// GrantedAdmin is the Granted of a port of root or an administrator.
const GrantedAdmin = "admin"

// MaxQueues bounds the queues of a port.
const MaxQueues = 64

// MultiQueue reports whether the tap is to be opened with IFF_MULTI_QUEUE.
func (p *Port) MultiQueue() bool { return p.Queues > 1 }

// Tap is the MAC of a guest's tap: the guest's with the first octet fe. The tap must
// not have the guest's own, and a bridge of the host takes the lowest of its ports'.
func (m MAC) Tap() MAC {
	if !m.IsZero() {
		m[0] = 0xfe
	}
	return m
}

// CompletePort fills in what was left out: a link's name that is not taken, a MAC
// from random, and in mode DirectLink the uplink with the fewest of the other ports.
func CompletePort(p Port, n *Network, others []Port, taken func(link string) bool, random [3]byte) Port {
	if p.Link == "" {
		p.Link = freePortName(others, taken)
	}
	if p.MAC.IsZero() && (!p.Transient || n.Mode == DirectLink) {
		p.MAC = MAC{0x52, 0x54, 0x00, random[0], random[1], random[2]}
	}
	if p.Uplink == "" && n.Mode == DirectLink && len(n.Direct.Uplinks) > 0 {
		p.Uplink = slices.MinFunc(n.Direct.Uplinks, func(a, b string) int {
			return cmp.Compare(portsOn(a, others), portsOn(b, others))
		})
	}
	return p
}

func freePortName(others []Port, taken func(string) bool) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("vnet%d", i)
		if !taken(name) && !slices.ContainsFunc(others, func(o Port) bool { return o.Link == name }) {
			return name
		}
	}
}

func portsOn(uplink string, ports []Port) int {
	count := 0
	for i := range ports {
		if ports[i].Uplink == uplink {
			count++
		}
	}
	return count
}

// ValidatePort returns everything that is wrong with a complete port of a network.
func ValidatePort(p *Port, n *Network) Findings {
	var fs Findings
	if why := LinkNameProblem(p.Link); why != "" {
		fs.Add("link", "%s", why)
	}
	if p.MAC.IsMulticast() {
		fs.Add("mac", "%s is a multicast address; the first octet must be even", p.MAC)
	}
	if p.Guest != "" && !hostRE.MatchString(p.Guest) {
		fs.Add("guest", "%q is no host name: one label of letters, digits and '-', 1 to 63", p.Guest)
	}
	if p.Queues < 0 || p.Queues > MaxQueues {
		fs.Add("queues", "%d is outside 1 to %d", p.Queues, MaxQueues)
	}
	validatePortAddresses(&fs, p, n)
	validatePortUplink(&fs, p, n)
	validatePortBandwidth(&fs, p, n)
	validatePortFilter(&fs, p, n)
	return fs
}

// PortsAgainst returns in what declared ports of a network contradict a new definition
// of it.
func PortsAgainst(ports []Port, n *Network) Findings {
	var fs Findings
	found := make([]Findings, len(ports))
	in, out := floors(ports, n)
	for i := range ports {
		if p := &ports[i]; p.Network == n.Name && !p.Transient {
			found[i] = ValidatePort(p, n)
			floorConflicts(&found[i], p, n, in, out)
		}
	}
	reservationConflicts(found, ports, n)
	for i := range ports {
		p := &ports[i]
		if p.Network != n.Name || p.Transient {
			continue
		}
		for _, f := range found[i] {
			fs.Add("ports."+p.Link+"."+f.Path, "%s; change the port first (vnetctl port set), or delete it", f.Why)
		}
	}
	return fs
}

func validatePortAddresses(fs *Findings, p *Port, n *Network) {
	used := map[netip.Prefix]int{}
	for i, a := range p.Addresses {
		path := index("addresses", i)
		s := n.subnetOf(a)
		switch {
		case s == nil && n.Mode.OwnsBridge():
			fs.Add(path, "%s is in none of the network's subnets (%s)", a, n.subnetWords())
			continue
		case s == nil:
			continue // the network's addresses are validated elsewhere
		case a == s.Address.Addr():
			fs.Add(path, "%s is the host's own address on the network", a)
		case a == s.Address.Masked().Addr() || a == Broadcast(s.Address) && a.Is4():
			fs.Add(path, "%s is no guest's address in %s", a, s.Address.Masked())
		}
		if first, twice := used[s.Address]; twice {
			fs.Add(path, "is a second address of %s, beside addresses[%d]; a port has one in each subnet", s.Address.Masked(), first)
		}
		used[s.Address] = i
	}
}

func (n *Network) subnetOf(a netip.Addr) *Subnet {
	for i := range n.Subnets {
		if n.Subnets[i].Address.Contains(a) {
			return &n.Subnets[i]
		}
	}
	return nil
}

func (n *Network) subnetWords() string {
	var words []string
	for _, s := range n.Subnets {
		words = append(words, s.Address.Masked().String())
	}
	return cmp.Or(strings.Join(words, ", "), "it has none")
}

func validatePortUplink(fs *Findings, p *Port, n *Network) {
	switch {
	case n.Mode != DirectLink && p.Uplink != "":
		fs.Add("uplink", "is for networks of mode direct; %s is of mode %s", n.Name, n.Mode)
	case n.Mode == DirectLink && !slices.Contains(n.Direct.Uplinks, p.Uplink):
		fs.Add("uplink", "%q is no uplink of network %s; those are %s", p.Uplink, n.Name, strings.Join(n.Direct.Uplinks, ", "))
	}
}

// PortConflicts returns everything in which a port collides with others, with the
// reservations of its network, and with links of the host. others do not hold p.
func PortConflicts(p *Port, n *Network, others []Port, host Host) Findings {
	var fs Findings
	if host.HasLink(p.Link) || p.Link == n.Bridge.Name {
		fs.Add("link", "%s exists already; choose another name", p.Link)
	}
	for i := range others {
		portConflict(&fs, p, &others[i])
	}
	in, out := floors(others, n)
	floorConflicts(&fs, p, n, in+p.Bandwidth.In.Floor, out+p.Bandwidth.Out.Floor)
	reserved := make([]Findings, 1)
	reservationConflicts(reserved, []Port{*p}, n)
	fs = append(fs, reserved[0]...)
	if n.Mode == DirectLink {
		uplinkProblem(&fs, "uplink", p.Uplink, "", host)
		if n.Direct.Mode == DirectPassthrough && portsOn(p.Uplink, others) > 0 {
			fs.Add("uplink", "%s has a guest already, and passthrough gives an uplink to one alone", p.Uplink)
		}
	}
	return fs
}

func portConflict(fs *Findings, p, o *Port) {
	if p.Link == o.Link {
		fs.Add("link", "%s is a port of network %s; choose another name", p.Link, o.Network)
	}
	if p.Network != o.Network {
		return
	}
	if p.MAC == o.MAC && !p.MAC.IsZero() {
		fs.Add("mac", "%s is the MAC of port %s", p.MAC, o.Link)
	}
	if p.Guest != "" && strings.EqualFold(p.Guest, o.Guest) {
		fs.Add("guest", "%s is the name of port %s", p.Guest, o.Link)
	}
	for i, a := range p.Addresses {
		if slices.Contains(o.Addresses, a) {
			fs.Add(index("addresses", i), "%s is the address of port %s", a, o.Link)
		}
	}
}

// reservationConflicts adds to the findings about each port: it may repeat a reservation
// of its network, but not one for another guest.
func reservationConflicts(fs []Findings, ports []Port, n *Network) {
	addresses, guests := map[netip.Addr][2]int{}, map[string]int{}
	for i := range ports {
		p := &ports[i]
		if p.Network != n.Name {
			continue
		}
		for j, a := range p.Addresses {
			addresses[a] = [2]int{i, j}
		}
		if p.Guest != "" {
			guests[strings.ToLower(p.Guest)] = i
		}
	}
	if len(addresses)+len(guests) == 0 {
		return
	}
	for i := range n.Subnets {
		d := n.Subnets[i].DHCP
		if d == nil {
			continue
		}
		for j := range d.Reservations {
			r, where := &d.Reservations[j], [2]int{i, j}
			same := func(port int) bool { return r.MAC == ports[port].MAC && !r.MAC.IsZero() }
			if at, ok := addresses[r.Address]; ok && !same(at[0]) {
				fs[at[0]].Add(index("addresses", at[1]), "%s is reserved for another guest by subnets[%d].dhcp.reservations[%d] of the network", r.Address, where[0], where[1])
			}
			if port, ok := guests[strings.ToLower(r.Hostname)]; ok && !same(port) {
				fs[port].Add("guest", "%s is the name of another guest in subnets[%d].dhcp.reservations[%d] of the network", ports[port].Guest, where[0], where[1])
			}
		}
	}
}

// LinkOf is the link of a port of a network that is live, or not.
func LinkOf(p *Port, n *Network, live bool, host Host) Link {
	l := Link{Network: n.Name, Name: p.Link, Up: live}
	if n.Mode == DirectLink {
		l.Kind, l.MAC, l.Mode = KindMacvtap, p.MAC, cmp.Or(n.Direct.Mode, DirectBridge)
		l.Parent = cmp.Or(p.Uplink, n.Direct.Uplinks[0])
		l.MTU = cmp.Or(max(n.Bridge.MTU, 0), host.Links[l.Parent].MTU, defaultMTU)
		return l
	}
	l.Kind, l.Owner, l.Queues, l.Persist = KindTap, p.Owner, max(p.Queues, 1), !p.Transient
	l.MAC = p.MAC.Tap()
	if p.Transient { // its guest may be known by its frames only, and later
		l.MAC = tapMAC(p.Link)
	}
	l.MTU = portMTU(n, host)
	if live {
		l.Master = n.Bridge.Name
	}
	return l
}

// tapMAC is a MAC for the host's end of a tap that does not depend on the guest's. Left to
// the kernel, it could become that of the host's bridge.
func tapMAC(link string) MAC {
	h := fnv.New32a()
	_, _ = io.WriteString(h, link)
	sum := h.Sum(nil)
	return MAC{0xfe, 0x54, sum[0], sum[1], sum[2], sum[3]}
}

// portMTU is that of the bridge; 0, which leaves the link's own, where the host
// would know and does not.
func portMTU(n *Network, host Host) int {
	switch {
	case n.Mode.OwnsBridge():
		return EffectiveMTU(n, host)
	case n.HasUplinkBridge():
		mtu := max(n.Bridge.MTU, 0)
		for _, u := range n.Bridge.Uplinks {
			if l := host.Links[u]; n.Bridge.MTU <= 0 && l.MTU > 0 && (mtu == 0 || l.MTU < mtu) {
				mtu = l.MTU
			}
		}
		return mtu
	}
	return host.Links[n.Bridge.Name].MTU
}

// KnowsGuest reports whether a MAC is a declared guest's already: of one of the ports,
// or of a reservation.
func (n *Network) KnowsGuest(mac MAC, ports []Port) bool {
	for i := range n.Subnets {
		if d := n.Subnets[i].DHCP; d != nil && slices.ContainsFunc(d.Reservations, func(r Reservation) bool { return r.MAC == mac }) {
			return true
		}
	}
	return slices.ContainsFunc(ports, func(p Port) bool { return p.Network == n.Name && p.MAC == mac })
}

// WithPorts returns the network with reservations for its ports, in the subnets
// that serve DHCP; n itself if that adds none. What the definition says itself comes
// first.
func (n *Network) WithPorts(ports []Port) *Network {
	c := portReserver{n: n, known: make([]reservedKeys, len(n.Subnets))}
	for i := range ports {
		if p := &ports[i]; p.Network == n.Name && !p.MAC.IsZero() {
			c.reserve(p)
		}
	}
	return c.n
}

// portReserver adds reservations, and copies the network before the first.
type portReserver struct {
	n      *Network
	copied bool
	known  []reservedKeys // of each subnet; none until one is to get a reservation
}

// reservedKeys are what a subnet's reservations have; names in lower case.
type reservedKeys struct {
	macs  map[MAC]bool
	addrs map[netip.Addr]bool
	names map[string]bool
}

func (c *portReserver) reserve(p *Port) {
	named := p.Guest == ""
	for i := range c.n.Subnets {
		s := &c.n.Subnets[i]
		at := slices.IndexFunc(p.Addresses, s.Address.Contains)
		if !s.Stateful() || at < 0 {
			continue
		}
		c.reserveIn(i, Reservation{MAC: p.MAC, Address: p.Addresses[at], Hostname: p.Guest})
		named = true
	}
	for i := range c.n.Subnets {
		if c.n.Subnets[i].Stateful() && !named {
			c.reserveIn(i, Reservation{MAC: p.MAC, Hostname: p.Guest})
			return
		}
	}
}

// reserveIn adds a reservation that repeats nothing of another.
func (c *portReserver) reserveIn(subnet int, r Reservation) {
	k := &c.known[subnet]
	if k.macs == nil {
		*k = reservedKeys{map[MAC]bool{}, map[netip.Addr]bool{}, map[string]bool{}}
		for _, o := range c.n.Subnets[subnet].DHCP.Reservations {
			k.add(&o)
		}
	}
	if k.macs[r.MAC] || k.addrs[r.Address] || k.names[strings.ToLower(r.Hostname)] {
		return
	}
	if !c.copied {
		c.n, c.copied = c.n.Clone(), true
	}
	d := c.n.Subnets[subnet].DHCP
	d.Reservations = append(d.Reservations, r)
	k.add(&r)
}

func (k *reservedKeys) add(r *Reservation) {
	k.macs[r.MAC] = true
	if r.Address.IsValid() {
		k.addrs[r.Address] = true
	}
	if r.Hostname != "" {
		k.names[strings.ToLower(r.Hostname)] = true
	}
}
