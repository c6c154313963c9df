package rpc

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// changeable are the fields of a port that are not part of how its link was made.
var changeable = []string{"guest", "addresses", "filter", "bandwidth"}

// UpdatePort is in the contract.
func (s *Server) UpdatePort(ctx context.Context, req *vnetv1.UpdatePortRequest) (*vnetv1.UpdatePortResponse, error) {
	ctx, cancel := changing(ctx)
	defer cancel()
	s.writes.Lock()
	defer s.writes.Unlock()
	old, err := s.declared(req.GetPort().GetLink())
	if err != nil {
		return nil, err
	}
	p, err := s.changedPort(ctx, old, req)
	if err != nil {
		return nil, err
	}
	changed := !reflect.DeepEqual(p, old)
	if changed {
		if err := s.Engine.ChangePort(ctx, old, p); err != nil {
			return nil, failed("change port "+p.Link+" of network "+p.Network, err)
		}
	}
	for _, is := range s.ports(p.Network) {
		if is.Link == p.Link {
			is.Limits = s.limits(is)
			return &vnetv1.UpdatePortResponse{Port: is, Changed: changed}, nil
		}
	}
	return nil, status.Errorf(codes.Internal, "port %s was changed, and is gone", p.Link)
}

// declared is a port that somebody has declared.
func (s *Server) declared(link string) (netdrv.Port, error) {
	ports := s.Store.Ports()
	i := slices.IndexFunc(ports, func(p netdrv.Port) bool { return p.Link == link })
	switch {
	case i < 0:
		return netdrv.Port{}, status.Errorf(codes.NotFound, "no declared port %s; `vnetctl port list` has them", link)
	case ports[i].Transient:
		return netdrv.Port{}, status.Errorf(codes.FailedPrecondition, "port %s is the tap door's, and gone with its guest; what can be said of it, its network says (bandwidth.perPort)", link)
	}
	return ports[i], nil
}

// changedPort is a port with some of its fields as they are asked for, if that can be.
func (s *Server) changedPort(ctx context.Context, old netdrv.Port, req *vnetv1.UpdatePortRequest) (netdrv.Port, error) {
	entry, ok := s.Store.Get(old.Network)
	if !ok {
		return old, s.missing(old.Network)
	}
	m := wire.ToPort(&old)
	fs := take(m, req.GetPort(), req.GetFields())
	p, unread := wire.FromPort(m)
	fs = append(fs, unread...)
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return old, failed("look at the host", err)
	}
	others := slices.DeleteFunc(s.Store.Ports(), func(o netdrv.Port) bool { return o.Link == old.Link })
	fs = append(append(fs, netdrv.ValidatePort(&p, &entry.Network)...), netdrv.PortConflicts(&p, &entry.Network, others, host)...)
	fs = append(fs, netdrv.UnknownRemotes(&p.Filter, &entry.Network, s.others(""), append(others, p))...)
	if fs != nil {
		return old, findingsError(codes.FailedPrecondition, "port "+old.Link+" of network "+old.Network, fs)
	}
	return p, nil
}

// take takes fields, by their names in files, from one port into another; all that
// can be changed if none is named.
func take(to, from *vnetv1.Port, fields []string) netdrv.Findings {
	var fs netdrv.Findings
	if len(fields) == 0 {
		fields = changeable
	}
	from = proto.Clone(from).(*vnetv1.Port)
	for _, name := range fields {
		if !slices.Contains(changeable, name) {
			fs.Add(name, "is part of how a port is made, or nobody's to set; those that change are %s", strings.Join(changeable, ", "))
			continue
		}
		fd := to.ProtoReflect().Descriptor().Fields().ByJSONName(name)
		if to.ProtoReflect().Clear(fd); from.ProtoReflect().Has(fd) {
			to.ProtoReflect().Set(fd, from.ProtoReflect().Get(fd))
		}
	}
	return fs
}
