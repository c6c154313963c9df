// Package service has the use cases of the daemon: what a client can ask of networks,
// ports, records, forwards and leases, in domain types and with domain errors. The
// protocols (gRPC, the tap broker, Prometheus) translate and call it.
//
// It serializes changes, checks them in a fixed order, stores them, has the engine
// reconcile the host, and rolls back what fails. A change that moves addresses of the
// host can wait for a confirmation, without which it is rolled back.
package service

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/netdrv"
)

// Parts is what a Service works with.
type Parts struct {
	Store  *store.Store
	Engine *reconcile.Engine
	Kernel reconcile.Kernel
	Leases *lease.Table
	// Exhausted returns the DHCP pools without free addresses.
	Exhausted func() []dhcpd.ExhaustedPool
	Events    *event.Bus
	// Pools are where subnets are picked from.
	Pools    []netip.Prefix
	StateDir string
	Version  string
	Log      *slog.Logger
}

// Service is safe for use by several goroutines.
type Service struct {
	Parts
	started time.Time
	// writes serializes changes, so that two that conflict do not both pass the checks.
	writes sync.Mutex
	// pending wakes RunConfirmations.
	pending chan struct{}
}

// New returns a Service.
func New(parts Parts) *Service {
	return &Service{Parts: parts, started: time.Now(), pending: make(chan struct{}, 1)}
}

// changeTime bounds a change. A caller who hangs up does not end it: a change that began
// is completed or rolled back.
const changeTime = 30 * time.Second

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), changeTime)
}

// begin waits for other changes to end, and begins one.
func (s *Service) begin(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := bounded(ctx)
	s.writes.Lock()
	return ctx, func() { s.writes.Unlock(); cancel() }
}

// entries returns the named network, or all for "".
func (s *Service) entries(name string) ([]store.Entry, error) {
	if name == "" {
		return s.Store.List(), nil
	}
	e, ok := s.Store.Get(name)
	if !ok {
		return nil, s.missing(name)
	}
	return []store.Entry{e}, nil
}

// Definitions returns the declared networks, sorted by name. They are not to be changed.
func (s *Service) Definitions() iter.Seq[*netdrv.Network] {
	return func(yield func(*netdrv.Network) bool) {
		entries := s.Store.List()
		for i := range entries {
			if !yield(&entries[i].Network) {
				return
			}
		}
	}
}

// others returns the networks except the named one.
func (s *Service) others(name string) []netdrv.Network {
	entries := s.Store.List()
	out := make([]netdrv.Network, 0, len(entries))
	for i := range entries {
		if entries[i].Network.Name != name {
			out = append(out, entries[i].Network)
		}
	}
	return out
}
