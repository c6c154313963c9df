package rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

var phases = map[event.Phase]vnetv1.Phase{
	event.Pending:  vnetv1.Phase_PHASE_PENDING,
	event.Ready:    vnetv1.Phase_PHASE_READY,
	event.Degraded: vnetv1.Phase_PHASE_DEGRADED,
	event.Stopped:  vnetv1.Phase_PHASE_STOPPED,
}

func networkProto(n *event.Network) *vnetv1.Network {
	p := wire.ToNetwork(n.Network)
	addState(p, n)
	return p
}

func addState(p *vnetv1.Network, n *event.Network) {
	p.Revision = n.Revision
	p.Status = &vnetv1.NetworkStatus{
		Phase: phases[n.Status.Phase], Reason: n.Status.Reason, Revision: n.Status.Revision,
		Leases: uint32(n.Leases), Ports: uint32(n.Ports), Counters: countersProto(n.Counters),
	}
	if !n.ConfirmBy.IsZero() {
		p.Status.ConfirmBy = timestamppb.New(n.ConfirmBy)
	}
}

func countersProto(c *netdrv.Counters) *vnetv1.Counters {
	if c == nil {
		return nil
	}
	return wire.ToCounters(*c)
}

func readDefinition(p *vnetv1.Network) (d service.Definition) {
	d.Network, d.Unread = wire.FromNetwork(p)
	d.Autostart = p.Autostart
	return d
}

// ListNetworks implements NetworkService.
func (s *Server) ListNetworks(ctx context.Context, _ *vnetv1.ListNetworksRequest) (*vnetv1.ListNetworksResponse, error) {
	resp, networks := &vnetv1.ListNetworksResponse{}, s.Service.Networks()
	err := s.Service.ReadCounters(ctx, nil, networks)
	for i := range networks {
		resp.Networks = append(resp.Networks, networkProto(&networks[i]))
	}
	return resp, err
}

// GetNetwork implements NetworkService.
func (s *Server) GetNetwork(ctx context.Context, req *vnetv1.GetNetworkRequest) (*vnetv1.GetNetworkResponse, error) {
	n, err := s.Service.Network(req.GetName())
	if err != nil {
		return nil, err
	}
	networks := []service.Network{n}
	err = s.Service.ReadCounters(ctx, nil, networks)
	return &vnetv1.GetNetworkResponse{Network: networkProto(&networks[0])}, err
}

// CreateNetwork implements NetworkService.
func (s *Server) CreateNetwork(ctx context.Context, req *vnetv1.CreateNetworkRequest) (*vnetv1.CreateNetworkResponse, error) {
	res, err := s.Service.Create(ctx, readDefinition(req.GetNetwork()), service.Options{
		NoStart: req.GetNoStart(), DryRun: req.GetDryRun(), ConfirmWithin: req.GetConfirmWithin().AsDuration(),
	})
	if err != nil {
		return nil, err
	}
	return &vnetv1.CreateNetworkResponse{Network: networkProto(&res.Network), Plan: res.Plan}, nil
}

// UpdateNetwork implements NetworkService.
func (s *Server) UpdateNetwork(ctx context.Context, req *vnetv1.UpdateNetworkRequest) (*vnetv1.UpdateNetworkResponse, error) {
	res, err := s.Service.Update(ctx, readDefinition(req.GetNetwork()), service.Options{
		AllowMissing: req.GetAllowMissing(), Revision: req.GetNetwork().GetRevision(),
		DryRun: req.GetDryRun(), ConfirmWithin: req.GetConfirmWithin().AsDuration(),
	})
	if err != nil {
		return nil, err
	}
	resp := &vnetv1.UpdateNetworkResponse{Network: wire.ToNetwork(res.Network.Network), Changed: res.Changed, Plan: res.Plan}
	if res.Changed && res.Before != nil {
		for _, c := range definition.Diff(wire.ToNetwork(res.Before), resp.Network) {
			resp.Changes = append(resp.Changes, &vnetv1.FieldChange{Path: c.Path, Before: c.Before, After: c.After, Effect: effect(c.Path)})
		}
	}
	addState(resp.Network, &res.Network)
	return resp, nil
}

// DeleteNetwork implements NetworkService.
func (s *Server) DeleteNetwork(ctx context.Context, req *vnetv1.DeleteNetworkRequest) (*vnetv1.DeleteNetworkResponse, error) {
	return &vnetv1.DeleteNetworkResponse{}, s.Service.Delete(ctx, req.GetName(), req.GetForce())
}

// StartNetwork implements NetworkService.
func (s *Server) StartNetwork(ctx context.Context, req *vnetv1.StartNetworkRequest) (*vnetv1.StartNetworkResponse, error) {
	n, err := s.Service.Start(ctx, req.GetName(), req.GetConfirmWithin().AsDuration())
	if err != nil {
		return nil, err
	}
	return &vnetv1.StartNetworkResponse{Network: networkProto(&n)}, nil
}

// StopNetwork implements NetworkService.
func (s *Server) StopNetwork(ctx context.Context, req *vnetv1.StopNetworkRequest) (*vnetv1.StopNetworkResponse, error) {
	n, err := s.Service.Stop(ctx, req.GetName())
	if err != nil || n.Network == nil {
		return &vnetv1.StopNetworkResponse{}, err
	}
	return &vnetv1.StopNetworkResponse{Network: networkProto(&n)}, nil
}

// ConfirmNetwork implements NetworkService.
func (s *Server) ConfirmNetwork(_ context.Context, req *vnetv1.ConfirmNetworkRequest) (*vnetv1.ConfirmNetworkResponse, error) {
	n, err := s.Service.Confirm(req.GetName())
	if err != nil {
		return nil, err
	}
	return &vnetv1.ConfirmNetworkResponse{Network: networkProto(&n)}, nil
}

// AdoptNetwork implements NetworkService. The fields of the request's definition replace
// those that the host shows.
func (s *Server) AdoptNetwork(ctx context.Context, req *vnetv1.AdoptNetworkRequest) (*vnetv1.AdoptNetworkResponse, error) {
	define := func(shown netdrv.Network) (service.Definition, error) {
		p, given := proto.CloneOf(wire.ToNetwork(&shown)), req.GetNetwork()
		if given == nil {
			return readDefinition(p), nil
		}
		if given.GetName() != "" && given.GetName() != shown.Name {
			return service.Definition{}, status.Errorf(codes.InvalidArgument, "the definition is of network %s, and the orphan is %s", given.GetName(), shown.Name)
		}
		if given.GetMode() != vnetv1.Mode_MODE_UNSPECIFIED && given.GetMode() != p.GetMode() {
			p.Nat = nil
		}
		if given.GetSubnets() != nil {
			p.Subnets = nil
		}
		if given.GetRoutes() != nil {
			p.Routes = nil
		}
		if given.GetDirect() != nil {
			p.Direct = nil
		}
		if given.GetBridge().GetUplinks() != nil {
			p.Bridge.Uplinks = nil
		}
		proto.Merge(p, given)
		return readDefinition(p), nil
	}
	n, ports, err := s.Service.Adopt(ctx, req.GetName(), define, req.GetDryRun())
	if err != nil {
		return nil, err
	}
	return &vnetv1.AdoptNetworkResponse{Network: networkProto(&n), Ports: ports}, nil
}

// ForgetNetwork implements NetworkService.
func (s *Server) ForgetNetwork(ctx context.Context, req *vnetv1.ForgetNetworkRequest) (*vnetv1.ForgetNetworkResponse, error) {
	links, err := s.Service.Forget(ctx, req.GetName(), req.GetForce())
	return &vnetv1.ForgetNetworkResponse{Links: links}, err
}

// effect returns the effect of changing the field at a path.
func effect(path string) string {
	var b strings.Builder // without indexes
	for part := range strings.SplitSeq(path, "[") {
		if _, rest, ok := strings.Cut(part, "]"); ok {
			part = rest
		}
		b.WriteString(part)
	}
	path = b.String()
	for _, e := range effects {
		if path == e.field || strings.HasPrefix(path, e.field+".") ||
			strings.HasSuffix(path, "."+e.field) || strings.Contains(path, "."+e.field+".") {
			return e.means
		}
	}
	return ""
}
