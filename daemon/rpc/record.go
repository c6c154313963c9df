package rpc

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/netdrv"
)

var recordSources = map[zone.Source]vnetv1.RecordSource{
	zone.FromHost:   vnetv1.RecordSource_RECORD_SOURCE_HOST,
	zone.FromHosts:  vnetv1.RecordSource_RECORD_SOURCE_RESERVATION,
	zone.FromRecord: vnetv1.RecordSource_RECORD_SOURCE_RECORD,
	zone.FromNames:  vnetv1.RecordSource_RECORD_SOURCE_LEASE,
}

// ListRecords is in the contract.
func (s *Server) ListRecords(_ context.Context, req *vnetv1.ListRecordsRequest) (*vnetv1.ListRecordsResponse, error) {
	entries := s.Store.List()
	if name := req.GetNetwork(); name != "" {
		e, ok := s.Store.Get(name)
		if !ok {
			return nil, s.missing(name)
		}
		entries = []store.Entry{e}
	}
	resp := &vnetv1.ListRecordsResponse{}
	for _, e := range entries {
		list, err := s.Engine.Names(&e.Network, s.leaseNames(e.Network.Name))
		if err != nil {
			return nil, failed("list records of network "+e.Network.Name, err)
		}
		for _, r := range list {
			resp.Records = append(resp.Records, &vnetv1.ResourceRecord{
				Network: e.Network.Name, Name: r.Name, Type: r.Type, Value: r.Value,
				Ttl: durationpb.New(time.Duration(r.TTL) * time.Second), Source: recordSources[r.From],
			})
		}
	}
	return resp, nil
}

// leaseNames are the hostnames of leases in force, each once.
func (s *Server) leaseNames(network string) iter.Seq[string] {
	names := map[string]bool{}
	now := time.Now()
	s.Leases.Network(network).Each(func(l *lease.Lease) bool {
		if l.Live(now) && l.Hostname != "" {
			names[l.Hostname] = true
		}
		return true
	})
	return func(yield func(string) bool) {
		for name := range names {
			if !yield(name) {
				return
			}
		}
	}
}

// AddRecord is in the contract.
func (s *Server) AddRecord(ctx context.Context, req *vnetv1.AddRecordRequest) (*vnetv1.AddRecordResponse, error) {
	n, err := s.edit(ctx, req.GetNetwork(), func(n *vnetv1.Network, _ *netdrv.Network) error {
		if n.Dns == nil {
			n.Dns = &vnetv1.DNS{}
		}
		n.Dns.Records = append(n.Dns.Records, req.GetRecord())
		return nil
	})
	return &vnetv1.AddRecordResponse{Network: n}, err
}

// DeleteRecord is in the contract.
func (s *Server) DeleteRecord(ctx context.Context, req *vnetv1.DeleteRecordRequest) (*vnetv1.DeleteRecordResponse, error) {
	resp := &vnetv1.DeleteRecordResponse{}
	like := zone.Record{Name: req.GetName(), Type: strings.ToUpper(req.GetType()), Value: req.GetValue()}
	n, err := s.edit(ctx, req.GetNetwork(), func(p *vnetv1.Network, old *netdrv.Network) error {
		var stay []*vnetv1.Record
		for _, r := range old.DNS.Records {
			is := zone.Record{Name: r.Name, Type: r.Type, Value: r.Value}
			if zone.Fits(old.DNS.Domain, is, like) {
				resp.Records = append(resp.Records, wire.ToRecord(r))
			} else {
				stay = append(stay, wire.ToRecord(r))
			}
		}
		if len(resp.Records) == 0 {
			what := strings.Join(slices.DeleteFunc([]string{like.Name, like.Type, like.Value}, func(s string) bool { return s == "" }), " ")
			return status.Errorf(codes.NotFound, "network %s has no record %s of its own; `vnetctl record list %s` has them", old.Name, what, old.Name)
		}
		p.Dns.Records = stay
		return nil
	})
	resp.Network = n
	return resp, err
}

// edit changes a stored definition as UpdateNetwork would.
func (s *Server) edit(ctx context.Context, name string, change func(*vnetv1.Network, *netdrv.Network) error) (*vnetv1.Network, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	old, ok := s.Store.Get(name)
	if !ok {
		return nil, s.missing(name)
	}
	p := wire.ToNetwork(&old.Network)
	if err := change(p, &old.Network); err != nil {
		return nil, err
	}
	resp, err := s.update(ctx, &vnetv1.UpdateNetworkRequest{Network: p}, old)
	return resp.GetNetwork(), err
}
