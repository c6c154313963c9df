package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/netdrv"
)

// Status is the state of the daemon.
type Status struct {
	Version, StateDir        string
	Started                  time.Time
	Ready, Degraded, Stopped int // networks
	Leases                   int
	Problems                 []string
	Rounds                   reconcile.Stats
}

// Status returns the state of the daemon.
func (s *Service) Status() Status {
	st := Status{Version: s.Version, StateDir: s.StateDir, Started: time.Now().Add(-time.Since(s.started)).Truncate(time.Second), Rounds: s.Engine.Stats()}
	entries := s.Store.List()
	for i := range entries {
		e := &entries[i]
		name := e.Network.Name
		st.Leases += s.countLeases(name)
		for j := range e.Network.Forwards {
			if f, byGuest := s.forward(e, &e.Network.Forwards[j]); byGuest {
				st.Problems = append(st.Problems, fmt.Sprintf("network %s: forward %s to %s is waiting: %s", name, f.Listen, f.To(), f.Waiting))
			}
		}
		switch is := s.Engine.Status(name); {
		case is.Phase == event.Degraded:
			st.Degraded++
			st.Problems = append(st.Problems, fmt.Sprintf("network %s: %s", name, is.Reason))
		case e.Live:
			st.Ready++
		default:
			st.Stopped++
		}
	}
	broken := s.Store.Broken()
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		st.Problems = append(st.Problems, fmt.Sprintf("network %s: %v", name, broken[name]))
	}
	st.Problems = append(st.Problems, s.Store.Problems()...)
	problems := s.Engine.Problems()
	for _, what := range slices.Sorted(maps.Keys(problems)) {
		st.Problems = append(st.Problems, problems[what].Error())
	}
	st.Problems = append(st.Problems, s.Leases.Problems()...)
	for _, p := range s.Exhausted() {
		st.Problems = append(st.Problems, p.String())
	}
	return st
}

// Boot prepares what is declared for the first reconciliation. On a host where nothing was
// ever declared it declares first, unless it is nil, moved to a prefix and bridge name
// that the host does not use.
func (s *Service) Boot(ctx context.Context, first *netdrv.Network) error {
	have, host, err := s.Kernel.Observe(ctx)
	if err != nil {
		return fmt.Errorf("look at the host: %w", err)
	}
	if s.Store.Fresh() && first != nil && len(s.Store.List()) == 0 {
		if len(have.Links) > 0 {
			s.Log.Warn("default network not declared: the host holds links of networks that this state directory does not know", "links", len(have.Links))
		} else if err := s.declareFirst(*first, host); err != nil {
			s.Log.Error("default network not declared", "err", err)
		}
	}
	for name, err := range s.Store.Broken() {
		s.Log.Error("definition unreadable; its bridge is left alone", "network", name, "err", err)
	}
	for _, problem := range s.Store.Problems() {
		s.Log.Error("state directory: " + problem)
	}
	// The host comes up without a change that was not confirmed before it went down.
	stopped := map[string]bool{}
	for _, t := range s.rollBackUnconfirmed(s.Store.Booted()) {
		stopped[t.Name] = !t.Live
	}
	if !s.Store.Booted() {
		return nil
	}
	// The boot starts networks with autostart, and those that the host has: a lost runtime
	// directory disturbs no guest.
	standing := map[string]bool{}
	for _, l := range have.Links {
		standing[l.Network] = true
	}
	for n := range s.Definitions() {
		if !stopped[n.Name] && (n.Autostart || standing[n.Name]) {
			if err := s.Store.ForceLive(n.Name, true); err != nil {
				s.Log.Error("failed to store that a network is started", "network", n.Name, "err", err)
			}
		}
	}
	return nil
}

func (s *Service) declareFirst(n netdrv.Network, host netdrv.Host) error {
	n, moved := netdrv.Relocate(n, host)
	for _, m := range moved {
		s.Log.Warn("default network moved", "why", m)
	}
	var random [3]byte
	_, _ = rand.Read(random[:])
	n = netdrv.Complete(n, nil, func(string) bool { return false }, random)
	if fs := append(netdrv.Validate(&n), netdrv.HostConflicts(&n, host)...); fs != nil {
		return fs
	}
	if _, err := s.Store.Put(n, true); err != nil {
		return err
	}
	s.Log.Info("default network declared", "bridge", n.Bridge.Name, "address", n.Subnets[0].Address)
	return nil
}

// ForgetStrayLeases drops the leases of networks that were deleted while the daemon was
// being killed. Those of orphans are kept for when they are adopted.
func (s *Service) ForgetStrayLeases() {
	known := map[string]bool{}
	for name := range s.Store.Broken() {
		known[name] = true
	}
	for n := range s.Definitions() {
		known[n.Name] = true
	}
	for _, o := range s.Engine.Orphans() {
		known[o.Network] = true
	}
	for _, l := range s.Leases.All() {
		if known[l.Network] {
			continue
		}
		known[l.Network] = true
		if err := s.Leases.Forget(l.Network); err != nil {
			s.Log.Warn("leases of a deleted network stay", "network", l.Network, "err", err)
		}
	}
}
