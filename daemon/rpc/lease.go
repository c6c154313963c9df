package rpc

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// ListLeases is in the contract.
func (s *Server) ListLeases(_ context.Context, req *vnetv1.ListLeasesRequest) (*vnetv1.ListLeasesResponse, error) {
	name := req.GetNetwork()
	if name != "" {
		if _, ok := s.Store.Get(name); !ok {
			return nil, s.missing(name)
		}
	}
	fits, err := leaseFilter(req)
	if err != nil {
		return nil, err
	}
	resp := &vnetv1.ListLeasesResponse{}
	for _, l := range s.leases(name) {
		if fits(&l) {
			resp.Leases = append(resp.Leases, LeaseProto(l))
		}
	}
	return resp, nil
}

// leaseFilter says whether a lease is one that was asked for.
func leaseFilter(req *vnetv1.ListLeasesRequest) (fits func(*lease.Lease) bool, err error) {
	var mac lease.MAC
	if req.GetMac() != "" {
		if mac, err = lease.ParseMAC(req.GetMac()); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	within, err := addressFilter(req.GetAddress())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return func(l *lease.Lease) bool {
		return (req.GetMac() == "" || l.MAC == mac) && (req.GetHostname() == "" || strings.EqualFold(l.Hostname, req.GetHostname())) &&
			(!within.IsValid() || within.Contains(l.Address))
	}, nil
}

// addressFilter reads an address or a prefix; the zero Prefix fits all.
func addressFilter(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix", s)
	}
	return p, nil
}

func (s *Server) leases(network string) []lease.Lease {
	if network == "" {
		return s.Leases.All()
	}
	return s.Leases.Leases(network)
}

// ReleaseLease is in the contract.
func (s *Server) ReleaseLease(_ context.Context, req *vnetv1.ReleaseLeaseRequest) (*vnetv1.ReleaseLeaseResponse, error) {
	a, err := netip.ParseAddr(req.GetAddress())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%q is not an IP address", req.GetAddress())
	}
	if _, ok := s.Store.Get(req.GetNetwork()); !ok {
		return nil, s.missing(req.GetNetwork())
	}
	for _, l := range s.Leases.Leases(req.GetNetwork()) {
		if l.Address != a {
			continue
		}
		if err := s.Leases.Release(req.GetNetwork(), a); err != nil {
			return nil, failed("release "+a.String(), err)
		}
		return &vnetv1.ReleaseLeaseResponse{}, nil
	}
	return nil, status.Errorf(codes.NotFound, "network %s has no lease of %s", req.GetNetwork(), a)
}

// LeaseProto is a lease as the contract has it.
func LeaseProto(l lease.Lease) *vnetv1.Lease {
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

// countLeases counts the leases in force of the networks.
func (s *Server) countLeases(networks ...string) uint32 {
	var count uint32
	now := time.Now()
	for _, name := range networks {
		s.Leases.Network(name).Each(func(l *lease.Lease) bool {
			if l.Live(now) {
				count++
			}
			return true
		})
	}
	return count
}
