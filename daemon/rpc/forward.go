package rpc

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// ListForwards is in the contract.
func (s *Server) ListForwards(_ context.Context, req *vnetv1.ListForwardsRequest) (*vnetv1.ListForwardsResponse, error) {
	entries := s.Store.List()
	if name := req.GetNetwork(); name != "" {
		e, ok := s.Store.Get(name)
		if !ok {
			return nil, s.missing(name)
		}
		entries = []store.Entry{e}
	}
	resp := &vnetv1.ListForwardsResponse{}
	for _, e := range entries {
		for i := range e.Network.Forwards {
			resp.Forwards = append(resp.Forwards, s.published(&e, &e.Network.Forwards[i]))
		}
	}
	return resp, nil
}

func (s *Server) published(e *store.Entry, f *netdrv.Forward) *vnetv1.PublishedForward {
	p := &vnetv1.PublishedForward{Network: e.Network.Name, Forward: wire.ToForward(*f), State: vnetv1.ForwardState_FORWARD_STATE_ACTIVE}
	targets, chosen := s.Engine.Targets(&e.Network, f)
	for _, a := range targets {
		p.Targets = append(p.Targets, a.String())
		p.TargetMacs = append(p.TargetMacs, s.macOf(&e.Network, f, a))
	}
	switch {
	case !e.Live:
		p.State = vnetv1.ForwardState_FORWARD_STATE_STOPPED
	case len(p.Targets) == 0:
		p.State, p.Reason = vnetv1.ForwardState_FORWARD_STATE_WAITING, fmt.Sprintf("%s has no address on the network", f.Guest)
	}
	if p.State == vnetv1.ForwardState_FORWARD_STATE_WAITING && chosen != "" {
		p.Reason = fmt.Sprintf("%s is a name chosen by a guest; to publish to it, declare the guest (port, reservation or record) or set allowDhcpName on the forward", chosen)
	}
	return p
}

// macOf returns the MAC of the guest that a forward leads to at an address, or "".
func (s *Server) macOf(n *netdrv.Network, f *netdrv.Forward, a netip.Addr) string {
	if l, ok := s.Leases.Network(n.Name).ByAddr(a); ok && l.Live(time.Now()) {
		return l.MAC.String()
	}
	if m := s.Engine.ReservedMAC(n, f, a); !m.IsZero() {
		return m.String()
	}
	return ""
}

// unpublished returns the forwards of a network that wait because of allowDhcpName.
func (s *Server) unpublished(e *store.Entry) (out []string) {
	for i := range e.Network.Forwards {
		f := &e.Network.Forwards[i]
		if _, chosen := s.Engine.Targets(&e.Network, f); e.Live && chosen != "" {
			out = append(out, fmt.Sprintf("network %s: forward %s to %s is waiting: %s", e.Network.Name, f.Listen, f.To(), s.published(e, f).Reason))
		}
	}
	return out
}

// AddForward is in the contract.
func (s *Server) AddForward(ctx context.Context, req *vnetv1.AddForwardRequest) (*vnetv1.AddForwardResponse, error) {
	n, err := s.edit(ctx, req.GetNetwork(), func(n *vnetv1.Network, _ *netdrv.Network) error {
		n.Forwards = append(n.Forwards, req.GetForward())
		return nil
	})
	return &vnetv1.AddForwardResponse{Network: n}, err
}

// DeleteForward is in the contract.
func (s *Server) DeleteForward(ctx context.Context, req *vnetv1.DeleteForwardRequest) (*vnetv1.DeleteForwardResponse, error) {
	resp := &vnetv1.DeleteForwardResponse{}
	like := &vnetv1.Forward{Listen: req.GetListen(), Address: req.GetAddress()}
	n, err := s.edit(ctx, req.GetNetwork(), func(p *vnetv1.Network, old *netdrv.Network) error {
		var stay []*vnetv1.Forward
		for _, f := range old.Forwards {
			if is := wire.ToForward(f); wire.ForwardFits(f, like) {
				resp.Forwards = append(resp.Forwards, is)
			} else {
				stay = append(stay, is)
			}
		}
		if len(resp.Forwards) == 0 {
			what := strings.TrimSpace(like.GetListen() + " " + like.GetAddress())
			return status.Errorf(codes.NotFound, "network %s has no forward %s; `vnetctl forward list %s` has them", old.Name, what, old.Name)
		}
		p.Forwards = stay
		return nil
	})
	resp.Network = n
	return resp, err
}
