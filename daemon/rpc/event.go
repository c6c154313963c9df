package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/service"
)

// Watch implements EventService.
func (s *Server) Watch(req *vnetv1.WatchRequest, stream grpc.ServerStreamingServer[vnetv1.WatchResponse]) error {
	// The subscription comes first: what changes while the present is sent is
	// sent again, and nothing is missed.
	w := s.Service.Events.Watch()
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
			if name := req.GetNetwork(); name != "" && name != e.About {
				continue
			}
			if err := stream.Send(eventProto(&e)); err != nil {
				return err
			}
		}
	}
}

// sendPresentInTurn counts as a call of its user: the response is in memory until it is sent.
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
	for _, n := range s.Service.Networks() {
		if name != "" && n.Name != name {
			continue
		}
		if err := stream.Send(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_NETWORK_PRESENT, Time: timestamppb.Now(), Network: networkProto(&n),
		}); err != nil {
			return err
		}
	}
	for _, p := range s.Service.Ports(name) {
		if err := stream.Send(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_PORT_PRESENT, Time: timestamppb.Now(), Port: portProto(&p),
		}); err != nil {
			return err
		}
	}
	leases, err := s.Service.AllLeases(name)
	if service.KindOf(err) == service.NotFound {
		return nil // a watcher may wait for a network to be created
	}
	for _, l := range leases {
		if err := stream.Send(&vnetv1.WatchResponse{
			Type: vnetv1.EventType_EVENT_TYPE_LEASE_PRESENT, Time: timestamppb.New(l.Start), Lease: leaseProto(&l),
		}); err != nil {
			return err
		}
	}
	return nil
}

var eventTypes = map[event.Kind]vnetv1.EventType{
	event.NetworkCreated:    vnetv1.EventType_EVENT_TYPE_NETWORK_CREATED,
	event.NetworkUpdated:    vnetv1.EventType_EVENT_TYPE_NETWORK_UPDATED,
	event.NetworkDeleted:    vnetv1.EventType_EVENT_TYPE_NETWORK_DELETED,
	event.NetworkStatus:     vnetv1.EventType_EVENT_TYPE_NETWORK_STATUS,
	event.NetworkRolledBack: vnetv1.EventType_EVENT_TYPE_NETWORK_ROLLED_BACK,
	event.NetworkOrphaned:   vnetv1.EventType_EVENT_TYPE_NETWORK_ORPHANED,
	event.Repaired:          vnetv1.EventType_EVENT_TYPE_REPAIRED,
	event.PortAttached:      vnetv1.EventType_EVENT_TYPE_PORT_ATTACHED,
	event.PortDetached:      vnetv1.EventType_EVENT_TYPE_PORT_DETACHED,
	event.PortUp:            vnetv1.EventType_EVENT_TYPE_PORT_UP,
	event.PortDown:          vnetv1.EventType_EVENT_TYPE_PORT_DOWN,
	event.LeaseBound:        vnetv1.EventType_EVENT_TYPE_LEASE_BOUND,
	event.LeaseRenewed:      vnetv1.EventType_EVENT_TYPE_LEASE_RENEWED,
	event.LeaseReleased:     vnetv1.EventType_EVENT_TYPE_LEASE_RELEASED,
	event.LeaseExpired:      vnetv1.EventType_EVENT_TYPE_LEASE_EXPIRED,
	event.LeaseDeclined:     vnetv1.EventType_EVENT_TYPE_LEASE_DECLINED,
	event.PoolExhausted:     vnetv1.EventType_EVENT_TYPE_POOL_EXHAUSTED,
	event.ReservationInUse:  vnetv1.EventType_EVENT_TYPE_RESERVATION_IN_USE,
	event.NameRefused:       vnetv1.EventType_EVENT_TYPE_NAME_REFUSED,
}

func eventProto(e *event.Event) *vnetv1.WatchResponse {
	out := &vnetv1.WatchResponse{Type: eventTypes[e.Kind], Time: timestamppb.New(e.Time), Message: e.Message, Steps: e.Steps}
	switch {
	case e.Network != nil:
		out.Network = networkProto(e.Network)
	case e.Lease != nil:
		out.Lease = leaseProto(e.Lease)
	case e.Port != nil:
		out.Port = portProto(e.Port)
	case e.About != "":
		out.Network = &vnetv1.Network{Name: e.About}
	}
	return out
}
