package rpc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// ListPorts is in the contract.
func (s *Server) ListPorts(ctx context.Context, req *vnetv1.ListPortsRequest) (*vnetv1.ListPortsResponse, error) {
	name := req.GetNetwork()
	if name != "" {
		if _, ok := s.Store.Get(name); !ok {
			return nil, s.missing(name)
		}
	}
	ports := s.ports(name)
	for _, p := range ports {
		p.Bandwidth = s.limits(p)
	}
	return &vnetv1.ListPortsResponse{Ports: ports}, s.count(ctx, ports, nil)
}

// ports are the guests' links of a network, or of all for "".
func (s *Server) ports(network string) []*vnetv1.Port {
	var out []*vnetv1.Port
	for _, p := range s.Engine.Ports() {
		if network == "" || p.Network == network {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *vnetv1.Port) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Link, b.Link))
	})
	return out
}

// refuseGuests is why a network is not deleted while guests are attached.
func (s *Server) refuseGuests(network string) error {
	var links []string
	for _, p := range s.ports(network) {
		if p.Attached {
			links = append(links, p.Link)
		}
	}
	if len(links) == 0 {
		return nil
	}
	return status.Errorf(codes.FailedPrecondition, "network %s has guests: %s; detach them, or delete it with --force", network, strings.Join(links, ", "))
}

// CreatePort is in the contract.
func (s *Server) CreatePort(ctx context.Context, req *vnetv1.CreatePortRequest) (*vnetv1.CreatePortResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	name := req.GetPort().GetNetwork()
	entry, ok := s.Store.Get(name)
	if !ok {
		return nil, s.missing(name)
	}
	l, err := s.newPort(ctx, entry, req.GetPort())
	if err != nil {
		return nil, err
	}
	if err := s.Engine.AddPort(ctx, l); err != nil {
		return nil, failed("create a port of network "+name, err)
	}
	for _, p := range s.ports(name) {
		if p.Link == l.Name {
			return &vnetv1.CreatePortResponse{Port: p}, nil
		}
	}
	return nil, status.Errorf(codes.Internal, "port %s was made, and is gone again", l.Name)
}

// newPort says which link a port is to be.
func (s *Server) newPort(ctx context.Context, entry store.Entry, p *vnetv1.Port) (netdrv.Link, error) {
	n := &entry.Network
	what := "port of network " + n.Name
	if n.Mode != netdrv.DirectLink {
		return netdrv.Link{}, status.Errorf(codes.FailedPrecondition, "%s: make a tap and put it into %s: `ip tuntap add NAME mode tap; ip link set NAME master %s`; ports of mode %s join by that", what, n.Bridge.Name, n.Bridge.Name, n.Mode)
	}
	have, host, err := s.Kernel.Observe(ctx)
	if err != nil {
		return netdrv.Link{}, failed("look at the host", err)
	}
	l := netdrv.Link{Network: n.Name, Name: p.GetLink(), Up: entry.Live}
	var fs netdrv.Findings
	if l.Name == "" {
		l.Name = freeLink(have, host)
	} else if why := netdrv.LinkNameProblem(l.Name); why != "" {
		fs.Add("port.link", "%s", why)
	} else if host.HasLink(l.Name) || slices.ContainsFunc(have.Links, func(o netdrv.Link) bool { return o.Name == l.Name }) {
		fs.Add("port.link", "%s exists already", l.Name)
	}
	if r := random[[3]byte](); p.GetMac() == "" {
		l.MAC = netdrv.MAC{0x52, 0x54, 0x00, r[0], r[1], r[2]}
	} else if l.MAC, err = netdrv.ParseMAC(p.GetMac()); err != nil {
		fs.Add("port.mac", "%v", err)
	}
	l, more := netdrv.Macvtap(l, n, p.GetUplink(), have.Links, host)
	if fs = append(fs, more...); fs != nil {
		return l, findingsError(codes.FailedPrecondition, what, fs)
	}
	return l, nil
}

func freeLink(have netdrv.State, host netdrv.Host) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("vnmac%d", i)
		if !host.HasLink(name) && !slices.ContainsFunc(have.Links, func(l netdrv.Link) bool { return l.Name == name }) {
			return name
		}
	}
}

// DeletePort is in the contract.
func (s *Server) DeletePort(ctx context.Context, req *vnetv1.DeletePortRequest) (*vnetv1.DeletePortResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	for _, p := range s.Engine.Ports() {
		if p.Link == req.GetLink() {
			if err := s.Engine.RemovePort(ctx, p); err != nil {
				return nil, failed("delete port "+p.Link, err)
			}
			return &vnetv1.DeletePortResponse{}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no port %s; `vnetctl port list` has them", req.GetLink())
}
