package daemon_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// shop has guests with fixed addresses, which its records name.
const shop = `
name: shop
mode: nat
bridge: {name: shop0}
subnets: [{address: 192.168.10.1/24}, {address: "fd00:10::1/64"}]
dns:
  domain: shop.test
  records:
    - {name: web, type: A, value: 192.168.10.80}
    - {name: web, type: AAAA, value: "fd00:10::80"}
    - {name: db, type: A, value: 192.168.10.90}
    - {name: db, type: AAAA, value: "fd00:10::90"}
`

// clerk tells each who calls at a port what it is called, and who calls; a TCP
// connection says so again for each line.
func clerk(t *testing.T, ns *nettest.Namespace, name string, port int) {
	t.Helper()
	l, err := ns.Listen("tcp", fmt.Sprint(":", port))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ns.ListenPacket("udp", fmt.Sprint(":", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); p.Close() })
	line := func(a net.Addr) []byte {
		at := netip.MustParseAddrPort(a.String()).Addr().Unmap()
		return fmt.Appendf(nil, "%s %s\n", name, at)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 64)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					_, _ = c.Write(line(c.RemoteAddr()))
				}
			}()
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			_, peer, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(line(peer), peer)
		}
	}()
}

// call asks who is there; an error is an answer, too.
func call(ns *nettest.Namespace, network, to string) string {
	ctx, cancel := context.WithTimeout(context.Background(), nettest.Patience)
	defer cancel()
	c, err := ns.DialContext(ctx, network, to)
	if err != nil {
		return "no: " + err.Error()
	}
	defer c.Close()
	return ask(c, 2*time.Second)
}

func ask(c net.Conn, patience time.Duration) string {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("who\n")); err != nil {
		return "no: " + err.Error()
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil && err != io.EOF {
		return "no: " + err.Error()
	}
	return strings.TrimSpace(string(buf[:n]))
}

// stall is a guest of the shop, at .N of both families.
func stall(t *testing.T, w *nettest.World, name string, n int) *nettest.Guest {
	t.Helper()
	g := w.Guest(t, name)
	g.Sysctl(t, "net/ipv6/conf/eth0/accept_ra", "0")
	g.Attach(t, "shop0")
	g.Address(t, "eth0", fmt.Sprintf("192.168.10.%d/24", n), fmt.Sprintf("fd00:10::%d/64", n))
	g.Route(t, "0.0.0.0/0", "192.168.10.1", 0)
	g.Route(t, "::/0", "fd00:10::1", 0)
	clerk(t, g.Namespace, name, 80)
	return g
}

func bridgeNetfilter(t *testing.T, ns *nettest.Namespace, value string) {
	t.Helper()
	ns.Sysctl(t, "net/bridge/bridge-nf-call-iptables", value)
	ns.Sysctl(t, "net/bridge/bridge-nf-call-ip6tables", value)
}

// A published port is reached from everywhere, over both protocols and families,
// whether the host's bridges call netfilter or not, and who calls is seen.
func TestForwardIsReached(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, shop, "network", "create", "-f", "-")
	web, db := stall(t, w, "web", 80), stall(t, w, "db", 90)
	d.Ctl(t, "forward", "add", "shop", "tcp/8080", "web:80")
	d.Ctl(t, "forward", "add", "shop", "udp/8080", "web:80")
	for _, sw := range []string{"1", "0"} {
		bridgeNetfilter(t, w.Host, sw)
		var calls sync.WaitGroup
		for _, from := range []struct {
			who    string
			ns     *nettest.Namespace
			to     string
			caller string
		}{
			{"outside", w.Internet.Namespace, "203.0.113.2", "203.0.113.1"},
			{"outside", w.Internet.Namespace, "2001:db8:ff::2", "2001:db8:ff::1"},
			{"the host", w.Host, "203.0.113.2", "203.0.113.2"},
			{"the host", w.Host, "2001:db8:ff::2", "2001:db8:ff::2"},
			{"the host's loopback", w.Host, "127.0.0.1", "192.168.10.1"},
			{"the host's loopback", w.Host, "::1", "fd00:10::1"},
			{"the neighbour", db.Namespace, "203.0.113.2", "192.168.10.1"},
			{"the neighbour", db.Namespace, "192.168.10.1", "192.168.10.1"},
			{"the neighbour", db.Namespace, "2001:db8:ff::2", "fd00:10::1"},
			{"the guest itself", web.Namespace, "203.0.113.2", "192.168.10.1"},
			{"the guest itself", web.Namespace, "192.168.10.1", "192.168.10.1"},
			{"the guest itself", web.Namespace, "2001:db8:ff::2", "fd00:10::1"},
		} {
			for _, network := range []string{"tcp", "udp"} {
				calls.Go(func() {
					if got := call(from.ns, network, net.JoinHostPort(from.to, "8080")); got != "web "+from.caller {
						t.Errorf("br_netfilter %s: %s calls %s by %s: got %q, want web %s", sw, from.who, from.to, network, got, from.caller)
					}
				})
			}
		}
		calls.Wait()
	}
	if got := call(w.Internet.Namespace, "tcp", "203.0.113.2:8081"); !strings.Contains(got, "refused") {
		t.Errorf("a port beside: %s", got)
	}
}

// forwardsListed returns what forward list says, a line each.
func forwardsListed(t *testing.T, d *nettest.Daemon) string {
	t.Helper()
	var list []struct {
		Network, State string
		Targets        []string
		Forward        struct{ Listen, To, Address string }
	}
	out := d.Ctl(t, "-o", "json", "forward", "list")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []string
	for _, f := range list {
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(f.Network, f.Forward.Listen, f.Forward.To, f.State, f.Targets)))
	}
	return strings.Join(lines, "\n")
}

// shopWorld has the shop with its two guests.
func shopWorld(t *testing.T) (w *nettest.World, d *nettest.Daemon, web, db *nettest.Guest) {
	t.Helper()
	w = nettest.New(t)
	d = w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, shop, "network", "create", "-f", "-")
	return w, d, stall(t, w, "web", 80), stall(t, w, "db", 90)
}

// wantCall has the answer to a call become what is wanted.
func wantCall(t *testing.T, ns *nettest.Namespace, network, to, want, when string) {
	t.Helper()
	got := call(ns, network, to)
	if got != want && !(want == "" && strings.HasPrefix(got, "no: ")) {
		t.Errorf("%s: %s calls %s by %s: got %q, want %q", when, ns.Name, to, network, got, want)
	}
}

// A forward waits for its guest's name, follows it to another address, and ends
// what was connected to the old one, while others go on.
func TestForwardFollowsItsGuest(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := labWorld(t)
	outside := w.Internet.Namespace
	d.Ctl(t, "forward", "add", "lab", "udp/8080", "web:80", "--allow-dhcp-name")
	d.Ctl(t, "forward", "add", "lab", "tcp/9090", "other:80", "--allow-dhcp-name")
	if got := forwardsListed(t, d); got != "lab udp/8080 web:80 waiting []\nlab tcp/9090 other:80 waiting []" {
		t.Errorf("list says\n%s", got)
	}
	join := func(name, hostname string) (*nettest.Guest, nettest.Client, string) {
		g := w.Guest(t, name)
		g.Attach(t, "lab0")
		c := g.Udhcpc(t, nettest.ClientConfig{Hostname: hostname})
		l, err := c.Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		clerk(t, g.Namespace, name, 80)
		return g, c, l.Address.Addr().String()
	}
	flow, err := outside.Dial("udp", "203.0.113.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	become := func(want string) {
		t.Helper()
		nettest.Eventually(t, "the flow reaches "+want, func() error {
			if got := ask(flow, 200*time.Millisecond); got != want {
				return fmt.Errorf("got %q", got)
			}
			return nil
		})
	}
	_, client, at := join("first", "web")
	become("first 203.0.113.1")
	_, _, _ = join("third", "other")
	nettest.Eventually(t, "the other forward is active", func() error {
		if got := call(outside, "tcp", "203.0.113.2:9090"); got != "third 203.0.113.1" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	other, err := outside.Dial("tcp", "203.0.113.2:9090")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := client.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the forward waits", func() error {
		if got := forwardsListed(t, d); !strings.Contains(got, "web:80 waiting") {
			return fmt.Errorf("list says %s", got)
		}
		return nil
	})
	_, _, now := join("second", "web")
	if now == at {
		t.Fatalf("the second guest has the first one's address %s", at)
	}
	become("second 203.0.113.1")
	if got := ask(other, nettest.Patience); got != "third 203.0.113.1" {
		t.Errorf("the connection of another forward: %s", got)
	}
	if got := forwardsListed(t, d); !strings.Contains(got, "web:80 active ["+now+"]") {
		t.Errorf("list says %s", got)
	}
	says(t, "graph", d.Ctl(t, "graph"), "─ web "+now+" vnet", "published udp/8080 to web:80", "published tcp/9090 to other:80")
}

// An edit ends the connections of what it takes away, and of nothing else; a
// killed daemon ends none, and finds its forwards again.
func TestForwardsLiveOn(t *testing.T) {
	w, d, _, _ := shopWorld(t)
	outside := w.Internet.Namespace
	d.Ctl(t, "forward", "add", "shop", "tcp/8080", "web:80")
	d.Ctl(t, "forward", "add", "shop", "tcp/8090", "db:80")
	d.Ctl(t, "forward", "add", "shop", "udp/8080", "web:80")
	dial := func(network, to string) net.Conn {
		c, err := outside.Dial(network, to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	web, db, udp := dial("tcp", "203.0.113.2:8080"), dial("tcp", "203.0.113.2:8090"), dial("udp", "203.0.113.2:8080")
	answers := func(c net.Conn, want, when string) {
		t.Helper()
		if got := ask(c, nettest.Patience); got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	answers(web, "web 203.0.113.1", "at first")
	answers(db, "db 203.0.113.1", "at first")
	answers(udp, "web 203.0.113.1", "at first")
	rules := w.Host.Run(t, "nft -s list table inet vnetd")
	d.Kill()
	answers(web, "web 203.0.113.1", "without a daemon")
	d.Start()
	answers(web, "web 203.0.113.1", "after a kill")
	answers(udp, "web 203.0.113.1", "after a kill")
	wantCall(t, w.Host, "tcp", "127.0.0.1:8080", "web 192.168.10.1", "after a kill")
	if got := w.Host.Run(t, "nft -s list table inet vnetd"); got != rules {
		t.Errorf("rules after a kill\n%s\nwere\n%s", got, rules)
	}
	if out := d.Ctl(t, "forward", "delete", "shop", "tcp/8080"); out != "forward tcp/8080 to web:80 deleted\n" {
		t.Errorf("delete said %q", out)
	}
	if got := ask(web, 2*time.Second); !strings.HasPrefix(got, "no: ") {
		t.Errorf("a connection of a deleted forward: %s", got)
	}
	answers(db, "db 203.0.113.1", "after a delete")
	wantCall(t, outside, "tcp", "203.0.113.2:8080", "", "after a delete")
	wantCall(t, w.Host, "tcp", "127.0.0.1:8080", "", "after a delete")
	d.Ctl(t, "forward", "delete", "shop", "udp/8080")
	d.Ctl(t, "forward", "add", "shop", "udp/8080", "db:80")
	answers(udp, "db 203.0.113.1", "led elsewhere")
	if got := w.Host.Run(t, "nft list map inet vnetd published_any4"); !strings.Contains(got, "udp . 8080") || strings.Contains(got, "tcp . 8080") {
		t.Errorf("the map is %s", got)
	}
	d.Ctl(t, "network", "stop", "shop")
	if got := ask(db, 2*time.Second); !strings.HasPrefix(got, "no: ") {
		t.Errorf("a connection to a stopped network: %s", got)
	}
	if got := forwardsListed(t, d); !strings.Contains(got, "db:80 stopped") {
		t.Errorf("list says %s", got)
	}
}

// What has a port already keeps it, and is named.
func TestForwardsRefused(t *testing.T) {
	w, d, _, _ := shopWorld(t)
	for _, at := range []string{"0.0.0.0:8080", "203.0.113.2:7000"} {
		l, err := w.Host.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	p, err := w.Host.ListenPacket("udp", "[::]:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d.Ctl(t, "forward", "add", "shop", "udp/8080", "web:80")
	d.Ctl(t, "forward", "add", "shop", "tcp/7000", "web:80", "--address", "2001:db8:ff::2")
	add := func(words ...string) []string { return append([]string{"forward", "add", "shop"}, words...) }
	for _, c := range []struct {
		words []string
		says  string
	}{
		{add("tcp/8080", "web:80"), "forwards[2].listen: tcp/8080 is in use on this host by daemon.test (pid "},
		{add("tcp/8000-8100", "web:8000-8100"), "tcp/8080 is in use on this host by daemon.test"},
		{add("tcp/8080", "web:80", "--address", "203.0.113.2"), "tcp/8080 is in use on this host by daemon.test"},
		{add("tcp/7000", "web:80", "--address", "203.0.113.2"), "tcp/7000 is in use on this host by daemon.test"},
		{add("udp/9000", "web:80", "--address", "203.0.113.2"), "udp/9000 is in use on this host by daemon.test"},
		{add("udp/53", "web:53"), "udp/53 is in use on this host by vnetd"},
		{add("tcp/7000", "web:80"), "forwards[2].listen: tcp/7000 meets tcp/7000 of forwards[1]"},
		{add("tcp/9", "web:x"), `forwards[2].to: "x" is not a port or a range of ports`},
		{add("tcp/9", "192.168.99.1:9"), "192.168.99.1 is no address of a guest"},
		{add("tcp/9", "192.168.10.1:9"), "192.168.10.1 is no address of a guest"},
		{add("tcp/9-10", "web:9-11"), "has 3 ports for 2 of the host; give as many"},
		{add("icmp/9", "web"), `"icmp" is not tcp, udp or sctp`},
		{add("tcp/9", "web", "--address", "nonsense"), `forwards[2].address: "nonsense" is not an IP address`},
		{add("tcp/9", "192.168.10.80", "--address", "2001:db8:ff::2"), "are of two families"},
	} {
		refused(t, d, "", 1, c.words, c.says)
	}
	refused(t, d, "", 3, []string{"forward", "delete", "shop", "tcp/8080"}, "network shop has no forward tcp/8080; `vnetctl forward list shop` has them")
	d.CtlInput(t, "{name: b, mode: nat, bridge: {name: b0}, subnets: [{address: 192.168.20.1/24}]}", "network", "create", "-f", "-")
	refused(t, d, "", 1, []string{"forward", "add", "b", "udp/8080", "192.168.20.5"}, "udp/8080 meets udp/8080, which network shop publishes to web:80")
	refused(t, d, "{name: c, mode: isolated, forwards: [{listen: tcp/1, to: x}]}", 1, []string{"network", "create", "-f", "-"}, "forwards: are for modes nat and route; this network's mode is isolated")
	// What vnetd itself has published is in nobody's way.
	d.Ctl(t, "network", "set", "shop", "dns.domain=store.test")
}

// A forward on one address of the host is on no other, ranges lead port by port,
// and other networks come in as the outside does, where their own rules let them.
func TestForwardsByAddressAndRange(t *testing.T) {
	w, d, web, db := shopWorld(t)
	outside := w.Internet.Namespace
	// With it on, the kernel sends a refusal past its own translation
	// (net/ipv4/netfilter/nf_reject_ipv4.c), and callers wait in vain.
	bridgeNetfilter(t, w.Host, "0")
	w.Host.Address(t, "up0", "203.0.113.3/24")
	clerk(t, web.Namespace, "web81", 81)
	d.CtlInput(t, "{name: lan, mode: nat, bridge: {name: lan0}, subnets: [{address: 192.168.20.1/24}]}", "network", "create", "-f", "-")
	d.CtlInput(t, "{name: cell, mode: isolated, bridge: {name: cell0}, subnets: [{address: 192.168.30.1/24}]}", "network", "create", "-f", "-")
	join := func(name, bridge, subnet string) *nettest.Namespace {
		g := w.Guest(t, name)
		g.Attach(t, bridge)
		g.Address(t, "eth0", subnet+".5/24")
		g.Route(t, "0.0.0.0/0", subnet+".1", 0)
		return g.Namespace
	}
	lan, cell := join("lan", "lan0", "192.168.20"), join("cell", "cell0", "192.168.30")
	d.Ctl(t, "forward", "add", "shop", "tcp/8080-8081", "web:80-81", "--address", "203.0.113.2")
	d.Ctl(t, "forward", "add", "shop", "tcp/8080-8081", "192.168.10.90:80-81", "--address", "203.0.113.3")
	d.Ctl(t, "forward", "add", "shop", "udp/8080", "web:80", "--address", "127.0.0.1")
	for _, c := range []struct {
		from              *nettest.Namespace
		network, to, want string
	}{
		{outside, "tcp", "203.0.113.2:8080", "web 203.0.113.1"},
		{outside, "tcp", "203.0.113.2:8081", "web81 203.0.113.1"},
		{outside, "tcp", "203.0.113.3:8080", "db 203.0.113.1"},
		{outside, "tcp", "[2001:db8:ff::2]:8080", ""},
		{outside, "udp", "203.0.113.2:8080", ""},
		{w.Host, "tcp", "203.0.113.2:8080", "web 203.0.113.2"},
		{w.Host, "tcp", "127.0.0.1:8080", ""},
		{w.Host, "udp", "127.0.0.1:8080", "web 192.168.10.1"},
		{w.Host, "udp", "[::1]:8080", ""},
		{db.Namespace, "tcp", "203.0.113.2:8080", "web 192.168.10.1"},
		{db.Namespace, "tcp", "203.0.113.3:8080", "db 192.168.10.1"},
		{web.Namespace, "tcp", "203.0.113.2:8081", "web81 192.168.10.1"},
		{lan, "tcp", "203.0.113.2:8080", "web 192.168.20.5"},
		{cell, "tcp", "203.0.113.2:8080", ""},
	} {
		wantCall(t, c.from, c.network, c.to, c.want, "by address")
	}
	// Pinned, it is published by its uplink only.
	second := nettest.NewInternet(t, "internet2")
	second.Connect(t, w.Host, nettest.Uplink{Name: "up1", Metric: 5000, Gateway: []string{"198.51.100.1/24"}, Address: []string{"198.51.100.2/24"}})
	d.Ctl(t, "forward", "add", "shop", "tcp/9000", "web:80")
	wantCall(t, second.Namespace, "tcp", "198.51.100.2:9000", "web 198.51.100.1", "by any link")
	d.Ctl(t, "network", "set", "shop", "uplinks=[up0]")
	wantCall(t, second.Namespace, "tcp", "198.51.100.2:9000", "", "pinned to the other link")
	wantCall(t, outside, "tcp", "203.0.113.2:9000", "web 203.0.113.1", "pinned")
	wantCall(t, lan, "tcp", "203.0.113.2:9000", "", "pinned")
}

// A forward with callers is closed for others, on all addresses or one, in both
// families; who may call no more is cut off.
func TestForwardFrom(t *testing.T) {
	w, d, web, db := shopWorld(t)
	bridgeNetfilter(t, w.Host, "0")
	outside := w.Internet.Namespace
	outside.Address(t, "host0", "203.0.113.77/24")
	d.Ctl(t, "forward", "add", "shop", "tcp/8080", "web:80", "--from", "203.0.113.0/28", "--from", "192.168.10.90", "--from", "2001:db8:ff::/64")
	d.Ctl(t, "forward", "add", "shop", "tcp/8090-8091", "web:80-81", "--address", "203.0.113.2", "--from", "198.51.100.0/24", "--from", "203.0.113.77")
	says(t, "network show", d.Ctl(t, "network", "show", "shop"), "203.0.113.0/28", "192.168.10.90", "2001:db8:ff::/64")
	for _, c := range []struct {
		from              *nettest.Namespace
		network, to, want string
	}{
		{outside, "tcp", "203.0.113.2:8080", "web 203.0.113.1"},
		{outside, "tcp", "[2001:db8:ff::2]:8080", "web 2001:db8:ff::1"},
		{outside, "tcp", "203.0.113.2:8090", ""},
		{w.Host, "tcp", "127.0.0.1:8080", "web 192.168.10.1"},
		{w.Host, "tcp", "203.0.113.2:8080", "web 203.0.113.2"},
		{w.Host, "tcp", "203.0.113.2:8090", ""},
		{db.Namespace, "tcp", "203.0.113.2:8080", "web 192.168.10.1"},
		{web.Namespace, "tcp", "203.0.113.2:8080", ""},
	} {
		wantCall(t, c.from, c.network, c.to, c.want, "by source")
	}
	c, err := outside.Dial("tcp", "203.0.113.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := ask(c, nettest.Patience); got != "web 203.0.113.1" {
		t.Errorf("a connection: %s", got)
	}
	d.Ctl(t, "network", "set", "shop", "forwards[0].from=[203.0.113.77]")
	if got := ask(c, 2*time.Second); !strings.HasPrefix(got, "no: ") {
		t.Errorf("a connection of one who may call no more: %s", got)
	}
	wantCall(t, outside, "tcp", "203.0.113.2:8080", "", "no more")
	outside.Run(t, "ip -4 addr flush dev host0; ip addr add 203.0.113.77/24 dev host0; ip addr add 203.0.113.1/24 dev host0")
	wantCall(t, outside, "tcp", "203.0.113.2:8080", "web 203.0.113.77", "another")
	wantCall(t, outside, "tcp", "203.0.113.2:8090", "web 203.0.113.77", "another")
	for _, c := range [][]string{
		{"203.0.113.1/24", "forwards[2].from[0]: 203.0.113.1/24 has host bits set; did you mean 203.0.113.0/24?"},
		{"home", `forwards[2].from[0]: "home" is not an address or a prefix`},
	} {
		refused(t, d, "", 1, []string{"forward", "add", "shop", "tcp/9000", "web:80", "--from", c[0]}, c[1])
	}
	refused(t, d, "", 1, []string{"forward", "add", "shop", "tcp/9000", "web:80", "--address", "203.0.113.2", "--from", "2001:db8::/32"}, "are of two families, so that no address in it can be a source")
	refused(t, d, "", 1, []string{"forward", "add", "shop", "tcp/9000", "web:80", "--address", "127.0.0.1", "--from", "192.0.2.1"}, "only those reach 127.0.0.1")
}

// sctpInit is the first packet of an SCTP association (RFC 9260 section 3.3.2),
// with its checksum, and sctpInitAck the answer.
func sctpInit(from, to uint16) []byte    { return sctpPacket(from, to, 1, 0) }
func sctpInitAck(from, to uint16) []byte { return sctpPacket(from, to, 2, 1) }

func sctpPacket(from, to uint16, chunk, tag byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, 0, 0, 0, tag, 0, 0, 0, 0) // the checksum
	b = append(b, chunk, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// SCTP, by a raw packet, for this kernel need not have sockets of it.
func TestForwardSCTP(t *testing.T) {
	w, d, web, db := shopWorld(t)
	d.Ctl(t, "forward", "add", "shop", "sctp/3868", "web:3000")
	ear, err := web.ListenPacket("ip4:132", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	for i, c := range []struct {
		from   *nettest.Namespace
		caller string
	}{{w.Internet.Namespace, "203.0.113.1"}, {w.Host, "203.0.113.2"}, {db.Namespace, "192.168.10.1"}} {
		mouth, err := c.from.ListenPacket("ip4:132", "0.0.0.0")
		if err != nil {
			t.Fatal(err)
		}
		defer mouth.Close()
		if _, err := mouth.WriteTo(sctpInit(uint16(4000+i), 3868), &net.IPAddr{IP: net.IPv4(203, 0, 113, 2)}); err != nil {
			t.Fatal(err)
		}
		_ = ear.SetReadDeadline(time.Now().Add(nettest.Patience))
		buf := make([]byte, 128)
		n, peer, err := ear.ReadFrom(buf)
		if err != nil {
			t.Fatalf("from %s: %v", c.caller, err)
		}
		if port := binary.BigEndian.Uint16(buf[2:]); n != 32 || port != 3000 || peer.String() != c.caller {
			t.Errorf("from %s: %d bytes from %s to port %d", c.caller, n, peer, port)
		}
		if _, err := ear.WriteTo(sctpInitAck(3000, uint16(4000+i)), peer); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Host.Run(t, "nft list map inet vnetd proxied_any4"); strings.Contains(got, "sctp") {
		t.Errorf("nobody is the proxy for %s", got)
	}
	// An association ends with its forward: its next packet does not arrive, and the one of
	// a neighbour behind it does.
	d.Ctl(t, "forward", "delete", "shop", "sctp/3868")
	for _, c := range []struct {
		from *nettest.Namespace
		port uint16
		to   string
	}{{w.Internet.Namespace, 4000, "203.0.113.2"}, {db.Namespace, 4100, "192.168.10.80"}} {
		mouth, err := c.from.ListenPacket("ip4:132", "0.0.0.0")
		if err != nil {
			t.Fatal(err)
		}
		defer mouth.Close()
		if _, err := mouth.WriteTo(sctpInit(c.port, 3868), &net.IPAddr{IP: net.ParseIP(c.to)}); err != nil {
			t.Fatal(err)
		}
	}
	_ = ear.SetReadDeadline(time.Now().Add(nettest.Patience))
	buf := make([]byte, 128)
	if _, peer, err := ear.ReadFrom(buf); err != nil || binary.BigEndian.Uint16(buf) != 4100 {
		t.Errorf("without its forward, the association's next packet arrives from %v (%v)", peer, err)
	}
}

// The networks of the guide stand as they are printed.
func TestForwardsGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/forwards.md")
	if err != nil {
		t.Fatal(err)
	}
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	blocks := strings.Split(string(guide), "```yaml\n")[1:]
	for _, b := range blocks {
		text, _, _ := strings.Cut(b, "```")
		d.CtlInput(t, text, "network", "create", "-f", "-")
	}
	if got := forwardsListed(t, d); strings.Count(got, "\n") < 4 || strings.Contains(got, "stopped") {
		t.Errorf("of %d networks, list says\n%s", len(blocks), got)
	}
}
