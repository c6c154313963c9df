package rpc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// orphan looks at the host, and returns what it holds of an orphaned network.
func (s *Server) orphan(ctx context.Context, name string) (*netdrv.Orphan, error) {
	if _, err := s.Engine.LookAtHost(ctx); err != nil {
		return nil, failed("look at the host", err)
	}
	var names []string
	for _, o := range s.Engine.Orphans() {
		if o.Network == name {
			return &o, nil
		}
		names = append(names, o.Network)
	}
	if _, declared := s.Store.Get(name); declared {
		return nil, status.Errorf(codes.FailedPrecondition, "network %s is declared, and the host has no orphaned links of it", name)
	}
	if len(names) == 0 {
		return nil, status.Errorf(codes.NotFound, "no orphaned network %s; this host has none", name)
	}
	return nil, status.Errorf(codes.NotFound, "no orphaned network %s; this host has %s", name, strings.Join(names, ", "))
}

// prepareNew is prepare for a network that is not declared. If the host holds links of
// a network of that name, the definition takes them over: adopts is true then. It has
// to keep the bridge of guests.
func (s *Server) prepareNew(ctx context.Context, p *vnetv1.Network, start bool) (n netdrv.Network, adopts bool, err error) {
	n, err = s.prepare(ctx, p, nil)
	orphans := s.Engine.Orphans()
	i := slices.IndexFunc(orphans, func(o netdrv.Orphan) bool { return o.Network == p.GetName() })
	if i < 0 {
		return n, false, err
	}
	o := &orphans[i]
	shown := o.Adopted()
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return n, false, failed("check network "+n.Name, err)
	}
	if n, err = s.check(ctx, p, &shown, host.Without(o)); err != nil {
		return n, false, err
	}
	if len(o.Guests) > 0 && (!start || n.Bridge.Name != shown.Bridge.Name) {
		return n, false, status.Errorf(codes.FailedPrecondition, "network %s: the host has guests on a network of that name, which is not declared: %s; declare it with its bridge (vnetctl network adopt %s), or remove it (vnetctl network forget %s)", n.Name, o, n.Name, n.Name)
	}
	return n, true, nil
}

// AdoptNetwork declares a network from its links in the kernel.
func (s *Server) AdoptNetwork(ctx context.Context, req *vnetv1.AdoptNetworkRequest) (*vnetv1.AdoptNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	o, err := s.orphan(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	entry, declared := s.Store.Get(o.Network)
	if !declared {
		n, err := s.adopted(ctx, o, req.GetNetwork())
		if err != nil {
			return nil, err
		}
		entry = store.Entry{Network: n}
	}
	ports, err := s.adoptedPorts(ctx, o, &entry.Network)
	if err != nil {
		return nil, err
	}
	resp := &vnetv1.AdoptNetworkResponse{}
	for _, p := range ports {
		resp.Ports = append(resp.Ports, p.Link)
	}
	if !req.GetDryRun() {
		if entry, err = s.adopt(ctx, entry, declared, ports); err != nil {
			return nil, err
		}
	}
	resp.Network = s.proto(entry)
	return resp, nil
}

// adopt stores a network and its ports, and has them looked at. If the network is not
// up as declared then, it is an orphan again.
func (s *Server) adopt(ctx context.Context, entry store.Entry, declared bool, ports []netdrv.Port) (store.Entry, error) {
	name := entry.Network.Name
	err := s.Engine.Declare(func() error {
		for _, p := range ports {
			if err := s.Store.PutPort(p); err != nil {
				return err
			}
		}
		if declared {
			return nil
		}
		change, err := s.Store.Adopt(entry.Network, true)
		if entry = change.Entry; err == nil {
			err = change.Stored()
		}
		if err == nil {
			change.Keep()
		}
		return err
	})
	if err == nil {
		err = s.stand(ctx, entry)
	}
	if err != nil {
		back := s.Engine.Declare(func() error {
			var err error
			for _, p := range ports {
				err = errors.Join(err, s.Store.DisownPort(p.Link))
			}
			if !declared {
				err = errors.Join(err, s.Store.Disown(name))
			}
			return err
		})
		if back = errors.Join(back, s.Engine.Reconcile(ctx)); back != nil {
			s.log.Error("adoption not rolled back", "network", name, "err", back)
		}
		return entry, failed("adopt network "+name, err)
	}
	if !declared {
		s.publish(vnetv1.EventType_EVENT_TYPE_NETWORK_CREATED, entry)
	}
	return entry, failedOr("adopt network "+name, s.Engine.Reconcile(ctx))
}

// adopted is the definition of an orphan: what is given, and what the kernel shows.
func (s *Server) adopted(ctx context.Context, o *netdrv.Orphan, given *vnetv1.Network) (netdrv.Network, error) {
	shown := o.Adopted()
	if t, ok := s.Engine.Treatment(shown.Bridge.Name); ok && t.Exact && shown.Mode == 0 {
		shown.Mode, shown.NAT.IPv6 = t.Mode, t.IPv6NAT
	}
	p := proto.CloneOf(wire.ToNetwork(&shown))
	if given != nil {
		if given.GetName() != "" && given.GetName() != o.Network {
			return shown, status.Errorf(codes.InvalidArgument, "the definition is of network %s, and the orphan is %s", given.GetName(), o.Network)
		}
		if given.GetMode() != vnetv1.Mode_MODE_UNSPECIFIED && given.GetMode() != p.GetMode() {
			p.Nat = nil
		}
		fill(p, given)
	}
	if p.GetMode() == vnetv1.Mode_MODE_UNSPECIFIED {
		return shown, status.Errorf(codes.InvalidArgument, "the host does not show the mode of network %s: give it with --mode (nat, route, open or isolated), or the whole definition with -f FILE", o.Network)
	}
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return shown, failed("adopt network "+o.Network, err)
	}
	n, err := s.check(ctx, p, &shown, host.Without(o))
	n.Autostart = p.Autostart == nil || p.GetAutostart()
	return n, err
}

// fill sets the fields of p that are set in given.
func fill(p, given *vnetv1.Network) {
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
}

// adoptedPorts declares the taps and macvtaps of an orphan.
func (s *Server) adoptedPorts(ctx context.Context, o *netdrv.Orphan, n *netdrv.Network) ([]netdrv.Port, error) {
	seen, err := s.Kernel.Seen(ctx)
	if err != nil {
		return nil, failed("adopt network "+o.Network, err)
	}
	ports := o.Ports(func(l netdrv.Link) netdrv.MAC {
		if macs := seen[l.Index]; len(macs) == 1 {
			return macs[0]
		}
		return netdrv.MAC{}
	})
	var fs netdrv.Findings
	for i := range ports {
		for _, f := range netdrv.ValidatePort(&ports[i], n) {
			fs.Add("ports."+ports[i].Link+"."+f.Path, "%s", f.Why)
		}
	}
	if fs != nil {
		return nil, findingsError(codes.FailedPrecondition, "adopt network "+o.Network, fs)
	}
	return ports, nil
}

// ForgetNetwork removes the links of a network that is not declared.
func (s *Server) ForgetNetwork(ctx context.Context, req *vnetv1.ForgetNetworkRequest) (*vnetv1.ForgetNetworkResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	o, err := s.orphan(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if len(o.Guests) > 0 && !req.GetForce() {
		return nil, status.Errorf(codes.FailedPrecondition, "orphaned network %s has guests: %s; detach them, declare it with `vnetctl network adopt %s`, or remove it with --force", o.Network, strings.Join(o.Guests, ", "), o.Network)
	}
	links := map[string]bool{}
	for _, l := range o.Links {
		links[l.Name] = true
	}
	resp := &vnetv1.ForgetNetworkResponse{Links: slices.Sorted(maps.Keys(links))}
	if err := s.Store.Remove(nil, resp.Links); err != nil {
		return nil, failed("forget network "+o.Network, err)
	}
	if err := s.Engine.Reconcile(ctx); err != nil {
		return nil, failed("forget network "+o.Network, err)
	}
	have, err := s.Engine.LookAtHost(ctx)
	if err != nil {
		return nil, failed("forget network "+o.Network, err)
	}
	for _, l := range have.Links {
		if links[l.Name] {
			return nil, status.Errorf(codes.Internal, "forget network %s: link %s is still there; the daemon's log says why", o.Network, l.Name)
		}
	}
	if _, declared := s.Store.Get(o.Network); !declared {
		err = s.Leases.Forget(o.Network)
	}
	return resp, failedOr("forget network "+o.Network, err)
}
