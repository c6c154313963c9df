package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// street is a network of both families, and farm another one, whose guests are not
// translated.
const (
	street = `
name: street
mode: nat
bridge: {name: street0, mac: "02:00:00:00:0a:01"}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.200}]
      reservations: [{mac: "02:00:00:00:0b:02", address: 192.168.10.12, hostname: db}]
  - address: fd00:10::1/64
dns: {domain: street.test}
`
	farm = `
name: farm
mode: route
bridge: {name: farm0, mac: "02:00:00:00:0a:02"}
subnets:
  - address: 192.168.20.1/24
  - address: fd00:20::1/64
`
)

// resident is a guest with an address of either family, who echoes on some ports.
type resident struct {
	*nettest.Guest
	v4, v6 string
}

// moveIn adds a guest with the last number of its addresses.
func moveIn(t *testing.T, w *nettest.World, name, bridge, net4, net6 string, n int) resident {
	t.Helper()
	r := resident{w.Guest(t, name), fmt.Sprintf("%s.%d", net4, n), fmt.Sprintf("%s::%d", net6, n)}
	r.Attach(t, bridge)
	r.Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0; ip -6 addr add %s/64 dev eth0 nodad; ip route add default via %s.1; ip -6 route add default via %s::1",
		r.v4, r.v6, net4, net6))
	echoOn(t, r.Namespace)
	return r
}

// echoOn echoes TCP and UDP on ports 7000 and 7001.
func echoOn(t *testing.T, ns *nettest.Namespace) {
	t.Helper()
	for _, port := range []string{":7000", ":7001"} {
		l, err := ns.Listen("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		u, err := ns.ListenPacket("udp", port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go echoTCP(l)
		go echoUDP(u)
	}
}

func echoTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				_, _ = c.Write(b[:n])
			}
		}()
	}
}

func echoUDP(u net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := u.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = u.WriteTo(b[:n], from)
	}
}

// talks reports whether something is echoed: by tcp, udp, or icmp, which is ping.
func talks(t *testing.T, from *nettest.Namespace, network, to string, port int) bool {
	t.Helper()
	if network == "icmp" {
		_, err := from.Try(t.Context(), "ping -c 1 -W 1 "+to)
		return err == nil
	}
	for range 2 { // the first may be for a neighbour that is not known yet
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		c, err := from.DialContext(ctx, network, netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port)).String())
		cancel()
		if err != nil {
			continue
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(700 * time.Millisecond))
		if _, err := c.Write([]byte("hello")); err != nil {
			continue
		}
		if _, err := c.Read(make([]byte, 5)); err == nil {
			return true
		}
	}
	return false
}

// attempt is one to talk, and whether that is to go well.
type attempt struct {
	from    *nettest.Namespace
	network string
	to      string
	port    int
	want    bool
}

func try(t *testing.T, what string, attempts []attempt) {
	t.Helper()
	type answer struct {
		attempt
		got bool
	}
	answers := make(chan answer, len(attempts))
	for _, a := range attempts {
		go func() { answers <- answer{a, talks(t, a.from, a.network, a.to, a.port)} }()
	}
	for range attempts {
		if a := <-answers; a.got != a.want {
			t.Errorf("%s: %s to %s port %d = %t, want %t", what, a.network, a.to, a.port, a.got, a.want)
		}
	}
}

// neighbourhood is two guests of street and one of farm.
type neighbourhood struct {
	w            *nettest.World
	d            *nettest.Daemon
	web, db, far resident
}

func newNeighbourhood(t *testing.T, filter string) neighbourhood {
	t.Helper()
	nettest.Need(t, "ping")
	w := nettest.New(t)
	h := neighbourhood{w: w, d: w.Daemon(t, nettest.DaemonConfig{Config: quietly})}
	h.d.CtlInput(t, farm, "network", "create", "-f", "-")
	h.d.CtlInput(t, street+filter, "network", "create", "-f", "-")
	h.web = moveIn(t, w, "web", "street0", "192.168.10", "fd00:10", 11)
	h.db = moveIn(t, w, "db", "street0", "192.168.10", "fd00:10", 12)
	h.far = moveIn(t, w, "far", "farm0", "192.168.20", "fd00:20", 11)
	for _, r := range []resident{h.web, h.db} {
		awaitRule(t, w, r.Port)
	}
	return h
}

// awaitRule waits until a port is ruled.
func awaitRule(t *testing.T, w *nettest.World, port string) {
	t.Helper()
	nettest.Eventually(t, "port "+port+" has rules", func() error {
		if out := w.Host.Run(t, "nft list map bridge vnetd rules_out || true"); !strings.Contains(out, port) {
			return fmt.Errorf("it has not:\n%s", out)
		}
		return nil
	})
}

func (h *neighbourhood) apply(t *testing.T, filter string) {
	t.Helper()
	h.d.CtlInput(t, street+filter, "network", "apply", "-f", "-")
}

// Rules of both directions, between guests of one bridge and by way of the host, for
// both families; what they let begin is answered, and nothing else passes.
func TestRules(t *testing.T) {
	h := newNeighbourhood(t, `
filter:
  in: drop
  rules:
    - {direction: in, action: accept, protocol: tcp, ports: ["7000"]}
    - {direction: out, action: drop, protocol: tcp, ports: [7001, 8000-8100], remote: 192.168.20.0/24}
    - {direction: out, action: drop, protocol: udp, remote: "fd00:20::/64"}
`)
	web, db, host := h.web.Namespace, h.db.Namespace, h.w.Host
	try(t, "at first", []attempt{
		{web, "tcp", h.db.v4, 7000, true},
		{web, "tcp", h.db.v6, 7000, true},
		{web, "tcp", h.db.v4, 7001, false},
		{web, "tcp", h.db.v6, 7001, false},
		{web, "udp", h.db.v4, 7000, false},
		{web, "icmp", h.db.v4, 0, false},
		{web, "icmp", h.db.v6, 0, false},
		{host, "tcp", h.db.v4, 7000, true},
		{host, "tcp", h.db.v6, 7001, false},
		{host, "icmp", h.db.v6, 0, false},
		{web, "tcp", "203.0.113.1", 7, true},
		{web, "udp", "203.0.113.1", 7, true},
		{web, "icmp", "203.0.113.1", 0, true},
		{web, "icmp", "fd00:10::1", 0, true},
		{db, "tcp", h.far.v4, 7000, true},
		{db, "udp", h.far.v4, 7001, true},
		{db, "tcp", h.far.v4, 7001, false},
		{db, "tcp", h.far.v6, 7001, true},
		{db, "udp", h.far.v6, 7001, false},
		{db, "icmp", h.far.v6, 0, true},
	})
	// Large datagrams come in fragments, which have no ports.
	for _, to := range []string{h.far.v4, "203.0.113.1"} {
		if port := map[bool]int{true: 7, false: 7001}[to == "203.0.113.1"]; !large(t, web, to, port) {
			t.Errorf("a large datagram is not answered by %s", to)
		}
	}
}

// large reports whether a datagram of 4000 octets is echoed.
func large(t *testing.T, from *nettest.Namespace, to string, port int) bool {
	t.Helper()
	c, err := from.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	_, _ = c.Write(make([]byte, 4000))
	n, err := c.Read(make([]byte, 5000))
	return err == nil && n == 4000
}

// Remotes by name: sets, networks, guests, who are followed as they move, and the host.
func TestRulesByName(t *testing.T) {
	h := newNeighbourhood(t, `
filter:
  in: drop
  out: drop
  sets: [{name: world, prefixes: [203.0.113.0/24, 192.0.2.1]}]
  rules:
    - {direction: out, action: accept, remote: "@world"}
    - {direction: out, action: accept, protocol: udp, remote: farm}
    - {direction: out, action: accept, protocol: tcp, remote: db}
    - {direction: in, action: accept, protocol: tcp, remote: street}
    - {direction: in, action: accept, protocol: icmp, remote: host}
    - {direction: out, action: accept, protocol: icmpv6, remote: host}
`)
	web, db, host := h.web.Namespace, h.db.Namespace, h.w.Host
	try(t, "at first", []attempt{
		{web, "tcp", "203.0.113.1", 7, true},
		{web, "udp", h.far.v4, 7000, true},
		{web, "udp", h.far.v6, 7000, true},
		{web, "tcp", h.far.v4, 7000, false},
		{web, "tcp", h.db.v4, 7000, true},
		{web, "tcp", h.db.v6, 7000, false}, // is nobody's as far as is declared
		{db, "tcp", h.web.v4, 7000, false},
		{host, "icmp", h.web.v4, 0, true},
		{host, "tcp", h.web.v4, 7000, true}, // its address is of street
		{web, "icmp", "192.168.10.1", 0, false},
		{web, "icmp", "fd00:10::1", 0, true},
	})
	h.d.CtlInput(t, strings.ReplaceAll(street, "192.168.10.12", "192.168.10.13")+`
filter:
  out: drop
  rules: [{direction: out, action: accept, protocol: tcp, remote: db}]
`, "network", "apply", "-f", "-")
	db.Run(t, "ip addr add 192.168.10.13/24 dev eth0")
	try(t, "after db has moved", []attempt{
		{web, "tcp", h.db.v4, 7000, false},
		{web, "tcp", "192.168.10.13", 7000, true},
	})
}

// An edit is about connections that exist, too, and about no others.
func TestRulesCutConnections(t *testing.T) {
	h := newNeighbourhood(t, "filter: {in: drop, rules: [{direction: in, action: accept, protocol: tcp, ports: [7000-7001]}]}\n")
	kept := dialTCP(t, h.w.Host, h.db.v4+":7000")
	cut := dialTCP(t, h.w.Host, h.db.v4+":7001")
	outside := dialTCP(t, h.db.Namespace, "203.0.113.1:7")
	echoOn(t, h.w.Host)
	neighbour := dialTCP(t, h.far.Namespace, "192.168.20.1:7000")
	for _, c := range []*tcp{kept, cut, outside, neighbour} {
		c.works("at first")
	}
	h.apply(t, `
filter:
  in: drop
  rules:
    - {direction: in, action: drop, protocol: tcp, ports: [7001]}
    - {direction: in, action: accept, protocol: tcp, ports: [7000-7001]}
`)
	kept.works("after the edit")
	outside.works("after the edit")
	if cut.echoes() {
		t.Error("a connection that is forbidden by now goes on")
	}
	h.apply(t, "filter: {in: drop, out: drop, rules: [{direction: in, action: accept, protocol: tcp, ports: [7000-7001]}]}\n")
	kept.works("after the second edit")
	neighbour.works("after the second edit")
	if outside.echoes() {
		t.Error("a connection to the outside goes on")
	}
}

func dialTCP(t *testing.T, from *nettest.Namespace, to string) *tcp {
	t.Helper()
	c, err := from.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &tcp{t: t, conn: c}
}

// echoes reports whether a line comes back in a second.
func (c *tcp) echoes() bool {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	line := []byte("more\n")
	if _, err := c.conn.Write(line); err != nil {
		return false
	}
	_, err := io.ReadFull(c.conn, make([]byte, len(line)))
	return err == nil
}

// A guest that is rejected knows at once, if it is the host that would have passed its
// packets on; and not a packet of its reaches anybody.
func TestRulesReject(t *testing.T) {
	h := newNeighbourhood(t, "filter: {rules: [{direction: out, action: reject, protocol: tcp, ports: [7000]}, {direction: out, action: reject, remote: 203.0.113.1}]}\n")
	for _, to := range []string{h.far.v4 + ":7000", "[" + h.far.v6 + "]:7000", "192.168.10.1:7000", "203.0.113.1:7"} {
		if _, err := h.web.Dial("tcp", to); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: %v, want it refused", to, err)
		}
	}
	try(t, "others", []attempt{
		{h.web.Namespace, "tcp", h.far.v4, 7001, true},
		{h.web.Namespace, "tcp", h.db.v4, 7000, false},
		{h.far.Namespace, "tcp", "192.168.20.11", 7000, true},
	})
}

// With internet-only a guest reaches the internet, its DNS server and DHCP, and pings its
// gateway; and of what is private nothing but what a rule says.
func TestInternetOnly(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "dig")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, farm, "network", "create", "-f", "-")
	d.CtlInput(t, street, "network", "create", "-f", "-")
	far := moveIn(t, w, "far", "farm0", "192.168.20", "fd00:20", 11)
	echoOn(t, w.Host)
	web, _ := guest(t, w, "web", "street0")
	db, lease := guest(t, w, "db", "street0")
	to := lease.Address.Addr().String()
	echoOn(t, db.Namespace)
	// The world's internet has addresses that are for documentation.
	const filter = "filter: {preset: internet-only, rules: [{direction: out, action: accept, remote: 203.0.113.1}%s]}\n"
	attempts := func(private bool) []attempt {
		return []attempt{
			{web.Namespace, "tcp", "203.0.113.1", 7, true},
			{web.Namespace, "icmp", "203.0.113.1", 0, true},
			{web.Namespace, "icmp", "192.168.10.1", 0, true},
			{web.Namespace, "tcp", "192.168.10.1", 7000, private},
			{web.Namespace, "tcp", "203.0.113.2", 7000, private},
			{web.Namespace, "tcp", "192.168.20.1", 7000, private},
			{web.Namespace, "tcp", far.v4, 7000, private},
			{web.Namespace, "icmp", far.v4, 0, private},
			{web.Namespace, "tcp", to, 7000, private},
		}
	}
	try(t, "without a filter", attempts(true))
	d.CtlInput(t, street+fmt.Sprintf(filter, ""), "network", "apply", "-f", "-")
	try(t, "internet-only", attempts(false))
	web.Run(t, "dig +time=2 +tries=1 @192.168.10.1 web.street.test")
	if _, err := web.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context()); err != nil {
		t.Error(err)
	}
	d.CtlInput(t, street+fmt.Sprintf(filter, ", {direction: out, action: accept, protocol: tcp, remote: farm}"), "network", "apply", "-f", "-")
	try(t, "with an exception", []attempt{
		{web.Namespace, "tcp", far.v4, 7000, true},
		{web.Namespace, "icmp", far.v4, 0, false},
	})
}

// What a rule notes goes to the kernel's log with the name of the network, once a
// connection. The kernel prints nothing of namespaces, so it is the counter beside it that
// tells.
func TestRulesLog(t *testing.T) {
	h := newNeighbourhood(t, `
filter:
  in: drop
  rules:
    - {direction: in, action: accept, protocol: tcp, ports: [7000], log: true}
    - {direction: in, action: drop, protocol: udp, ports: [7001], log: true}
`)
	c := dialTCP(t, h.web.Namespace, h.db.v4+":7000")
	for range 20 {
		c.works("all the time")
	}
	flood, err := h.web.Dial("udp", "["+h.db.v6+"]:7001")
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	for range 2000 {
		_, _ = flood.Write([]byte("x"))
	}
	if n := noted(t, h.w, "vnetd street in accept: "); n != 1 {
		t.Errorf("a connection is noted %d times", n)
	}
	if n := noted(t, h.w, "vnetd street in drop: "); n == 0 || n > 1000 {
		t.Errorf("of 2000 packets %d are noted", n)
	}
}

// noted is how often something was logged behind a prefix.
func noted(t *testing.T, w *nettest.World, prefix string) int {
	t.Helper()
	sum := 0
	for line := range strings.Lines(w.Host.Run(t, "nft list table bridge vnetd")) {
		if rule, _, ok := strings.Cut(line, `log prefix "`+prefix); ok {
			var n int
			if _, err := fmt.Sscanf(rule[strings.LastIndex(rule, "counter"):], "counter packets %d", &n); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// plug is the hypervisor: it carries frames between a tap of vnetd's and a guest, who
// gets the port's MAC on a link of its own.
func plug(t *testing.T, host *nettest.Namespace, p port, g *nettest.Guest, commands string) {
	t.Helper()
	outer, inner := openTap(t, host, p.Link), openTap(t, g.Namespace, "vnic")
	carry := func(to, from *os.File) {
		b := make([]byte, 1<<16)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			_, _ = to.Write(b[:n])
		}
	}
	go carry(outer, inner)
	go carry(inner, outer)
	g.Run(t, "ip link set vnic address "+p.Mac+" up; "+commands)
}

func openTap(t *testing.T, ns *nettest.Namespace, link string) *os.File {
	t.Helper()
	var f *os.File
	err := ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(link)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), link)
		return nil
	})
	if err != nil {
		t.Fatalf("tap %s: %v", link, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A port has rules of its own, before its network's; they outlive the daemon, and are
// nobody else's.
func TestPortRules(t *testing.T) {
	nettest.Need(t, "ping")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, street+"filter: {rules: [{direction: in, action: drop, protocol: tcp, ports: [7001]}]}\n", "network", "create", "-f", "-")
	refused(t, d, "", 1, []string{"port", "create", "street", "--rule", "in accept tcp/80 from nobody", "--rule", "in accept icmp/8", "--in", "never"},
		"filter.rules[0].remote", "filter.rules[1].ports", "filter.in")
	tool := createPort(t, d, "street", "--guest", "tool", "--address", "192.168.10.51", "--link", "tool0")
	app := createPort(t, d, "street", "--guest", "app", "--address", "192.168.10.50", "--link", "app0", "--filter-preset", "clean-traffic",
		"--in", "drop", "--rule", "in accept tcp/7000-7001 from tool", "--rule", "out drop icmp")
	a, b := w.Guest(t, "app"), w.Guest(t, "tool")
	plug(t, w.Host, app, a, "ip addr add 192.168.10.50/24 dev vnic")
	plug(t, w.Host, tool, b, "ip addr add 192.168.10.51/24 dev vnic; ip addr add 192.168.10.52/24 dev vnic")
	echoOn(t, a.Namespace)
	echoOn(t, b.Namespace)
	check := func(when string) {
		t.Helper()
		try(t, when, []attempt{
			{b.Namespace, "tcp", "192.168.10.50", 7000, true},
			{b.Namespace, "tcp", "192.168.10.50", 7001, true},
			{b.Namespace, "udp", "192.168.10.50", 7000, false},
			{w.Host, "tcp", "192.168.10.50", 7000, false},
			{a.Namespace, "tcp", "192.168.10.51", 7000, true},
			{a.Namespace, "tcp", "192.168.10.51", 7001, false},
			{a.Namespace, "icmp", "192.168.10.51", 0, false},
			{b.Namespace, "icmp", "192.168.10.1", 0, true},
			{w.Host, "icmp", "192.168.10.51", 0, true},
		})
	}
	awaitRule(t, w, "app0")
	check("at first")
	says(t, "port list", d.Ctl(t, "port", "list", "-o", "yaml"), "clean-traffic", "7000-7001", "remote: tool", "in: drop")
	d.Kill()
	d.Start()
	nettest.Eventually(t, "the daemon is back", func() error {
		_, err := d.TryCtl(t.Context(), "", "status")
		return err
	})
	check("after a restart")
	d.Ctl(t, "port", "delete", "tool0")
	createPort(t, d, "street", "--guest", "tool", "--address", "192.168.10.60", "--link", "tool1", "--mac", "02:00:00:00:0c:01")
	if out := w.Host.Run(t, "nft list table bridge vnetd"); strings.Contains(out, "ip saddr 192.168.10.51") || !strings.Contains(out, "ip saddr 192.168.10.60") {
		t.Errorf("rules do not follow a guest:\n%s", out)
	}
}

// A guest that is named is followed by its lease, and what it calls itself is no name.
func TestRulesFollowALease(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, street, "network", "create", "-f", "-")
	app := createPort(t, d, "street", "--guest", "app", "--link", "app0")
	d.CtlInput(t, street+"filter: {out: drop, rules: [{direction: out, action: accept, protocol: tcp, remote: app}, {direction: out, action: accept, remote: host}]}\n",
		"network", "apply", "-f", "-")
	web := moveIn(t, w, "web", "street0", "192.168.10", "fd00:10", 11)
	g := w.Guest(t, "app")
	g.Run(t, "ip link set eth0 address "+app.Mac)
	g.Attach(t, "street0")
	l, err := g.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	echoOn(t, g.Namespace)
	// It answers, as it may begin to talk to nobody.
	reaches := func(want bool) error {
		if got := talks(t, web.Namespace, "tcp", l.Address.Addr().String(), 7000); got != want {
			return fmt.Errorf("web reaches it = %t", got)
		}
		return nil
	}
	nettest.Eventually(t, "with its lease it is app", func() error { return reaches(true) })
	d.Ctl(t, "lease", "release", "street", l.Address.Addr().String())
	nettest.Eventually(t, "without it is nobody", func() error { return reaches(false) })
}

// On a bridge of the host's own the rules are about vnetd's ports, and about nothing else.
func TestRulesOnABridgeOfTheHost(t *testing.T) {
	nettest.Need(t, "ping")
	w := nettest.New(t)
	w.Host.Bridge(t, "br0", "192.168.88.1/24")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, "{name: office, mode: bridge, bridge: {name: br0}, filter: {in: drop, rules: [{direction: in, action: accept, protocol: tcp, ports: [7000]}]}}",
		"network", "create", "-f", "-")
	p := createPort(t, d, "office", "--link", "app0")
	g, other := w.Guest(t, "app"), w.Guest(t, "other")
	plug(t, w.Host, p, g, "ip addr add 192.168.88.5/24 dev vnic")
	echoOn(t, g.Namespace)
	w.Host.Enslave(t, other.Port, "br0")
	other.Run(t, "ip addr add 192.168.88.6/24 dev eth0")
	echoOn(t, other.Namespace)
	awaitRule(t, w, "app0")
	try(t, "the port", []attempt{
		{other.Namespace, "tcp", "192.168.88.5", 7000, true},
		{other.Namespace, "tcp", "192.168.88.5", 7001, false},
		{w.Host, "icmp", "192.168.88.5", 0, false},
		{g.Namespace, "tcp", "192.168.88.6", 7001, true},
		{g.Namespace, "icmp", "192.168.88.1", 0, true},
		{w.Host, "icmp", "192.168.88.6", 0, true},
	})
	refused(t, d, "{name: lan, mode: direct, direct: {uplinks: [up0]}, filter: {in: drop}}", 1,
		[]string{"network", "create", "-f", "-"}, "filter: has no bridge to work on in mode direct")
}

// What a port's filter says changes while its guest talks, and goes as it came.
func TestPortRulesChangeLive(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, street, "network", "create", "-f", "-")
	p := createPort(t, d, "street", "--guest", "app", "--address", "192.168.10.50", "--link", "app0")
	g := w.Guest(t, "app")
	plug(t, w.Host, p, g, "ip addr add 192.168.10.50/24 dev vnic")
	echoOn(t, g.Namespace)
	at := func(port int, comes bool) attempt { return attempt{w.Host, "tcp", "192.168.10.50", port, comes} }
	try(t, "without a filter", []attempt{at(7000, true), at(7001, true)})
	says(t, "port set", d.Ctl(t, "port", "set", "app0", "filter={in: drop, rules: [{direction: in, action: accept, protocol: tcp, ports: [7000]}]}"), "changed")
	try(t, "with a filter", []attempt{at(7000, true), at(7001, false)})
	says(t, "port set", d.Ctl(t, "port", "set", "app0", "filter.rules[0].ports=[7001]"), "changed")
	try(t, "with another", []attempt{at(7000, false), at(7001, true)})
	refused(t, d, "", 1, []string{"port", "set", "app0", "filter.rules[0].remote=nobody"}, "filter.rules[0].remote")
	refused(t, d, "", 1, []string{"port", "set", "app0", "filter.in=never"}, "filter.in")
	try(t, "after what was refused", []attempt{at(7000, false), at(7001, true)})
	says(t, "port set", d.Ctl(t, "port", "set", "app0", "filter="), "changed")
	try(t, "without a filter again", []attempt{at(7000, true), at(7001, true)})
}

// A guest that begins connections without end fills nothing that others need, and is
// heard again when it is calm.
func TestRulesBoundAFlood(t *testing.T) {
	h := newNeighbourhood(t, "filter: {in: drop}\n")
	u, err := h.web.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	began := time.Now()
	for port := range 6000 {
		if _, err := u.WriteTo([]byte("new"), &net.UDPAddr{IP: net.IPv4(203, 0, 113, 1), Port: 20000 + port}); err != nil {
			t.Fatal(err)
		}
	}
	dialTCP(t, h.db.Namespace, "203.0.113.1:7").works("another guest's, beside a flood")
	dropped, remembered := 0, 0
	for line := range strings.Lines(h.w.Host.Run(t, "nft list table bridge vnetd")) {
		if n := 0; strings.Contains(line, "too many new connections") && strings.Contains(line, "counter packets") {
			_, _ = fmt.Sscanf(line[strings.Index(line, "counter packets"):], "counter packets %d", &n)
			dropped += n
		}
		remembered += strings.Count(line, "203.0.113.1")
	}
	// A thousand at first, and a hundred a second; the other guest's is one.
	if most := 1001 + int(100*time.Since(began).Seconds()); dropped == 0 || remembered < 900 || remembered > most {
		t.Errorf("of 6000 new connections %d were dropped, and %d are remembered, want at most %d", dropped, remembered, most)
	}
	nettest.Eventually(t, "the guest is heard again", func() error {
		if !talks(t, h.web.Namespace, "tcp", "203.0.113.1", 7) {
			return errors.New("no connection")
		}
		return nil
	})
}
