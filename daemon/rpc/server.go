// Package rpc is the daemon's face: the services of api/vnet/v1 on two unix
// sockets. A handler translates, checks who asks, has the store keep what was
// asked and the engine make it so, and answers when it stands. It decides
// nothing about networks.
package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/internal/limit"
)

// maxMessage bounds what a peer may send; a definition with 50 000
// reservations fits.
const maxMessage = 16 << 20

// Parts is what the handlers work with.
type Parts struct {
	Store      *store.Store
	Engine     *reconcile.Engine
	Kernel     reconcile.Kernel
	Leases     *lease.Table
	DHCP       *dhcpd.Server
	Events     *event.Bus
	AdminGroup string
	// Pools are where subnets are picked from.
	Pools    []netip.Prefix
	StateDir string
	Version  string
}

// Server is the gRPC side of a daemon.
type Server struct {
	Parts
	log     *slog.Logger
	panics  *slog.Logger // limited: any local user reaches the read-only socket
	started time.Time
	health  *health.Server

	// writes lets one change of definitions at a time through, so that two
	// that collide cannot both pass the check.
	writes sync.Mutex
	// trials wakes who waits for deadlines.
	trials chan struct{}

	vnetv1.UnimplementedNetworkServiceServer
	vnetv1.UnimplementedPortServiceServer
	vnetv1.UnimplementedLeaseServiceServer
	vnetv1.UnimplementedRecordServiceServer
	vnetv1.UnimplementedForwardServiceServer
	vnetv1.UnimplementedEventServiceServer
	vnetv1.UnimplementedSystemServiceServer
}

// New returns a server that does not listen yet.
func New(parts Parts, log *slog.Logger) *Server {
	return &Server{Parts: parts, log: log, panics: limit.Logger(log), started: time.Now(), health: health.NewServer(), trials: make(chan struct{}, 1)}
}

// Serve answers on l until ctx ends; then it lets running calls finish for a
// moment, and cuts the rest.
func (s *Server) Serve(ctx context.Context, l net.Listener, readOnly bool) error {
	g := grpc.NewServer(
		grpc.Creds(peerCredentials{readOnly}),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(4*maxMessage),
		grpc.MaxConcurrentStreams(256),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)
	vnetv1.RegisterNetworkServiceServer(g, s)
	vnetv1.RegisterPortServiceServer(g, s)
	vnetv1.RegisterLeaseServiceServer(g, s)
	vnetv1.RegisterRecordServiceServer(g, s)
	vnetv1.RegisterForwardServiceServer(g, s)
	vnetv1.RegisterEventServiceServer(g, s)
	vnetv1.RegisterSystemServiceServer(g, s)
	healthpb.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	stop := context.AfterFunc(ctx, func() { stopSoon(g) })
	defer stop()
	return g.Serve(l)
}

func stopSoon(g *grpc.Server) {
	hard := time.AfterFunc(time.Second, g.Stop)
	defer hard.Stop()
	g.GracefulStop()
}

// reads are the methods that everybody may call.
var reads = map[string]bool{
	"ListNetworks": true, "GetNetwork": true, "ListLeases": true, "ListRecords": true, "ListForwards": true, "ListPorts": true, "Watch": true, "GetStatus": true,
	"Check": true, "List": true, "ServerReflectionInfo": true,
}

// allow judges a call by its method and its peer.
func (s *Server) allow(ctx context.Context, method string) error {
	p, ok := peerFrom(ctx)
	switch {
	case !ok:
		return status.Error(codes.Unauthenticated, "the peer could not be identified")
	case reads[path.Base(method)], p.MayWrite(uint32(os.Geteuid()), s.AdminGroup):
		return nil
	case p.ReadOnly:
		return status.Error(codes.PermissionDenied, "this is the read-only socket; changes go through vnetd.sock")
	}
	return status.Errorf(codes.PermissionDenied, "user %d may not change networks; root and the members of group %s may", p.UID, s.AdminGroup)
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	if err := s.allow(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	if p, ok := peerFrom(ctx); ok && !reads[path.Base(info.FullMethod)] {
		s.log.Info("call", "method", strings.TrimPrefix(info.FullMethod, "/"), "uid", p.UID, "pid", p.PID)
	}
	return h(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	if err := s.allow(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return h(srv, ss)
}

// recovered keeps one call's bug from ending the daemon.
func (s *Server) recovered(method string, err *error) {
	if v := recover(); v != nil {
		limit.Report(s.panics, limit.RPC, fmt.Sprintf("%s: %v", path.Base(method), v), nil)
		*err = status.Error(codes.Internal, "internal error; the daemon's log has it")
	}
}
