package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
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
				if got := call(from.ns, network, net.JoinHostPort(from.to, "8080")); got != "web "+from.caller {
					t.Errorf("br_netfilter %s: %s calls %s by %s: got %q, want web %s", sw, from.who, from.to, network, got, from.caller)
				}
			}
		}
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
