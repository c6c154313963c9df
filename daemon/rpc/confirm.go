package rpc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// trialRetry is when a roll-back that could not be stored is tried again, and what else
// is not stored.
const trialRetry = 10 * time.Second

// maxTrial bounds how long a change may wait to be confirmed.
const maxTrial = 24 * time.Hour

// trial notes, before a change that moves addresses of the host, that it is to
// be taken back unless confirmed. What stood before an earlier change that still
// waits is what both go back to. before is nil for a new network.
func (s *Server) trial(within *durationpb.Duration, before *store.Entry, after *netdrv.Network) error {
	d := within.AsDuration()
	switch {
	case d == 0:
		return nil
	case within.CheckValid() != nil || d < 0 || d > maxTrial:
		return status.Errorf(codes.InvalidArgument, "network %s: confirm_within is %s, and has to be more than nothing and at most %s", after.Name, d, maxTrial)
	case !moves(before, after):
		return nil
	}
	t, err := store.NewTrial(after.Name, before, time.Now(), d)
	if earlier, waits := s.Store.Trial(after.Name); waits {
		t.Before, t.Live = earlier.Before, earlier.Live
	}
	if err == nil {
		err = s.Store.PutTrial(t)
	}
	if err != nil {
		return failed("change network "+after.Name, err)
	}
	return nil
}

func moves(before *store.Entry, after *netdrv.Network) bool {
	if before == nil || !before.Live {
		return netdrv.MovesHost(nil, after)
	}
	return netdrv.MovesHost(&before.Network, after)
}

// onTrial starts the time, once the change stands.
func (s *Server) onTrial(name string) {
	t, waits := s.Store.Trial(name)
	if !waits {
		return
	}
	t.Deadline = time.Now().Add(t.Within)
	if err := s.Store.PutTrial(t); err != nil {
		s.log.Error("the time to confirm has begun earlier than it should", "network", name, "err", err)
	}
	s.log.Info("network waits to be confirmed", "network", name, "until", t.Deadline)
	select {
	case s.trials <- struct{}{}:
	default:
	}
}

// endTrial is for what an administrator has decided, or what did not work.
func (s *Server) endTrial(name string) {
	if err := s.Store.EndTrial(name); err != nil {
		s.log.Error("network still waits to be confirmed", "network", name, "err", err)
	}
}

// resumeTrial is for a change that did not work: what waited before, waits on.
func (s *Server) resumeTrial(name string, earlier store.Trial, waits bool) {
	if !waits {
		s.endTrial(name)
		return
	}
	if err := s.Store.PutTrial(earlier); err != nil {
		s.log.Error("network has another deadline than it had", "network", name, "err", err)
	}
}

// ConfirmNetwork is in the contract.
func (s *Server) ConfirmNetwork(_ context.Context, req *vnetv1.ConfirmNetworkRequest) (*vnetv1.ConfirmNetworkResponse, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	e, ok := s.Store.Get(req.GetName())
	if !ok {
		return nil, s.missing(req.GetName())
	}
	if err := s.Store.EndTrial(req.GetName()); err != nil {
		return nil, failed("confirm network "+req.GetName(), err)
	}
	s.log.Info("network confirmed", "network", req.GetName())
	return &vnetv1.ConfirmNetworkResponse{Network: s.proto(e)}, nil
}

// confirmBy is the deadline as the contract has it.
func (s *Server) confirmBy(name string) *timestamppb.Timestamp {
	if t, waits := s.Store.Trial(name); waits {
		return timestamppb.New(time.Now().Add(time.Until(t.Deadline)).Truncate(time.Second))
	}
	return nil
}

// RunTrials takes back what is not confirmed in time, until ctx ends.
func (s *Server) RunTrials(ctx context.Context) error {
	for failed := false; ; {
		wait := time.Hour
		if ts := s.Store.Trials(); len(ts) > 0 {
			wait = max(0, time.Until(ts[0].Deadline))
		}
		if failed {
			wait = max(wait, trialRetry)
		}
		timer := time.NewTimer(min(wait, time.Minute))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.trials:
			failed = false
		case <-timer.C:
			s.rollBack(ctx)
			failed = slices.ContainsFunc(s.Store.Trials(), func(t store.Trial) bool { return t.Passed(time.Now()) })
		}
		timer.Stop()
	}
}

func (s *Server) rollBack(ctx context.Context) {
	s.writes.Lock()
	defer s.writes.Unlock()
	ctx, cancel := changing(ctx)
	defer cancel()
	if err := s.Store.StoreAgain(); err != nil {
		s.log.Error("what is in force is not stored; retrying", "err", err)
	}
	for _, t := range s.Withdraw(false) {
		if err := s.Engine.Reconcile(ctx, t.Name); err != nil {
			s.log.Error("the host is not looked at after a roll-back", "network", t.Name, "err", err)
		}
	}
}

// Withdraw stores again what stood before each change that was not confirmed in
// time, or before any if the host has booted since. It returns those; the engine
// is yet to look.
func (s *Server) Withdraw(booted bool) []store.Trial {
	var out []store.Trial
	for _, t := range s.Store.Trials() {
		if !booted && !t.Passed(time.Now()) {
			continue
		}
		if s.Store.Unstored(t.Name) {
			continue // rolled back, and the trial is needed until that is stored
		}
		became, err := s.putBack(t)
		if err == nil {
			err = s.Store.EndTrial(t.Name)
		}
		if err != nil {
			s.log.Error("network rolled back, but that is not stored; retrying", "network", t.Name, "err", err)
			out = append(out, t)
			continue
		}
		s.log.Warn("network was not confirmed, and is rolled back", "network", t.Name, "within", t.Within, "is", became)
		s.Events.Publish(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_NETWORK_ROLLED_BACK, Time: timestamppb.Now(), Network: &vnetv1.Network{Name: t.Name},
			Message: fmt.Sprintf("not confirmed within %s; the network is %s", t.Within, became),
		})
		out = append(out, t)
	}
	return out
}

// putBack makes a network what it was before, and says what became of it. It is so
// whatever is returned: an error says that it is not stored.
func (s *Server) putBack(t store.Trial) (string, error) {
	n, existed, err := t.Network()
	if err != nil {
		return "", err
	}
	if !existed {
		return "deleted", s.Store.Revert(t.Name, nil, false)
	}
	now, ok := s.Store.Get(t.Name)
	switch {
	case !ok || len(changes(&now.Network, &n)) > 0:
	case now.Live == t.Live: // a try before could not store it
		return "as it was defined before", nil
	default:
		return "stopped", s.Store.ForceLive(t.Name, t.Live)
	}
	return "as it was defined before", s.Store.Revert(t.Name, &n, t.Live)
}

// checkGround refuses uplinks whose addresses and routes cannot all be moved.
func (s *Server) checkGround(ctx context.Context, n *netdrv.Network) netdrv.Findings {
	if !n.Built() {
		return nil
	}
	g, err := s.Kernel.ObserveGround(ctx, n.Bridge.Uplinks)
	if err != nil {
		return netdrv.Findings{{Path: "bridge.uplinks", Why: err.Error()}}
	}
	return netdrv.GroundConflicts(n, g)
}

// released returns the host as it is once a network has changed: links in its bridge may
// join another. The host itself is shared, and stays as it is.
func released(host netdrv.Host, old *netdrv.Network) netdrv.Host {
	if old == nil || !old.Built() {
		return host
	}
	host.Links = maps.Clone(host.Links)
	for _, u := range old.Bridge.Uplinks {
		if l, ok := host.Links[u]; ok && l.Master == old.Bridge.Name {
			l.Master = ""
			host.Links[u] = l
		}
	}
	return host
}
