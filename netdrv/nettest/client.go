package nettest

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// A Client is a real DHCP client on a guest's eth0. Its methods give up when
// ctx ends, or after [Patience] if ctx has no deadline. What they return is
// the client's own view: what it told its script, or wrote to its lease file.
// The guest's address, routes and resolv.conf are set by the client, with the
// scripts that Debian ships for it. It ends with the test, without a word to
// the server.
type Client interface {
	// Lease starts the client and waits until it is bound.
	Lease(ctx context.Context) (Lease, error)

	// Renew makes a bound client ask for more time, from the server that it
	// has the lease of (RENEWING in RFC 2131). A refusal is an error.
	Renew(ctx context.Context) (Lease, error)

	// Reboot ends a bound client without a RELEASE and starts it again:
	// dhclient and dhcpcd remember their lease and ask for it (INIT-REBOOT);
	// udhcpc is told to name its last address in a new DISCOVER; networkd
	// (as of 252) sends a DISCOVER as if it were new.
	Reboot(ctx context.Context) (Lease, error)

	// Release gives the lease back and ends the client. The RELEASE of
	// networkd (as of 252) lacks the server identifier, so that a strict
	// server ignores it.
	Release(ctx context.Context) error
}

// ClientConfig is what may be asked of any client.
type ClientConfig struct {
	Hostname string // sent to the server; default: the guest's name
	Probe    bool   // dhcpcd: ask by ARP whether the address is free, which takes it five seconds
}

// Clients are the four, by name, for tests that try all.
var Clients = []struct {
	Name     string
	Programs []string // for Need
	New      func(*Guest, testing.TB, ClientConfig) Client
}{
	{"udhcpc", []string{"udhcpc", "busybox"}, (*Guest).Udhcpc},
	{"dhclient", []string{"dhclient"}, (*Guest).Dhclient},
	{"dhcpcd", []string{"dhcpcd"}, (*Guest).Dhcpcd},
	{"networkd", []string{"systemd-networkd", "networkctl", "dbus-daemon"}, (*Guest).Networkd},
}

// scripted is what the clients with scripts have in common: the script reports
// to the client's standard output, and the reports are counted.
type scripted struct {
	t     testing.TB
	guest *Guest
	cfg   ClientConfig
	keys  keys
	p     *Process
	seen  int // reports that were dealt with
}

func newScripted(g *Guest, t testing.TB, cfg ClientConfig, k keys) scripted {
	if cfg.Hostname == "" {
		cfg.Hostname = g.Name
	}
	return scripted{t: t, guest: g, cfg: cfg, keys: k}
}

// start starts the client, instead of one that may still run.
func (s *scripted) start(name string, args ...string) {
	if s.p != nil {
		s.p.Kill()
	}
	s.p, s.seen = s.guest.Start(s.t, name, args...), 0
}

// skip forgets the reports that there are.
func (s *scripted) skip() { s.seen = len(parseReports(s.p.Output())) }

// await waits for the next report of one of the good events. A bad one before
// it is an error.
func (s *scripted) await(ctx context.Context, good, bad []string) (report, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var found report
	err := s.p.out.wait(ctx, s.p.ended, func(text string) bool {
		reports := parseReports(text)
		i := slices.IndexFunc(reports[min(s.seen, len(reports)):], func(r report) bool {
			return slices.Contains(good, r.event) || slices.Contains(bad, r.event)
		})
		if i < 0 {
			return false
		}
		found = reports[s.seen+i]
		s.seen += i + 1
		return true
	})
	switch {
	case err != nil:
		return report{}, fmt.Errorf("%s: wait for %v: %w", s.p.Name, good, err)
	case slices.Contains(bad, found.event):
		return report{}, fmt.Errorf("%s: %s", s.p.Name, found.event)
	}
	return found, nil
}

// bound waits for a lease.
func (s *scripted) bound(ctx context.Context, good, bad []string) (Lease, error) {
	r, err := s.await(ctx, good, bad)
	if err != nil {
		return Lease{}, err
	}
	return s.keys.lease(r.vars)
}

func (s *scripted) running() error {
	if s.p == nil {
		return fmt.Errorf("%s: no DHCP client runs", s.guest.Name)
	}
	return nil
}
