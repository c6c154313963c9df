package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// storeRetry is the interval at which what could not be stored is stored again.
const storeRetry = 10 * time.Second

// maxConfirm bounds how long a change may wait to be confirmed.
const maxConfirm = 24 * time.Hour

// awaitConfirmation records, before a change that moves addresses of the host, that it is to
// be rolled back unless confirmed. If an earlier change still waits, both roll back to what
// was before that one. before is nil for a new network.
func (s *Service) awaitConfirmation(within time.Duration, before *store.Entry, after *netdrv.Network) error {
	if within == 0 {
		return nil
	}
	if within < 0 || within > maxConfirm {
		return refuse(Invalid, "network %s: confirm_within is %s, and has to be more than nothing and at most %s", after.Name, within, maxConfirm)
	}
	var was *netdrv.Network
	if before != nil && before.Live {
		was = &before.Network
	}
	if !netdrv.MovesHost(was, after) {
		return nil
	}
	t, err := store.NewTrial(after.Name, before, time.Now(), within)
	if earlier, waits := s.Store.Trial(after.Name); waits {
		t.Before, t.Live = earlier.Before, earlier.Live
	}
	if err == nil {
		err = s.Store.PutTrial(t)
	}
	return failed("change network "+after.Name, err)
}

// startConfirmation starts the time to confirm a change, once it is in force.
func (s *Service) startConfirmation(name string) {
	t, waits := s.Store.Trial(name)
	if !waits {
		return
	}
	t.Deadline = time.Now().Add(t.Within)
	if err := s.Store.PutTrial(t); err != nil {
		s.Log.Error("deadline of the pending confirmation is earlier than requested", "network", name, "err", err)
	}
	s.Log.Info("network waits to be confirmed", "network", name, "until", t.Deadline)
	select {
	case s.pending <- struct{}{}:
	default:
	}
}

// endConfirmation drops a pending confirmation: an administrator has decided otherwise, or
// the change failed.
func (s *Service) endConfirmation(name string) {
	if err := s.Store.EndTrial(name); err != nil {
		s.Log.Error("network still waits to be confirmed", "network", name, "err", err)
	}
}

// restoreConfirmation restores, after a change that failed, the confirmation that was pending
// before it.
func (s *Service) restoreConfirmation(name string, earlier store.Trial, waits bool) {
	if !waits {
		s.endConfirmation(name)
		return
	}
	if err := s.Store.PutTrial(earlier); err != nil {
		s.Log.Error("deadline of the pending confirmation not restored", "network", name, "err", err)
	}
}

// Confirm keeps a change that waits to be confirmed.
func (s *Service) Confirm(name string) (Network, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	e, ok := s.Store.Get(name)
	if !ok {
		return Network{}, s.missing(name)
	}
	if err := s.Store.EndTrial(name); err != nil {
		return Network{}, failed("confirm network "+name, err)
	}
	s.Log.Info("network confirmed", "network", name)
	return s.view(&e), nil
}

// RunConfirmations rolls back what is not confirmed in time, until ctx ends.
func (s *Service) RunConfirmations(ctx context.Context) error {
	for failed := false; ; {
		wait := time.Hour
		if ts := s.Store.Trials(); len(ts) > 0 {
			wait = max(0, time.Until(ts[0].Deadline))
		}
		if failed {
			wait = max(wait, storeRetry)
		}
		timer := time.NewTimer(min(wait, time.Minute))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.pending:
			failed = false
		case <-timer.C:
			s.rollBackExpired(ctx)
			failed = slices.ContainsFunc(s.Store.Trials(), func(t store.Trial) bool { return t.Passed(time.Now()) })
		}
		timer.Stop()
	}
}

func (s *Service) rollBackExpired(ctx context.Context) {
	ctx, end := s.begin(ctx)
	defer end()
	if err := s.Store.StoreAgain(); err != nil {
		s.Log.Error("what is in force is not stored; retrying", "err", err)
	}
	for _, t := range s.rollBackUnconfirmed(false) {
		if err := s.Engine.Reconcile(ctx, t.Name); err != nil {
			s.Log.Error("network not reconciled after a roll-back", "network", t.Name, "err", err)
		}
	}
}

// rollBackUnconfirmed stores again what was before each change that was not confirmed in
// time, or before any if the host has booted since. It returns those; they are not
// reconciled yet.
func (s *Service) rollBackUnconfirmed(booted bool) []store.Trial {
	var out []store.Trial
	for _, t := range s.Store.Trials() {
		if !booted && !t.Passed(time.Now()) {
			continue
		}
		if s.Store.Unstored(t.Name) {
			continue // rolled back, and the trial is needed until that is stored
		}
		became, err := s.restore(t)
		if err == nil {
			err = s.Store.EndTrial(t.Name)
		}
		if out = append(out, t); err != nil {
			s.Log.Error("network rolled back, but that is not stored; retrying", "network", t.Name, "err", err)
			continue
		}
		s.Log.Warn("network was not confirmed, and is rolled back", "network", t.Name, "within", t.Within, "is", became)
		s.Events.Publish(event.Event{
			Kind: event.NetworkRolledBack, About: t.Name,
			Message: fmt.Sprintf("not confirmed within %s; the network is %s", t.Within, became),
		})
	}
	return out
}

// restore restores a network as it was before a change, and returns what became of it. It is
// in force whatever is returned: an error means that it is not stored.
func (s *Service) restore(t store.Trial) (string, error) {
	n, existed, err := t.Network()
	if err != nil {
		return "", err
	}
	if !existed {
		return "deleted", s.Store.Revert(t.Name, nil, false)
	}
	now, ok := s.Store.Get(t.Name)
	switch {
	case !ok || !store.Same(&now.Network, &n):
	case now.Live == t.Live: // restored before, and not stored
		return "as it was defined before", nil
	default:
		return "stopped", s.Store.ForceLive(t.Name, t.Live)
	}
	return "as it was defined before", s.Store.Revert(t.Name, &n, t.Live)
}
