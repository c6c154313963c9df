package rpc

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/dhcpd/lease"
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
	seen, err := s.Kernel.Seen(ctx)
	if err != nil {
		return nil, failed("list ports", err)
	}
	ports := s.ports(name)
	for _, p := range ports {
		s.learn(p, seen[int(p.Index)])
		p.Limits = s.limits(p)
	}
	return &vnetv1.ListPortsResponse{Ports: ports}, s.count(ctx, ports, nil)
}

// ports are the guests' links of a network, or of all for "".
func (s *Server) ports(network string) []*vnetv1.Port {
	var out []*vnetv1.Port
	for _, p := range s.Engine.Ports() {
		out = append(out, portProto(&p))
	}
	for _, m := range s.Engine.Learned() {
		out = append(out, &vnetv1.Port{
			Network: m.Network, Link: m.Link, Index: int32(m.Index), Kind: m.Kind, Mac: m.MAC.String(), Attached: m.Bridge != "",
		})
	}
	out = slices.DeleteFunc(out, func(p *vnetv1.Port) bool { return network != "" && p.Network != network })
	slices.SortFunc(out, func(a, b *vnetv1.Port) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Link, b.Link))
	})
	return out
}

// countPorts is how many ports does.
func (s *Server) countPorts(network string) (n uint32) {
	for _, m := range s.Engine.Learned() {
		if m.Network == network {
			n++
		}
	}
	return n + uint32(len(s.Store.PortsOf(network)))
}

func portProto(p *reconcile.PortLink) *vnetv1.Port {
	out := wire.ToPort(&p.Port)
	out.Kind, out.Index, out.Managed, out.Attached = string(p.Link.Kind), int32(p.Link.Index), true, p.Attached()
	out.Up = p.Link.Carrier
	return out
}

// learn fills in what a port does not say and its bridge and the leases know. A link
// with several guests behind it, a trunk, has no MAC of its own.
func (s *Server) learn(p *vnetv1.Port, seen []netdrv.MAC) {
	if p.Mac == "" && len(seen) == 1 {
		p.Mac = seen[0].String()
	}
	mac, err := netdrv.ParseMAC(p.GetMac())
	if err != nil || p.Guest != "" && len(p.Addresses) > 0 {
		return
	}
	var addresses []string
	for _, l := range s.Leases.Leases(p.Network) {
		if l.MAC != lease.MAC(mac) {
			continue
		}
		addresses = append(addresses, l.Address.String())
		p.Guest = cmp.Or(p.Guest, l.Hostname)
	}
	if len(p.Addresses) == 0 {
		p.Addresses = addresses
	}
}

// refuseGuests is why a network is not deleted while guests are attached.
func (s *Server) refuseGuests(network string) error {
	var links []string
	for _, p := range s.ports(network) {
		if p.Attached || p.Managed {
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
	p, err := s.newPort(ctx, req.GetPort())
	if err != nil {
		return nil, err
	}
	if err := s.Engine.AddPort(ctx, p); err != nil {
		return nil, failed("create port "+p.Link+" of network "+p.Network, err)
	}
	for _, made := range s.ports(p.Network) {
		if made.Link == p.Link {
			return &vnetv1.CreatePortResponse{Port: made}, nil
		}
	}
	return nil, status.Errorf(codes.Internal, "port %s was made, and is gone again", p.Link)
}

// newPort reads, completes and checks a port.
func (s *Server) newPort(ctx context.Context, m *vnetv1.Port) (netdrv.Port, error) {
	entry, ok := s.Store.Get(m.GetNetwork())
	if !ok {
		return netdrv.Port{}, s.missing(m.GetNetwork())
	}
	m.Owner = uidOf(m.GetOwner())
	p, unread := wire.FromPort(m)
	p.Transient, p.Holder, p.Granted = false, netdrv.Process{}, ""
	p, fs, err := s.completePort(ctx, p, &entry.Network)
	if err != nil {
		return p, err
	}
	if fs = append(unread, fs...); fs != nil {
		return p, findingsError(codes.FailedPrecondition, "port of network "+p.Network, fs)
	}
	return p, nil
}

// completePort fills in what a port leaves open, and finds what is wrong with it.
func (s *Server) completePort(ctx context.Context, p netdrv.Port, n *netdrv.Network) (netdrv.Port, netdrv.Findings, error) {
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return p, nil, failed("look at the host", err)
	}
	networks, others := s.others(""), s.Store.Ports()
	broken := s.Store.BrokenPorts()
	bridges := bridgesOf(networks)
	taken := func(link string) bool { return host.Taken(link) || bridges[link] || broken[link] != nil }
	p = netdrv.CompletePort(p, n, others, taken, random[[3]byte]())
	fs := append(netdrv.ValidatePort(&p, n), netdrv.PortConflicts(&p, n, others, host)...)
	fs = append(fs, netdrv.UnknownRemotes(&p.Filter, n, networks, append(others, p))...)
	if bridges[p.Link] && p.Link != n.Bridge.Name {
		fs.Add("link", "%s is a bridge; choose another name", p.Link)
	}
	return p, fs, nil
}

// OpenNew completes and checks a transient port, makes it, and returns the files of
// its queues: the tap door's half of CreatePort.
func (s *Server) OpenNew(ctx context.Context, p netdrv.Port, vnetHeader bool) (netdrv.Port, []*os.File, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	entry, ok := s.Store.Get(p.Network)
	if !ok {
		return p, nil, notFound(p.Network)
	}
	if !entry.Live {
		return p, nil, fmt.Errorf("network %s is stopped", p.Network)
	}
	p.Transient = true
	p, fs, err := s.completePort(ctx, p, &entry.Network)
	if err != nil {
		return p, nil, err
	}
	if p.Granted != netdrv.GrantedAdmin {
		claimed, err := s.claimed(ctx, &p, &entry.Network)
		if err != nil {
			return p, nil, err
		}
		fs = append(fs, claimed...)
	}
	if fs != nil {
		return p, nil, fs
	}
	files, err := s.Engine.OpenNew(ctx, p, vnetHeader)
	return p, files, err
}

// claimed finds what uses the MAC and the name that a user asks for. An
// administrator may take them over, as when a guest moves.
func (s *Server) claimed(ctx context.Context, p *netdrv.Port, n *netdrv.Network) (fs netdrv.Findings, err error) {
	for _, l := range s.Leases.Leases(n.Name) {
		if netdrv.MAC(l.MAC) == p.MAC {
			fs.Add("mac", "%s is in use: it has a lease for %s; an administrator can end it (vnetctl lease release)", p.MAC, l.Address)
		}
		if p.Guest != "" && strings.EqualFold(p.Guest, l.Hostname) {
			fs.Add("guest", "%s is the name of the guest with the lease for %s", p.Guest, l.Address)
		}
	}
	for _, r := range n.DNS.Records {
		if p.Guest != "" && strings.EqualFold(p.Guest, strings.TrimSuffix(r.Name, "."+n.DNS.Domain+".")) {
			fs.Add("guest", "%s is the name of a DNS record of the network", p.Guest)
		}
	}
	if p.MAC.IsZero() {
		return fs, nil
	}
	if p.MAC == n.Bridge.MAC {
		fs.Add("mac", "%s is the MAC of the network's bridge", p.MAC)
	}
	links := map[int]string{} // on the network's bridge
	for _, m := range s.Engine.Members() {
		if m.Network == n.Name && m.Bridge != "" {
			links[m.Index] = m.Link
		}
	}
	for name, l := range s.Engine.Host().Links {
		if n.Bridge.Name != "" && l.Master == n.Bridge.Name {
			links[l.Index] = name
		}
		if l.MAC == p.MAC {
			fs.Add("mac", "%s is the MAC of %s of the host", p.MAC, name)
		}
	}
	seen, err := s.Kernel.Seen(ctx)
	for index, link := range links {
		if slices.Contains(seen[index], p.MAC) {
			fs.Add("mac", "%s is in use behind %s", p.MAC, link)
		}
	}
	return fs, err
}

// uidOf is the number of a user, or what was given if the host knows no such user.
func uidOf(name string) string {
	if u, err := user.Lookup(name); err == nil {
		return u.Uid
	}
	return name
}

// DeletePort is in the contract.
func (s *Server) DeletePort(ctx context.Context, req *vnetv1.DeletePortRequest) (*vnetv1.DeletePortResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	link := req.GetLink()
	for _, p := range s.Store.Ports() {
		if p.Link == link {
			return &vnetv1.DeletePortResponse{}, failedOr("delete port "+link, s.Engine.RemovePort(ctx, p))
		}
	}
	for _, m := range s.Engine.Learned() {
		if m.Link == link {
			return &vnetv1.DeletePortResponse{}, failedOr("detach "+link, s.Engine.Detach(ctx, m))
		}
	}
	return nil, status.Errorf(codes.NotFound, "no port %s; `vnetctl port list` has them", link)
}

func failedOr(what string, err error) error {
	if err == nil {
		return nil
	}
	return failed(what, err)
}

// forgetPorts forgets the ports of a network that is to be deleted; their links go
// with the network's.
func (s *Server) forgetPorts(network string) error {
	for _, p := range s.Store.PortsOf(network) {
		if err := s.Store.DeletePort(p.Link); err != nil {
			return err
		}
	}
	return nil
}
