package rpc

import (
	"context"
	"encoding/hex"
	"net/netip"
	"os/user"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/netdrv"
)

func portProto(p *event.Port) *vnetv1.Port {
	out := wire.ToPort(&p.Port)
	out.Kind, out.Index, out.Managed, out.Attached, out.Up = p.Kind, int32(p.Index), p.Managed, p.Attached, p.Up
	out.Limits, out.Counters = wire.ToBandwidth(p.Limits), countersProto(p.Counters)
	return out
}

// ListPorts implements PortService.
func (s *Server) ListPorts(ctx context.Context, req *vnetv1.ListPortsRequest) (*vnetv1.ListPortsResponse, error) {
	ports, err := s.Service.PortDetails(ctx, req.GetNetwork())
	resp := &vnetv1.ListPortsResponse{}
	for i := range ports {
		resp.Ports = append(resp.Ports, portProto(&ports[i]))
	}
	return resp, err
}

// CreatePort implements PortService.
func (s *Server) CreatePort(ctx context.Context, req *vnetv1.CreatePortRequest) (*vnetv1.CreatePortResponse, error) {
	m := req.GetPort()
	if u, err := user.Lookup(m.GetOwner()); err == nil {
		m.Owner = u.Uid
	}
	p, unread := wire.FromPort(m)
	made, err := s.Service.CreatePort(ctx, p, unread)
	if err != nil {
		return nil, err
	}
	return &vnetv1.CreatePortResponse{Port: portProto(&made)}, nil
}

// UpdatePort implements PortService.
func (s *Server) UpdatePort(ctx context.Context, req *vnetv1.UpdatePortRequest) (*vnetv1.UpdatePortResponse, error) {
	to, unread := wire.FromPort(req.GetPort())
	p, changed, err := s.Service.UpdatePort(ctx, to.Link, req.GetFields(), to, unread)
	if err != nil {
		return nil, err
	}
	return &vnetv1.UpdatePortResponse{Port: portProto(&p), Changed: changed}, nil
}

// DeletePort implements PortService.
func (s *Server) DeletePort(ctx context.Context, req *vnetv1.DeletePortRequest) (*vnetv1.DeletePortResponse, error) {
	return &vnetv1.DeletePortResponse{}, s.Service.DeletePort(ctx, req.GetLink())
}

func leaseProto(l *lease.Lease) *vnetv1.Lease {
	p := &vnetv1.Lease{
		Network:   l.Network,
		Mac:       l.MAC.String(),
		Address:   l.Address.String(),
		Hostname:  l.Hostname,
		ClientId:  hex.EncodeToString([]byte(l.ClientID)),
		StartTime: timestamppb.New(l.Start.Truncate(time.Millisecond)),
		Duid:      hex.EncodeToString([]byte(l.DUID)),
		Iaid:      l.IAID,
	}
	if !l.Expires.IsZero() {
		p.ExpireTime = timestamppb.New(l.Expires.Truncate(time.Millisecond))
	}
	return p
}

// ListLeases implements LeaseService.
func (s *Server) ListLeases(_ context.Context, req *vnetv1.ListLeasesRequest) (*vnetv1.ListLeasesResponse, error) {
	leases, err := s.Service.AllLeases(req.GetNetwork())
	if err != nil {
		return nil, err
	}
	var mac lease.MAC
	if req.GetMac() != "" {
		if mac, err = lease.ParseMAC(req.GetMac()); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	var within netip.Prefix // the zero Prefix selects all
	if a, err := netip.ParseAddr(req.GetAddress()); err == nil {
		within = netip.PrefixFrom(a, a.BitLen())
	} else if req.GetAddress() != "" {
		if within, err = netip.ParsePrefix(req.GetAddress()); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "%q is neither an address nor a prefix", req.GetAddress())
		}
	}
	resp := &vnetv1.ListLeasesResponse{}
	for i := range leases {
		l := &leases[i]
		if (req.GetMac() == "" || l.MAC == mac) && (req.GetHostname() == "" || strings.EqualFold(l.Hostname, req.GetHostname())) &&
			(!within.IsValid() || within.Contains(l.Address)) {
			resp.Leases = append(resp.Leases, leaseProto(l))
		}
	}
	return resp, nil
}

// ReleaseLease implements LeaseService.
func (s *Server) ReleaseLease(_ context.Context, req *vnetv1.ReleaseLeaseRequest) (*vnetv1.ReleaseLeaseResponse, error) {
	a, err := netip.ParseAddr(req.GetAddress())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%q is not an IP address", req.GetAddress())
	}
	return &vnetv1.ReleaseLeaseResponse{}, s.Service.ReleaseLease(req.GetNetwork(), a)
}

var recordSources = map[zone.Source]vnetv1.RecordSource{
	zone.FromHost:   vnetv1.RecordSource_RECORD_SOURCE_HOST,
	zone.FromHosts:  vnetv1.RecordSource_RECORD_SOURCE_RESERVATION,
	zone.FromRecord: vnetv1.RecordSource_RECORD_SOURCE_RECORD,
	zone.FromNames:  vnetv1.RecordSource_RECORD_SOURCE_LEASE,
}

// ListRecords implements RecordService.
func (s *Server) ListRecords(_ context.Context, req *vnetv1.ListRecordsRequest) (*vnetv1.ListRecordsResponse, error) {
	records, err := s.Service.Records(req.GetNetwork())
	resp := &vnetv1.ListRecordsResponse{}
	for _, r := range records {
		resp.Records = append(resp.Records, &vnetv1.ResourceRecord{
			Network: r.Network, Name: r.Name, Type: r.Type, Value: r.Value,
			Ttl: durationpb.New(time.Duration(r.TTL) * time.Second), Source: recordSources[r.From],
		})
	}
	return resp, err
}

// AddRecord implements RecordService.
func (s *Server) AddRecord(ctx context.Context, req *vnetv1.AddRecordRequest) (*vnetv1.AddRecordResponse, error) {
	r, unread := wire.FromRecord(req.GetRecord())
	n, err := s.Service.AddRecord(ctx, req.GetNetwork(), r, unread)
	if err != nil {
		return nil, err
	}
	return &vnetv1.AddRecordResponse{Network: networkProto(&n)}, nil
}

// DeleteRecord implements RecordService.
func (s *Server) DeleteRecord(ctx context.Context, req *vnetv1.DeleteRecordRequest) (*vnetv1.DeleteRecordResponse, error) {
	like := zone.Record{Name: req.GetName(), Type: strings.ToUpper(req.GetType()), Value: req.GetValue()}
	n, deleted, err := s.Service.DeleteRecords(ctx, req.GetNetwork(), like)
	if err != nil {
		return nil, err
	}
	resp := &vnetv1.DeleteRecordResponse{Network: networkProto(&n)}
	for _, r := range deleted {
		resp.Records = append(resp.Records, wire.ToRecord(r))
	}
	return resp, nil
}

// ListForwards implements ForwardService.
func (s *Server) ListForwards(_ context.Context, req *vnetv1.ListForwardsRequest) (*vnetv1.ListForwardsResponse, error) {
	forwards, err := s.Service.Forwards(req.GetNetwork())
	resp := &vnetv1.ListForwardsResponse{}
	for _, f := range forwards {
		p := &vnetv1.PublishedForward{Network: f.Network, Forward: wire.ToForward(f.Forward), State: vnetv1.ForwardState_FORWARD_STATE_ACTIVE, Reason: f.Waiting}
		for _, t := range f.Targets {
			p.Targets, p.TargetMacs = append(p.Targets, t.Address.String()), append(p.TargetMacs, t.MAC.String())
		}
		switch {
		case !f.Active:
			p.State = vnetv1.ForwardState_FORWARD_STATE_STOPPED
		case f.Waiting != "":
			p.State = vnetv1.ForwardState_FORWARD_STATE_WAITING
		}
		resp.Forwards = append(resp.Forwards, p)
	}
	return resp, err
}

// AddForward implements ForwardService.
func (s *Server) AddForward(ctx context.Context, req *vnetv1.AddForwardRequest) (*vnetv1.AddForwardResponse, error) {
	f, unread := wire.FromForward(req.GetForward())
	n, err := s.Service.AddForward(ctx, req.GetNetwork(), f, unread)
	if err != nil {
		return nil, err
	}
	return &vnetv1.AddForwardResponse{Network: networkProto(&n)}, nil
}

// DeleteForward implements ForwardService: it deletes the forwards that listen on exactly those
// ports, on any address if none is given.
func (s *Server) DeleteForward(ctx context.Context, req *vnetv1.DeleteForwardRequest) (*vnetv1.DeleteForwardResponse, error) {
	like, _ := wire.FromForward(&vnetv1.Forward{Listen: req.GetListen(), Address: req.GetAddress()})
	what := strings.TrimSpace(req.GetListen() + " " + req.GetAddress())
	n, deleted, err := s.Service.DeleteForwards(ctx, req.GetNetwork(), what, func(f *netdrv.Forward) bool {
		return f.Listen == like.Listen && (!like.Address.IsValid() || f.Address == like.Address)
	})
	if err != nil {
		return nil, err
	}
	resp := &vnetv1.DeleteForwardResponse{Network: networkProto(&n)}
	for _, f := range deleted {
		resp.Forwards = append(resp.Forwards, wire.ToForward(f))
	}
	return resp, nil
}

// GetStatus implements SystemService.
func (s *Server) GetStatus(context.Context, *vnetv1.GetStatusRequest) (*vnetv1.GetStatusResponse, error) {
	st := s.Service.Status()
	return &vnetv1.GetStatusResponse{
		Version: st.Version, StartTime: timestamppb.New(st.Started), StateDir: st.StateDir,
		NetworksReady: uint32(st.Ready), NetworksDegraded: uint32(st.Degraded), NetworksStopped: uint32(st.Stopped),
		Leases: uint32(st.Leases), Problems: slices.Clip(st.Problems),
	}, nil
}
