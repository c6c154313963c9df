package daemon_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

var update = flag.Bool("update", false, "rewrite docs/reachability.md")

const (
	// probePort is where everybody listens, TCP and UDP, and what the isolated
	// network names as a service of the host; nobody names the other.
	probePort, unnamedPort = 7000, 7001
	// brief is how long a connection may take that is to fail where nobody says
	// no. Whoever may connect is given nettest.Patience.
	brief = 500 * time.Millisecond
)

// stand is one who talks and listens. The first subnet of the network number N is
// 10.61.N.0/24 and fd00:61:N::/64.
type stand struct {
	name   string
	party  firewall.Party
	bridge string // of its network, or the link of the host that it is behind
	number int
	nat66  bool
	yaml   string // the network's definition, without name, bridge and subnets

	macs   [2]string // of its guests
	ns     *nettest.Namespace
	mate   *nettest.Namespace // another guest on the network
	server *server
}

func stands() []*stand {
	const pin = "uplinks: [up0]"
	return []*stand{
		{name: "nat", party: firewall.NATGuest, bridge: "nat0", number: 1, yaml: "mode: nat"},
		{name: "nat, with ipv6", party: firewall.NATGuest, bridge: "nat1", number: 2, nat66: true, yaml: "mode: nat\nnat: {ipv6: true}"},
		{name: "routed", party: firewall.RouteGuest, bridge: "routed0", number: 3, yaml: "mode: route"},
		{name: "another routed", party: firewall.RouteGuest, bridge: "routed1", number: 4, yaml: "mode: route"},
		{name: "isolated", party: firewall.IsolatedGuest, bridge: "isolated0", number: 5, yaml: "mode: isolated\nhostServices: [tcp/7000, udp/7000]"},
		{name: "open", party: firewall.OpenGuest, bridge: "open0", number: 6, yaml: "mode: open"},
		{name: "very isolated", party: firewall.VeryIsolatedGuest, bridge: "quiet0", number: 7, yaml: "mode: isolated"},
		{name: "nat, pinned to 1", party: firewall.PinnedNATGuest, bridge: "natpin0", number: 8, yaml: "mode: nat\n" + pin},
		{name: "routed, pinned to 1", party: firewall.PinnedRouteGuest, bridge: "routedpin0", number: 9, yaml: "mode: route\n" + pin},
		{name: "outside, uplink 1", party: firewall.AtUplink, bridge: "up0"},
		{name: "outside, uplink 2", party: firewall.Elsewhere, bridge: "up1"},
		{name: "host, bridge address", party: firewall.HostGateway},
		{name: "host, other address", party: firewall.HostOther},
	}
}

func (s *stand) isGuest() bool { return s.number > 0 }

// at returns the address of a machine on network n.
func at(family, n, machine int) netip.Addr {
	if family == 6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:61:%d::%d", n, machine))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.61.%d.%d", n, machine))
}

// outsides are the addresses of who is behind a link of the host; the host's own
// there are the next ones.
var outsides = map[string]map[int]netip.Addr{
	"up0": {4: netip.MustParseAddr("203.0.113.1"), 6: netip.MustParseAddr("2001:db8:ff::1")},
	"up1": {4: netip.MustParseAddr("198.51.100.1"), 6: netip.MustParseAddr("2001:db8:fe::1")},
}

// address returns where s is found by, and talks as to, another. The host has an
// address on the other's network; to the outside it is the routed network's.
func (s *stand) address(family int, other *stand) netip.Addr {
	switch {
	case s.isGuest():
		return at(family, s.number, 2)
	case s.party == firewall.HostOther:
		return outsides["up0"][family].Next()
	case s.party == firewall.HostGateway && other.isGuest():
		return at(family, other.number, 1)
	case s.party == firewall.HostGateway:
		return at(family, 3, 1)
	}
	return outsides[s.bridge][family]
}

// matrix is a host with a network of every kind, guests on them, and two outsides
// that have routes to every guest, so that nothing but rules keeps anybody out.
type matrix struct {
	host   *nettest.Namespace
	stands []*stand
	tokens atomic.Int64
	gate   chan struct{} // bounds how many probe at once
}

func newMatrix(t *testing.T, filter string) *matrix {
	t.Helper()
	w := nettest.New(t)
	second := nettest.NewInternet(t, "internet2")
	up1 := outsides["up1"]
	second.Connect(t, w.Host, nettest.Uplink{
		Name: "up1", Metric: 5000,
		Gateway: []string{up1[4].String() + "/24", up1[6].String() + "/64"},
		Address: []string{up1[4].Next().String() + "/24", up1[6].Next().String() + "/64"},
	})
	m := &matrix{host: w.Host, stands: stands(), gate: make(chan struct{}, 24)}
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	hostServer := serveProbes(t, w.Host, probePort)
	serveProbes(t, w.Host, unnamedPort)
	for _, s := range m.stands {
		switch {
		case s.isGuest():
			guests := [2]*nettest.Guest{w.Guest(t, s.bridge+"-2"), w.Guest(t, s.bridge+"-3")}
			s.macs = [2]string{guests[0].MAC, guests[1].MAC}
			d.CtlInput(t, s.definition(filter), "network", "create", "-f", "-")
			s.ns, s.mate = m.guest(t, guests[0], s, 2), m.guest(t, guests[1], s, 3)
			s.server = serveProbes(t, s.ns, probePort)
			serveProbes(t, s.mate, probePort)
		case s.party.IsHost():
			s.ns, s.server = w.Host, hostServer
		default:
			s.ns = map[string]*nettest.Namespace{"up0": w.Internet.Namespace, "up1": second.Namespace}[s.bridge]
			s.server = serveProbes(t, s.ns, probePort)
			s.routesBack(t)
		}
	}
	m.routesIntoVeryIsolated(t)
	return m
}

// routesBack are an outside's routes to every guest, and to the other outside.
func (s *stand) routesBack(t *testing.T) {
	t.Helper()
	prefixes := map[int][]string{4: {"10.61.0.0/16"}, 6: {"fd00:61::/32"}}
	for link, addresses := range outsides {
		if link != s.bridge {
			prefixes[4] = append(prefixes[4], netip.PrefixFrom(addresses[4], 24).Masked().String())
			prefixes[6] = append(prefixes[6], netip.PrefixFrom(addresses[6], 64).Masked().String())
		}
	}
	for family, list := range prefixes {
		for _, prefix := range list {
			s.ns.Route(t, prefix, outsides[s.bridge][family].Next().String(), 0)
		}
	}
}

// definition reserves the guests' IPv4 addresses: what is reserved is a guest's,
// whether it asks for it or not.
func (s *stand) definition(filter string) string {
	text := fmt.Sprintf("name: %s\nbridge: {name: %[1]s}\n%s\n", s.bridge, s.yaml)
	if s.party == firewall.VeryIsolatedGuest {
		return text // nothing to filter by
	}
	text += filter + "\n"
	reserved := ""
	for i, machine := range []int{2, 3} {
		reserved += fmt.Sprintf("{mac: %q, address: %s}, ", s.macs[i], at(4, s.number, machine))
	}
	return text + fmt.Sprintf("subnets: [{address: %s/24, dhcp: {reservations: [%s]}}, {address: \"%s/64\"}]\n", at(4, s.number, 1), reserved, at(6, s.number, 1))
}

// guest attaches a guest that configures itself. On a very isolated network nobody
// answers for the gateway; there it sends what leaves its network to the bridge all
// the same, to see whether that will forward.
func (m *matrix) guest(t *testing.T, g *nettest.Guest, s *stand, machine int) *nettest.Namespace {
	t.Helper()
	g.Sysctl(t, "net/ipv6/conf/eth0/accept_ra", "0")
	g.Attach(t, s.bridge)
	g.Address(t, "eth0", at(4, s.number, machine).String()+"/24", at(6, s.number, machine).String()+"/64")
	if s.party == firewall.VeryIsolatedGuest {
		bridge, err := m.host.Netlink().LinkByName(s.bridge)
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range []int{4, 6} {
			g.Run(t, fmt.Sprintf("ip neigh replace %s lladdr %s dev eth0 nud permanent", at(family, s.number, 1), bridge.Attrs().HardwareAddr))
		}
	}
	g.Route(t, "0.0.0.0/0", at(4, s.number, 1).String(), 0)
	g.Route(t, "::/0", at(6, s.number, 1).String(), 0)
	return g.Namespace
}

// routesIntoVeryIsolated: the host has a route into the very isolated network for
// what it forwards, and for that only, so that it is not for want of a route that
// nothing comes in. There is no such thing in IPv6, which is off on that bridge.
func (m *matrix) routesIntoVeryIsolated(t *testing.T) {
	t.Helper()
	for _, s := range m.stands {
		if s.bridge != "" && s.party != firewall.VeryIsolatedGuest {
			m.host.Run(t, "ip rule add iif "+s.bridge+" lookup 77 pref 100")
		}
	}
	m.host.Run(t, "ip route add 10.61.7.0/24 dev quiet0 table 77")
	m.host.Run(t, "ip route add unreachable 10.61.7.0/24; ip -6 route add unreachable fd00:61:7::/64")
}

// server notes who came with which token.
type server struct {
	mu      sync.Mutex
	seen    map[string]netip.Addr
	changed chan struct{}
}

func serveProbes(t *testing.T, ns *nettest.Namespace, port int) *server {
	t.Helper()
	s := &server{seen: map[string]netip.Addr{}, changed: make(chan struct{})}
	l, err := ns.Listen("tcp", fmt.Sprint(":", port))
	if err != nil {
		t.Fatal(err)
	}
	u, err := ns.ListenPacket("udp", fmt.Sprint(":", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go s.streams(l)
	go s.datagrams(u)
	return s
}

// streams tells every caller as whom it is seen.
func (s *server) streams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		c.Close()
	}
}

func (s *server) datagrams(u net.PacketConn) {
	b := make([]byte, 1500)
	for {
		n, from, err := u.ReadFrom(b)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen[string(b[:n])] = from.(*net.UDPAddr).AddrPort().Addr().Unmap()
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// got returns as whom the sender of a token was seen.
func (s *server) got(token string) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.seen[token]
	return a, ok
}

// await waits for a token until the deadline.
func (s *server) await(token string, deadline <-chan time.Time) bool {
	for {
		s.mu.Lock()
		_, ok := s.seen[token]
		changed := s.changed
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}

// pair is a cell: what is expected, and what came of it.
type pair struct {
	from, to *stand
	local    netip.Addr
	remote   netip.Addr
	want     firewall.Answer
	tcp, udp bool
	seen     netip.Addr // by TCP, or else by UDP
	unnamed  bool       // a port that is not named can be reached
	token    string
	receiver *server
	err      error
}

// pairs are all cells but those of the host with itself, and of an outside with
// itself. A guest with itself stands for two on the same network.
func (m *matrix) pairs(family int) []*pair {
	var out []*pair
	for _, from := range m.stands {
		for _, to := range m.stands {
			if from.party.IsHost() && to.party.IsHost() || from == to && !from.isGuest() {
				continue
			}
			p := &pair{
				from: from, to: to, local: from.address(family, to), remote: to.address(family, from),
				want: firewall.Policy(from.party, to.party), receiver: to.server,
			}
			if from == to {
				p.local, p.want = at(family, from.number, 3), firewall.Yes
			}
			p.token = fmt.Sprintf("%s to %s, %d", from.name, to.name, m.tokens.Add(1))
			out = append(out, p)
		}
	}
	return out
}

// sender is the namespace that the pair's packets come from.
func (p *pair) sender() *nettest.Namespace {
	if p.from == p.to {
		return p.from.mate
	}
	return p.from.ns
}

// try does all probes: first connections, which make everybody know his
// neighbours, and then datagrams.
func (m *matrix) try(pairs []*pair) {
	var wg sync.WaitGroup
	for _, p := range pairs {
		wg.Go(func() {
			m.gate <- struct{}{}
			defer func() { <-m.gate }()
			patience := brief
			if p.want != firewall.No {
				patience = nettest.Patience
			}
			p.seen, p.err = p.connect(probePort, patience)
			p.tcp = p.err == nil
			if p.to.party.IsHost() {
				_, err := p.connect(unnamedPort, brief)
				p.unnamed = err == nil
			}
		})
	}
	wg.Wait()
	deadline := time.After(nettest.Patience)
	for _, p := range pairs {
		p.send(p.token)
	}
	for _, p := range pairs {
		if p.want != firewall.No {
			p.receiver.await(p.token, deadline)
		}
	}
	m.fence(pairs, deadline)
	for _, p := range pairs {
		seen, ok := p.receiver.got(p.token)
		if p.udp = ok; ok && !p.tcp {
			p.seen = seen
		}
	}
}

// fence sends a datagram to everybody from somebody who reaches him, and waits
// until they have come: what has not come by then does not come.
func (m *matrix) fence(pairs []*pair, deadline <-chan time.Time) {
	last := map[*stand]*pair{}
	for _, p := range pairs {
		if p.from.party == firewall.HostOther || p.from == p.to || p.to.party.IsHost() && p.from.party == firewall.AtUplink {
			if p.want != firewall.No {
				last[p.to] = p
			}
		}
	}
	for _, p := range last {
		p.send("behind " + p.token)
	}
	for _, p := range last {
		p.receiver.await("behind "+p.token, deadline)
	}
}

// connect opens a TCP connection, and returns as whom the other end sees it. It
// waits on a thread of the process, not of the namespace.
func (p *pair) connect(port uint16, patience time.Duration) (netip.Addr, error) {
	fd := -1
	err := p.sender().Do(func() (err error) {
		fd, err = open(p.local, unix.SOCK_STREAM)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	if err := unix.Connect(fd, sockaddr(netip.AddrPortFrom(p.remote, port))); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return netip.Addr{}, err
	}
	// The socket is readable when the other end has spoken, or there is an error.
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll(poll, max(0, int(time.Until(end).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 || err != nil {
			return netip.Addr{}, fmt.Errorf("no answer: %w", err)
		}
		break
	}
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	if err != nil || n == 0 {
		return netip.Addr{}, fmt.Errorf("read: %w", errors.Join(err, io.EOF))
	}
	return netip.ParseAddr(strings.TrimSpace(string(b[:n])))
}

func open(local netip.Addr, kind int) (int, error) {
	family := unix.AF_INET
	if local.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", local, err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// send sends one datagram, if the host's or guest's own stack lets it.
func (p *pair) send(text string) {
	_ = p.sender().Do(func() error {
		fd, err := open(p.local, unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, []byte(text), 0, sockaddr(netip.AddrPortFrom(p.remote, probePort)))
	})
}

// sourceSeen is as whom the sender should be seen.
func (p *pair) sourceSeen(family int) netip.Addr {
	if p.want == firewall.Translated && (family == 4 || p.from.nat66) {
		return outsides[p.to.bridge][family].Next()
	}
	return p.local
}

func (p *pair) check(t *testing.T, family int) {
	t.Helper()
	want := p.want != firewall.No
	if p.tcp != want {
		t.Errorf("TCP from %s (%s) to %s (%s) works = %t (%v), want %s", p.from.name, p.local, p.to.name, p.remote, p.tcp, p.err, p.want)
	}
	if p.udp != want {
		t.Errorf("a datagram from %s (%s) to %s (%s) arrives = %t, want %s", p.from.name, p.local, p.to.name, p.remote, p.udp, p.want)
	}
	if (p.tcp || p.udp) && p.seen != p.sourceSeen(family) {
		t.Errorf("%s sees %s as %s, want %s", p.to.name, p.from.name, p.seen, p.sourceSeen(family))
	}
	if wantUnnamed := p.to.party.IsHost() && p.want == firewall.Yes; p.unnamed != wantUnnamed {
		t.Errorf("%s reaches a port of the host that is not named = %t, want %t", p.from.name, p.unnamed, wantUnnamed)
	}
}

// word is what a cell of the table says about what was seen.
func (p *pair) word() string {
	switch {
	case p.udp && !p.tcp:
		return "one way"
	case !p.tcp:
		return "–"
	case !p.udp:
		return "TCP only"
	case p.seen != p.local:
		return "NAT"
	case p.to.party.IsHost() && !p.unnamed:
		return "services"
	}
	return "yes"
}

const reachability = "../docs/reachability.md"

// Every ordered pair, by a TCP connection and by one datagram that nobody answers,
// in both families, with br_netfilter's switches in both positions. The table of
// what was seen is docs/reachability.md.
func TestReachability(t *testing.T) {
	nettest.Need(t, "ip")
	m := newMatrix(t, "")
	cells := m.reach(t)
	m.document(t, cells)
	t.Run("uplink 1 down", m.uplinkDown)
}

// Nobody honest notices a filter: the table is the same where every network asks for
// clean traffic, but for the very isolated one, which has no addresses to go by.
func TestReachabilityOfCleanNetworks(t *testing.T) {
	nettest.Need(t, "ip")
	m := newMatrix(t, "filter: {preset: clean-traffic}")
	m.stands = slices.DeleteFunc(m.stands, func(s *stand) bool { return s.party == firewall.VeryIsolatedGuest })
	m.reach(t)
}

// reach tries everybody, and returns what was seen.
func (m *matrix) reach(t *testing.T) map[[2]string][]string {
	t.Helper()
	cells := map[[2]string][]string{}
	for _, bridged := range []string{"0", "1"} {
		for _, table := range []string{"iptables", "ip6tables"} {
			m.host.Sysctl(t, "net/bridge/bridge-nf-call-"+table, bridged)
		}
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("bridge-nf=%s,ipv%d", bridged, family), func(t *testing.T) {
				pairs := m.pairs(family)
				m.try(pairs)
				for _, p := range pairs {
					p.check(t, family)
					k := [2]string{p.from.name, p.to.name}
					cells[k] = append(cells[k], p.word())
				}
			})
		}
	}
	return cells
}

// uplinkDown: the host's routes now lead to whom was behind uplink 1 by uplink 2,
// and what is pinned does not follow them.
func (m *matrix) uplinkDown(t *testing.T) {
	i := slices.IndexFunc(m.stands, func(s *stand) bool { return s.party == firewall.Elsewhere })
	second := m.stands[i]
	second.ns.Address(t, "lo", outsides["up0"][4].String()+"/32", outsides["up0"][6].String()+"/128")
	m.host.Down(t, "up0")
	for _, family := range []int{4, 6} {
		var pairs []*pair
		for _, p := range m.pairs(family) {
			if p.to == second && p.from.isGuest() {
				p.remote = outsides["up0"][family]
				pairs = append(pairs, p)
			}
		}
		m.try(pairs)
		for _, p := range pairs {
			p.check(t, family)
		}
	}
}

// document compares the table with the one in docs, or writes it.
func (m *matrix) document(t *testing.T, cells map[[2]string][]string) {
	t.Helper()
	got := m.table(cells)
	if *update && !t.Failed() {
		if err := os.WriteFile(reachability, []byte(got), 0o644); err != nil {
			t.Error(err)
		}
	}
	want, err := os.ReadFile(reachability)
	if err != nil {
		t.Error(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what was seen; look at the difference of\n\tgo test ./daemon -run TestReachability -update\nIt would say\n%s", reachability, got)
	}
}

const preface = `# Reachability

Generated by ` + "`go test ./daemon -run TestReachability -update`" + ` from what was seen: a host with a network of every
kind, two guests on each, and two outsides that have routes to every guest, so that nothing but vnetd's rules keeps
anybody out. Every ordered pair is tried by a TCP connection and by one datagram without reply, in IPv4 and IPv6,
with br_netfilter's switches (bridge-nf-call-iptables, bridge-nf-call-ip6tables) off and on. The rows begin to talk;
answers come back always. Link-local IPv4 addresses (169.254.0.0/16, the metadata services of clouds) are refused to guests of
NAT networks, who would reach them with the host's address. The rules behind it are a table in ` + "`firewall/policy.go`" + `.

| word | meaning |
|---|---|
| yes | connections and datagrams arrive, with the sender's own address |
| NAT | they arrive with the host's address |
| NAT, yes | NAT in IPv4, yes in IPv6 |
| services | what ` + "`hostServices`" + ` names, DNS, DHCP and ping; no other port |
| – | not one packet arrives |

Where a guest meets its own kind, two guests of one network are meant. "host, bridge address" is the host's address on
the guest's network. The isolated network names the probe's port in ` + "`hostServices`" + `; a network of another kind that has
` + "`hostServices`" + ` is treated alike.

`

func (m *matrix) table(cells map[[2]string][]string) string {
	var b strings.Builder
	b.WriteString(preface)
	b.WriteString("| from \\ to |")
	for _, to := range m.stands {
		b.WriteString(" " + to.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(m.stands)) + "\n")
	for _, from := range m.stands {
		b.WriteString("| **" + from.name + "** |")
		for _, to := range m.stands {
			b.WriteString(" " + inOneWord(cells[[2]string{from.name, to.name}]) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// inOneWord joins what was seen in the four settings: IPv4 and IPv6, first with
// br_netfilter off and then on.
func inOneWord(words []string) string {
	switch {
	case len(words) != 4:
		return ""
	case words[0] == words[2] && words[1] == words[3] && words[0] == words[1]:
		return words[0]
	case words[0] == words[2] && words[1] == words[3]:
		return words[0] + ", " + words[1]
	}
	return strings.Join(words, ", ")
}
