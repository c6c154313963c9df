package rpc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// GetStatus is in the contract.
func (s *Server) GetStatus(context.Context, *vnetv1.GetStatusRequest) (*vnetv1.GetStatusResponse, error) {
	resp := &vnetv1.GetStatusResponse{
		Version: s.Version, StartTime: timestamppb.New(time.Now().Add(-time.Since(s.started)).Truncate(time.Second)), StateDir: s.StateDir,
	}
	for _, e := range s.Store.List() {
		resp.Leases += s.countLeases(e.Network.Name)
		resp.Problems = append(resp.Problems, s.unpublished(&e)...)
		st := s.Engine.Status(e.Network.Name)
		switch {
		case st.Phase == vnetv1.Phase_PHASE_DEGRADED:
			resp.NetworksDegraded++
			resp.Problems = append(resp.Problems, fmt.Sprintf("network %s: %s", e.Network.Name, st.Reason))
		case e.Live:
			resp.NetworksReady++
		default:
			resp.NetworksStopped++
		}
	}
	broken := s.Store.Broken()
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		resp.Problems = append(resp.Problems, fmt.Sprintf("network %s: %v", name, broken[name]))
	}
	resp.Problems = append(resp.Problems, s.Store.Problems()...)
	problems := s.Engine.Problems()
	for _, what := range slices.Sorted(maps.Keys(problems)) {
		resp.Problems = append(resp.Problems, problems[what].Error())
	}
	resp.Problems = append(resp.Problems, s.Leases.Problems()...)
	for _, p := range s.DHCP.Full() {
		resp.Problems = append(resp.Problems, p.String())
	}
	return resp, nil
}
