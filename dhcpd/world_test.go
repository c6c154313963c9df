package dhcpd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// link is a bridge br0 of a host, and a server in it.
type link struct {
	*nettest.World
	server *dhcpd.Server
	leases *lease.Table
	stop   func() // ends Run, as the daemon's end does
}

func newLink(t *testing.T) *link {
	t.Helper()
	disk := make(chan struct{})
	close(disk)
	return newLinkWithDisk(t, disk)
}

// newLinkWithDisk stores no lease before disk is closed.
func newLinkWithDisk(t *testing.T, disk <-chan struct{}) *link {
	t.Helper()
	w := nettest.New(t)
	w.Host.Bridge(t, "br0", "fd00:10::1/64")
	// As vnetd's bridges: one link-local address, which needs no neighbours.
	w.Host.Run(t, "ip link set br0 address 02:00:00:00:ff:01; ip -6 addr flush dev br0 scope link")
	w.Host.Address(t, "br0", "fe80::1/64")
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	leases := lease.Open(t.TempDir(), log)
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{World: w, leases: leases, server: dhcpd.New(leases, log)}
	done := make(chan error, 2)
	go func() {
		select {
		case <-disk:
		case <-ctx.Done():
		}
		done <- leases.Run(ctx)
	}()
	go func() { done <- l.server.Run(ctx) }()
	ended := false
	l.stop = func() {
		cancel()
		for range 2 {
			if ended {
				return
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		ended = true
	}
	t.Cleanup(l.stop)
	return l
}

func (l *link) set(t *testing.T, cfg dhcpd.Config) {
	t.Helper()
	cfg.Network, cfg.Interface = "lab", "br0"
	if cfg.RA != nil {
		router := *cfg.RA // the caller goes on with its own
		cfg.RA = &router
	}
	if err := l.Host.Do(func() error { return l.server.Set(cfg) }); err != nil {
		t.Fatal(err)
	}
}

// guest is on the bridge, and has just come up.
func (l *link) guest(t *testing.T, name string) *nettest.Guest {
	t.Helper()
	g := l.Guest(t, name)
	g.Attach(t, "br0")
	g.Down(t, "eth0")
	g.Up(t, "eth0")
	return g
}

// sees waits until what a command prints has all of the wanted lines' words in
// one line.
func sees(t *testing.T, g *nettest.Guest, command string, wants ...string) {
	t.Helper()
	nettest.Eventually(t, g.Name+"# "+command, func() error {
		out, err := g.Try(t.Context(), command)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, want := range wants {
			if no, is := strings.CutPrefix(want, "!"); is {
				if hasLine(out, no) {
					return fmt.Errorf("%q is in\n%s", no, out)
				}
			} else if !hasLine(out, want) {
				return fmt.Errorf("no %q in\n%s", want, out)
			}
		}
		return nil
	})
}

// hasLine says whether a line has all the words.
func hasLine(text, words string) bool {
	for line := range strings.Lines(text) {
		all := true
		for word := range strings.FieldsSeq(words) {
			all = all && strings.Contains(line, word)
		}
		if all {
			return true
		}
	}
	return false
}

func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func slaac(s string) ra.Prefix { return ra.Prefix{Prefix: prefix(s), OnLink: true, Autonomous: true} }

// managed is a network with addresses by DHCPv6 only.
func managed() dhcpd.Config {
	return dhcpd.Config{
		RA: &ra.Config{
			Prefixes: []ra.Prefix{{Prefix: prefix("fd00:10::/64"), OnLink: true}}, Managed: true, Other: true,
		},
		V6: &v6.Config{
			Subnets: []v6.Subnet{{
				Server:    prefix("fd00:10::1/64"),
				Ranges:    []v6.Range{{Start: ip("fd00:10::1000"), End: ip("fd00:10::1fff")}},
				LeaseTime: 20 * time.Minute,
			}},
			DNS: []netip.Addr{ip("fd00:10::1")}, Search: []string{"lab.test"}, Domain: "lab.test",
		},
	}
}
