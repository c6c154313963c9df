package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// changeTime bounds a change. It is not ended by a caller who hangs up: a
// change that began is finished or taken back.
const changeTime = 30 * time.Second

func changing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), changeTime)
}

// ListNetworks is in the contract.
func (s *Server) ListNetworks(ctx context.Context, _ *vnetv1.ListNetworksRequest) (*vnetv1.ListNetworksResponse, error) {
	resp := &vnetv1.ListNetworksResponse{}
	for _, e := range s.Store.List() {
		resp.Networks = append(resp.Networks, s.proto(e))
	}
	return resp, s.count(ctx, nil, resp.Networks)
}

// GetNetwork is in the contract.
func (s *Server) GetNetwork(ctx context.Context, req *vnetv1.GetNetworkRequest) (*vnetv1.GetNetworkResponse, error) {
	e, ok := s.Store.Get(req.GetName())
	if !ok {
		return nil, s.missing(req.GetName())
	}
	n := s.proto(e)
	return &vnetv1.GetNetworkResponse{Network: n}, s.count(ctx, nil, []*vnetv1.Network{n})
}

// missing tells a network that was never declared from one whose file cannot
// be read.
func (s *Server) missing(name string) error {
	if err := s.Store.Broken()[name]; err != nil {
		return status.Errorf(codes.DataLoss, "the definition of network %s cannot be read: %v", name, err)
	}
	return notFound(name)
}

// proto is a network as the contract has it, with what runs now.
func (s *Server) proto(e store.Entry) *vnetv1.Network {
	p := wire.ToNetwork(&e.Network)
	p.Revision = e.Revision
	p.Status = s.Engine.Status(e.Network.Name).Proto()
	if p.Status.Phase == vnetv1.Phase_PHASE_UNSPECIFIED {
		p.Status.Phase = vnetv1.Phase_PHASE_PENDING
	}
	p.Status.Leases = s.countLeases(e.Network.Name)
	p.Status.Ports = s.countPorts(e.Network.Name)
	p.Status.ConfirmBy = s.confirmBy(e.Network.Name)
	return p
}

// CreateNetwork is in the contract.
func (s *Server) CreateNetwork(ctx context.Context, req *vnetv1.CreateNetworkRequest) (*vnetv1.CreateNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	name := req.GetNetwork().GetName()
	if _, ok := s.Store.Get(name); ok {
		return nil, status.Errorf(codes.AlreadyExists, "network %s exists already; `vnetctl network apply` changes it", name)
	}
	entry, plan, err := s.create(ctx, req)
	if err != nil {
		return nil, err
	}
	return &vnetv1.CreateNetworkResponse{Network: s.proto(entry), Plan: plan}, nil
}

func (s *Server) create(ctx context.Context, req *vnetv1.CreateNetworkRequest) (store.Entry, []string, error) {
	p, noStart, dryRun := req.GetNetwork(), req.GetNoStart(), req.GetDryRun()
	defer collectLess(p)()
	n, adopts, err := s.prepareNew(ctx, p, !noStart)
	if err != nil {
		return store.Entry{}, nil, err
	}
	if n.Transient && noStart {
		return store.Entry{}, nil, status.Errorf(codes.InvalidArgument, "network %s: a transient network lives only while it runs: it cannot be stored without being started", n.Name)
	}
	n.Autostart = !n.Transient && (p.GetAutostart() || p.Autostart == nil && !noStart)
	var plan []string
	if !noStart {
		if plan, err = s.Engine.Plan(ctx, &n, nil); err != nil {
			return store.Entry{}, nil, failed("plan network "+n.Name, err)
		}
	}
	if dryRun {
		return store.Entry{Network: n}, plan, nil
	}
	if !noStart {
		if err := s.trial(req.GetConfirmWithin(), nil, &n); err != nil {
			return store.Entry{}, nil, err
		}
	}
	begin := s.Store.Begin
	if adopts { // what the host has of it is not removed if it fails
		begin = s.Store.Adopt
	}
	// Should the daemon end in between, the trial's end takes it back.
	entry, err := s.carryOut(ctx, begin, n, !noStart, "create network "+n.Name)
	if err != nil {
		s.endTrial(n.Name)
		return store.Entry{}, nil, err
	}
	s.onTrial(n.Name)
	s.publish(vnetv1.EventType_EVENT_TYPE_NETWORK_CREATED, entry)
	return entry, plan, nil
}

// stand has the engine make an entry so, and returns why it does not stand.
func (s *Server) stand(ctx context.Context, e store.Entry) error {
	if err := s.Engine.Reconcile(ctx, e.Network.Name); err != nil {
		return err
	}
	return s.Engine.Status(e.Network.Name).Err
}

// carryOut has a change made and stored. What there is no room for is not begun, and what
// cannot be both is undone, so that a change that is refused is not in force.
func (s *Server) carryOut(ctx context.Context, begin func(netdrv.Network, bool) (*store.Change, error), n netdrv.Network, live bool, what string) (store.Entry, error) {
	c, err := begin(n, live)
	if err != nil {
		return c.Entry, failed(what, err)
	}
	if err := errors.Join(s.stand(ctx, c.Entry), c.Stored()); err != nil {
		return c.Entry, s.takenBack(ctx, n.Name, c.Undo(), failed(what, err))
	}
	c.Keep()
	return c.Entry, nil
}

// takenBack has the host follow a network that is as it was again, and returns why. It
// takes the time that it needs: the change may have used up its own.
func (s *Server) takenBack(ctx context.Context, name string, unstored, why error) error {
	ctx, cancel := changing(ctx)
	defer cancel()
	if err := errors.Join(unstored, s.Engine.Reconcile(ctx, name)); err != nil {
		s.log.Error("failed to roll a change back completely; retrying", "network", name, "err", err)
	}
	return why
}

// UpdateNetwork is in the contract.
func (s *Server) UpdateNetwork(ctx context.Context, req *vnetv1.UpdateNetworkRequest) (*vnetv1.UpdateNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	p := req.GetNetwork()
	old, ok := s.Store.Get(p.GetName())
	if !ok && !req.GetAllowMissing() {
		return nil, s.missing(p.GetName())
	}
	if !ok {
		entry, plan, err := s.create(ctx, &vnetv1.CreateNetworkRequest{Network: p, DryRun: req.GetDryRun(), ConfirmWithin: req.GetConfirmWithin()})
		if err != nil {
			return nil, err
		}
		return &vnetv1.UpdateNetworkResponse{Network: s.proto(entry), Plan: plan, Changed: true}, nil
	}
	if r := p.GetRevision(); r != 0 && r != old.Revision {
		return nil, status.Errorf(codes.Aborted, "network %s was changed meanwhile: revision %d is stored, and the change is for %d; read it again", p.GetName(), old.Revision, r)
	}
	return s.update(ctx, req, old)
}

func (s *Server) update(ctx context.Context, req *vnetv1.UpdateNetworkRequest, old store.Entry) (*vnetv1.UpdateNetworkResponse, error) {
	p, dryRun := req.GetNetwork(), req.GetDryRun()
	defer collectLess(p)()
	n, err := s.prepare(ctx, p, &old.Network)
	if err != nil {
		return nil, err
	}
	n.Transient = old.Network.Transient
	if p.Autostart == nil {
		n.Autostart = old.Network.Autostart
	}
	resp := &vnetv1.UpdateNetworkResponse{Changes: changes(&old.Network, &n)}
	resp.Changed = len(resp.Changes) > 0
	if old.Live {
		if resp.Plan, err = s.Engine.Plan(ctx, &n, &old.Network); err != nil {
			return nil, failed("plan network "+n.Name, err)
		}
	}
	if dryRun || !resp.Changed {
		resp.Network = s.proto(store.Entry{Network: n, Revision: old.Revision, Live: old.Live})
		return resp, nil
	}
	earlier, waits := s.Store.Trial(n.Name)
	if old.Live {
		if err := s.trial(req.GetConfirmWithin(), &old, &n); err != nil {
			return nil, err
		}
	}
	entry, err := s.carryOut(ctx, s.Store.Begin, n, old.Live, "change network "+n.Name)
	if err != nil {
		s.resumeTrial(n.Name, earlier, waits)
		return nil, err
	}
	if req.GetConfirmWithin() != nil {
		s.onTrial(n.Name)
	}
	s.publish(vnetv1.EventType_EVENT_TYPE_NETWORK_UPDATED, entry)
	resp.Network = s.proto(entry)
	return resp, nil
}

// DeleteNetwork is in the contract.
func (s *Server) DeleteNetwork(ctx context.Context, req *vnetv1.DeleteNetworkRequest) (*vnetv1.DeleteNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	entry, ok := s.Store.Get(req.GetName())
	if !ok {
		return nil, s.missing(req.GetName())
	}
	hostsBridge := entry.Network.Mode == netdrv.ExistingBridge && len(entry.Network.Bridge.Uplinks) == 0
	if !req.GetForce() && !hostsBridge {
		if err := s.refuseGuests(req.GetName()); err != nil {
			return nil, err
		}
	}
	if err := s.delete(ctx, entry); err != nil {
		return nil, failed("delete network "+req.GetName(), err)
	}
	return &vnetv1.DeleteNetworkResponse{}, nil
}

func (s *Server) delete(ctx context.Context, entry store.Entry) error {
	name := entry.Network.Name
	if err := s.Store.Delete(name); err != nil {
		return err
	}
	s.endTrial(name)
	if err := s.forgetPorts(name); err != nil {
		return err
	}
	s.publish(vnetv1.EventType_EVENT_TYPE_NETWORK_DELETED, entry)
	if err := s.Engine.Reconcile(ctx, name); err != nil {
		return err
	}
	return s.Leases.Forget(name)
}

// StartNetwork is in the contract.
func (s *Server) StartNetwork(ctx context.Context, req *vnetv1.StartNetworkRequest) (*vnetv1.StartNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	name := req.GetName()
	entry, ok := s.Store.Get(name)
	if !ok {
		return nil, s.missing(name)
	}
	if !entry.Live {
		if err := s.trial(req.GetConfirmWithin(), &entry, &entry.Network); err != nil {
			return nil, err
		}
		if err := s.start(ctx, entry); err != nil {
			s.endTrial(name)
			return nil, err
		}
		s.onTrial(name)
		entry.Live = true
	}
	return &vnetv1.StartNetworkResponse{Network: s.proto(entry)}, nil
}

func (s *Server) start(ctx context.Context, entry store.Entry) error {
	name := entry.Network.Name
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return failed("start network "+name, err)
	}
	fs := append(netdrv.HostConflicts(&entry.Network, host), s.checkGround(ctx, &entry.Network)...)
	busy, err := s.Engine.CheckForwards(&entry.Network)
	if err != nil {
		return failed("start network "+name, err)
	}
	if fs = append(fs, busy...); fs != nil {
		return findingsError(codes.FailedPrecondition, "start network "+name, fs)
	}
	if err := s.Store.SetLive(name, true); err != nil {
		return failed("start network "+name, err)
	}
	if err := s.stand(ctx, entry); err != nil {
		return s.stopAgain(ctx, name, failed("start network "+name, err))
	}
	return nil
}

// stopAgain withdraws a start that did not work, and returns why.
func (s *Server) stopAgain(ctx context.Context, name string, why error) error {
	return s.takenBack(ctx, name, s.Store.ForceLive(name, false), why)
}

// StopNetwork is in the contract.
func (s *Server) StopNetwork(ctx context.Context, req *vnetv1.StopNetworkRequest) (*vnetv1.StopNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	name := req.GetName()
	entry, ok := s.Store.Get(name)
	if !ok {
		return nil, s.missing(name)
	}
	if entry.Network.Transient {
		if err := s.delete(ctx, entry); err != nil {
			return nil, failed("stop network "+name, err)
		}
		return &vnetv1.StopNetworkResponse{}, nil
	}
	if err := s.Store.SetLive(name, false); err != nil {
		return nil, failed("stop network "+name, err)
	}
	s.endTrial(name)
	if err := s.stand(ctx, entry); err != nil {
		return nil, failed("stop network "+name, err)
	}
	entry.Live = false
	return &vnetv1.StopNetworkResponse{Network: s.proto(entry)}, nil
}

func (s *Server) publish(t vnetv1.EventType, e store.Entry) {
	s.log.Info("network "+eventWord(t), "network", e.Network.Name)
	if !s.Events.Watched() {
		return // a definition may be large
	}
	s.Events.Publish(&vnetv1.WatchResponse{Type: t, Time: timestamppb.Now(), Network: s.proto(e)})
}

func eventWord(t vnetv1.EventType) string {
	switch t {
	case vnetv1.EventType_EVENT_TYPE_NETWORK_CREATED:
		return "created"
	case vnetv1.EventType_EVENT_TYPE_NETWORK_UPDATED:
		return "updated"
	}
	return "deleted"
}
