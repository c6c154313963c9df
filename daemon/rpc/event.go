package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// Watch is in the contract.
func (s *Server) Watch(req *vnetv1.WatchRequest, stream grpc.ServerStreamingServer[vnetv1.WatchResponse]) error {
	// The subscription comes first: what changes while the present is sent is
	// sent again, and nothing is missed.
	w := s.Events.Watch()
	defer w.Close()
	if !req.GetOnlyChanges() {
		if err := s.sendPresentInTurn(req.GetNetwork(), stream); err != nil {
			return err
		}
	}
	if err := stream.Send(&vnetv1.WatchResponse{Type: vnetv1.EventType_EVENT_TYPE_SYNCED, Time: timestamppb.Now()}); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case e, ok := <-w.C:
			if !ok {
				return status.Error(codes.ResourceExhausted, "too many events behind; watch again")
			}
			if !about(e, req.GetNetwork()) {
				continue
			}
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}

// sendPresentInTurn is a call: what is there is held in memory until it is sent.
func (s *Server) sendPresentInTurn(name string, stream grpc.ServerStreamingServer[vnetv1.WatchResponse]) error {
	c, _ := callerFrom(stream.Context())
	end, err := c.BeginCall(stream.Context())
	if err != nil {
		return err
	}
	defer end(0, 0)
	return s.sendPresent(name, stream)
}

func (s *Server) sendPresent(name string, stream grpc.ServerStreamingServer[vnetv1.WatchResponse]) error {
	for _, e := range s.Store.List() {
		if name != "" && e.Network.Name != name {
			continue
		}
		if err := stream.Send(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_NETWORK_PRESENT, Time: timestamppb.Now(), Network: s.proto(e),
		}); err != nil {
			return err
		}
	}
	for _, p := range s.ports(name) {
		if err := stream.Send(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_PORT_PRESENT, Time: timestamppb.Now(), Port: p,
		}); err != nil {
			return err
		}
	}
	for _, l := range s.leases(name) {
		if err := stream.Send(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_LEASE_PRESENT, Time: timestamppb.New(l.Start), Lease: LeaseProto(l),
		}); err != nil {
			return err
		}
	}
	return nil
}

func about(e *vnetv1.WatchResponse, network string) bool {
	return network == "" || e.GetNetwork().GetName() == network || e.GetLease().GetNetwork() == network || e.GetPort().GetNetwork() == network
}
