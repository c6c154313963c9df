package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// gaps measures how long a guest is cut off: it pings the internet fifty times a
// second, and the longest silence counts.
type gaps struct {
	t *testing.T
	p *nettest.Process
}

func startGaps(t *testing.T, g *nettest.Guest, target string) *gaps {
	t.Helper()
	nettest.Need(t, "ping")
	p := g.Start(t, "ping", "-D", "-i", "0.02", "-W", "1", target)
	if err := p.WaitFor(t.Context(), "bytes from"); err != nil {
		t.Fatal(err)
	}
	return &gaps{t, p}
}

// longest returns the longest time between two replies so far.
func (g *gaps) longest() time.Duration {
	var last, longest float64
	for line := range strings.SplitSeq(g.p.Output(), "\n") {
		var at float64
		if !strings.Contains(line, "bytes from") {
			continue
		}
		if _, err := fmt.Sscanf(line, "[%f]", &at); err != nil {
			continue
		}
		if last > 0 {
			longest = max(longest, at-last)
		}
		last = at
	}
	return time.Duration(longest * float64(time.Second))
}

// repaired waits for an event that tells of a repair with this text.
func repaired(t *testing.T, events *nettest.Process, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nettest.Patience)
	defer cancel()
	if err := events.WaitFor(ctx, text); err != nil {
		t.Errorf("no event says %q:\n%s", text, events.Output())
	}
}

// Whatever is broken is noticed and mended, and said, while a guest pings and
// downloads. The longest silence that it saw is printed; that each is short is what the notifications are for, so
// a look by the timer, a minute later, would show.
func TestItHeals(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft", "ping", "curl")
	for _, c := range []struct {
		name, breaks, event string
		mended              string // a command that succeeds when all is well again
	}{
		{"a deleted bridge", "ip link del lab0", "link lab0 was gone", "ip link show dev lab0 up | grep -q UP"},
		{"a removed address", "ip addr del 192.168.10.1/24 dev lab0", "address 192.168.10.1/24 was gone from lab0", "ip addr show dev lab0 | grep -q 192.168.10.1/24"},
		{"an added address", "ip addr add 10.9.9.9/24 dev lab0", "address 10.9.9.9/24 was on lab0", "! ip addr show dev lab0 | grep -q 10.9.9.9"},
		{"a bridge set down", "ip link set lab0 down", "link lab0 was down", "ip link show dev lab0 up | grep -q UP"},
		{"a guest thrown off", "ip link set $PORT nomaster", "was off lab0", "ip link show dev $PORT | grep -q 'master lab0'"},
		{"forwarding off", "sysctl -qw net.ipv4.ip_forward=0", "net/ipv4/ip_forward was not 1", "test $(cat /proc/sys/net/ipv4/ip_forward) = 1"},
		{"another MTU", "ip link set lab0 mtu 1300", "link lab0 was changed", "ip link show dev lab0 | grep -q 'mtu 1500'"},
		{"resolv.conf replaced", "echo 'nameserver 203.0.113.9' > /run/new; mv /run/new /etc/resolv.conf", "resolv.conf was replaced", "true"},
		{"rules flushed", "nft flush ruleset || true", "", "nft list table inet vnetd"},
		{"table deleted", "nft delete table inet vnetd || true", "", "nft list table inet vnetd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, d := labWorld(t)
			g, _ := guest(t, w, "web", "lab0")
			conn := dialEcho(t, g)
			conn.works("before")
			ping := startGaps(t, g, "203.0.113.1")
			download := g.Start(t, "curl", "-sS", "--limit-rate", "1M", "-o", "/run/download", "http://203.0.113.1/bytes/3000000")
			events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "--changes")
			if err := events.WaitFor(t.Context(), "synced"); err != nil {
				t.Fatal(err)
			}
			nettest.Eventually(t, "the guest's link is known", func() error { return known(t, d, g.Port) })
			w.Host.Run(t, strings.ReplaceAll(c.breaks, "$PORT", g.Port))
			if c.event != "" {
				repaired(t, events, c.event)
			}
			nettest.Eventually(t, "mended", func() error {
				_, err := w.Host.Try(t.Context(), strings.ReplaceAll(c.mended, "$PORT", g.Port))
				return err
			})
			g.Run(t, "ping -c 10 -i 0.2 203.0.113.1")
			conn.works("after")
			if err := download.Wait(t.Context()); err != nil {
				t.Errorf("the download broke: %v\n%s", err, download.Output())
			}
			g.Run(t, "test $(stat -c %s /run/download) = 3000000")
			t.Logf("%s: the guest was cut off for %s", c.name, ping.longest().Round(time.Millisecond))
			if longest := ping.longest(); longest > 10*time.Second {
				t.Errorf("cut off for %s: nobody was told", longest)
			}
		})
	}
}

// port is what `vnetctl port list -o json` says of one.
type port struct {
	Link, Network, Kind, Uplink, Mac string
	Index                            int
	Attached, Managed                bool
}

func known(t *testing.T, d *nettest.Daemon, link string) error {
	t.Helper()
	if all := ports(t, d, "lab"); !slices.ContainsFunc(all, func(p port) bool { return p.Link == link && p.Attached }) {
		return fmt.Errorf("%s is not among %+v", link, all)
	}
	return nil
}

func ports(t *testing.T, d *nettest.Daemon, network string) []port {
	t.Helper()
	var out []port
	if err := json.Unmarshal([]byte(d.Ctl(t, "port", "list", network, "-o", "json")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Stopping and starting a network unplugs no guest, also if the daemon is killed
// in between.
func TestStopAndStartPutGuestsBack(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := labWorld(t)
	a, _ := guest(t, w, "alpha", "lab0")
	b, _ := guest(t, w, "beta", "lab0")
	nettest.Eventually(t, "both are known", func() error {
		if got := ports(t, d, "lab"); len(got) != 2 || !got[0].Attached || !got[1].Attached {
			return fmt.Errorf("ports %+v", got)
		}
		return nil
	})
	refused(t, d, "", 1, []string{"network", "delete", "lab"}, "network lab has guests", a.Port, b.Port, "--force")

	d.Ctl(t, "network", "stop", "lab")
	if got := ports(t, d, "lab"); len(got) != 2 || got[0].Attached || got[1].Attached {
		t.Errorf("while stopped, ports are %+v", got)
	}
	d.Kill()
	d.Start()
	d.Ctl(t, "network", "start", "lab")
	for _, g := range []*nettest.Guest{a, b} {
		g.Run(t, "ping -c 1 -W 5 203.0.113.1")
	}
	d.Ctl(t, "port", "delete", a.Port)
	if got := ports(t, d, "lab"); len(got) != 1 || got[0].Link != b.Port {
		t.Errorf("after a port was deleted: %+v", got)
	}
	d.Ctl(t, "network", "delete", "--force", "lab")
	if got := w.Host.Run(t, "ip link show dev "+b.Port); strings.Contains(got, "master") {
		t.Errorf("the guest's link is %s", got)
	}
}

// A guest's link that an administrator moves to another bridge is his.
func TestGuestMovedElsewhereStays(t *testing.T) {
	w, d := labWorld(t)
	g := w.Guest(t, "web")
	g.Attach(t, "lab0")
	w.Host.Run(t, "ip link add mine type bridge")
	w.Host.Run(t, "ip link set "+g.Port+" master mine")
	nettest.Eventually(t, "it is not ours any more", func() error {
		if got := ports(t, d, "lab"); len(got) != 0 {
			return fmt.Errorf("ports %+v", got)
		}
		return nil
	})
	w.Host.Run(t, "ip link set "+g.Port+" nomaster")
	d.Ctl(t, "network", "stop", "lab")
	d.Ctl(t, "network", "start", "lab")
	if got := w.Host.Run(t, "ip link show dev "+g.Port); strings.Contains(got, "master") {
		t.Errorf("taken back: %s", got)
	}
}
