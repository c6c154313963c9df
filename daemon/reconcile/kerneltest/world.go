package kerneltest

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/proxy"
)

// Firewall records the rules that are applied.
type Firewall struct {
	mu      sync.Mutex
	rules   firewall.Ruleset
	applied int
	Found   string // returned by Repaired
	Err     error  // of Apply
	Treated map[string]netdrv.Treatment
}

// Apply implements reconcile.Firewall, as the methods below do.
func (f *Firewall) Apply(_ context.Context, want firewall.Ruleset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = want
	f.applied++
	return f.Err
}

func (f *Firewall) Repaired() (found, did string) { return f.Found, "" }

func (f *Firewall) Counted(context.Context, string) (uint64, error) { return 0, nil }

func (f *Firewall) Treatments(context.Context) (map[string]netdrv.Treatment, error) {
	return f.Treated, nil
}

func (f *Firewall) Watch(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }

// Applied returns how often rules were applied.
func (f *Firewall) Applied() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

// Server records the configurations of networks.
type Server[C any] struct {
	mu      sync.Mutex
	configs map[string]C
	name    func(C) string
	Err     error // of Set
}

// Set implements the server interfaces of reconcile, as Remove does.
func (s *Server[C]) Set(c C) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configs[s.name(c)] = c
	return s.Err
}

func (s *Server[C]) Remove(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.configs, network)
}

// Of returns the configuration of a network; false if it has none.
func (s *Server[C]) Of(network string) (C, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.configs[network]
	return c, ok
}

func newServer[C any](name func(C) string) *Server[C] {
	return &Server[C]{configs: map[string]C{}, name: name}
}

// Proxy is a Server that serves nothing.
type Proxy struct{ *Server[proxy.Config] }

// Serves implements reconcile.Proxy.
func (Proxy) Serves(proxy.Protocol, netip.AddrPort) bool { return false }

// World is an engine on an in-memory kernel.
type World struct {
	*testing.T
	Kernel   *Kernel
	Firewall *Firewall
	DHCP     *Server[dhcpd.Config]
	DNS      *Server[dnsd.Config]
	Boot     *Server[files.Config]
	Proxy    Proxy
	Store    *store.Store
	Leases   *lease.Table
	Events   *event.Bus
	Engine   *reconcile.Engine
	MayHold  bool
}

// NewWorld returns a world with a new state directory. Its engine runs until the test ends.
func NewWorld(t *testing.T) *World {
	w := &World{
		T: t, Kernel: New(), Firewall: &Firewall{}, Events: &event.Bus{}, MayHold: true,
		DHCP: newServer(func(c dhcpd.Config) string { return c.Network }), DNS: newServer(func(c dnsd.Config) string { return c.Network }),
		Boot:  newServer(func(c files.Config) string { return c.Network }),
		Proxy: Proxy{newServer(func(c proxy.Config) string { return c.Network })},
	}
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	var err error
	if w.Store, err = store.Open(filepath.Join(dir, "state"), filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	w.Leases = lease.Open(filepath.Join(dir, "leases"), log)
	w.Engine = reconcile.New(reconcile.Parts{
		Store: w.Store, Kernel: w.Kernel, Firewall: w.Firewall, DHCP: w.DHCP, DNS: w.DNS, Boot: w.Boot, Proxy: w.Proxy,
		Leases: reconcile.LeaseTable{Table: w.Leases}, Events: w.Events, Hostname: "host1",
		MayHold: func(*netdrv.Network, *netdrv.Port) bool { return w.MayHold },
	}, log)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Leases.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := w.Engine.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		w.Store.Close()
	})
	return w
}

// Lease gives a client a lease for an hour, and returns when it is stored.
func (w *World) Lease(network, mac, address, hostname string) {
	w.Helper()
	m, err := lease.ParseMAC(mac)
	if err != nil {
		w.Fatal(err)
	}
	stored := make(chan error, 1)
	now := time.Now()
	w.Leases.Bind(lease.Lease{
		Network: network, MAC: m, Address: netip.MustParseAddr(address), Hostname: hostname, Start: now, Expires: now.Add(time.Hour),
	}, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		w.Fatal(err)
	}
}

// Until fails the test unless a condition holds in time.
func (w *World) Until(what string, holds func() bool) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not %s in time", what)
		}
	}
}

// Await waits for an event.
func (w *World) Await(events *event.Watcher, k event.Kind) event.Event {
	w.Helper()
	late := time.After(5 * time.Second)
	for {
		select {
		case e := <-events.C:
			if e.Kind == k {
				return e
			}
		case <-late:
			w.Fatalf("no event of kind %d", k)
		}
	}
}
