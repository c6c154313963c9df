// Package rpc serves api/vnet/v1 on two unix sockets. It authorizes the peer, bounds what
// a client may cost, and translates between the contract and daemon/service.
package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/peer"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/internal/limit"
)

// Bounds on what a client may send: a definition with 100 000 reservations fits into
// maxMessage, and any request for reading into maxReadMessage. maxResponse is also what
// api/client receives.
const (
	maxMessage     = 64 << 20
	maxReadMessage = 64 << 10
	maxResponse    = 64 << 20
	// callTime is how long the request of a call for reading may take to arrive and to be
	// answered.
	callTime = 30 * time.Second
)

// Connections of a socket: of all unprivileged users and, besides, of administrators;
// and of each unprivileged user.
const maxConns, maxUserConns = 128, 8

// Server is the gRPC server of a daemon.
type Server struct {
	Service    *service.Service
	adminGroup string
	log        *slog.Logger
	panics     *slog.Logger // limited: any local user reaches the read-only socket
	health     *health.Server

	vnetv1.UnimplementedNetworkServiceServer
	vnetv1.UnimplementedPortServiceServer
	vnetv1.UnimplementedLeaseServiceServer
	vnetv1.UnimplementedRecordServiceServer
	vnetv1.UnimplementedForwardServiceServer
	vnetv1.UnimplementedEventServiceServer
	vnetv1.UnimplementedSystemServiceServer
}

// New returns a server that does not listen yet.
func New(svc *service.Service, adminGroup string, log *slog.Logger) *Server {
	return &Server{Service: svc, adminGroup: adminGroup, log: log, panics: limit.Logger(log), health: health.NewServer()}
}

// Serve answers on l until ctx ends; then it lets running calls finish for a
// moment, and cuts the rest.
func (s *Server) Serve(ctx context.Context, l net.Listener, readOnly bool) error {
	conns := peer.FileShare(maxConns)
	l = peer.Listen(l, s.adminGroup, peer.Limits{Conns: conns, UserConns: min(maxUserConns, conns)})
	g := grpc.NewServer(append(limits(readOnly),
		grpc.Creds(peerCredentials{readOnly}),
		grpc.InTapHandle(s.admit),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)...)
	vnetv1.RegisterNetworkServiceServer(g, s)
	vnetv1.RegisterPortServiceServer(g, s)
	vnetv1.RegisterLeaseServiceServer(g, s)
	vnetv1.RegisterRecordServiceServer(g, s)
	vnetv1.RegisterForwardServiceServer(g, s)
	vnetv1.RegisterEventServiceServer(g, s)
	vnetv1.RegisterSystemServiceServer(g, s)
	healthpb.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	stop := context.AfterFunc(ctx, func() {
		hard := time.AfterFunc(time.Second, g.Stop)
		defer hard.Stop()
		g.GracefulStop()
	})
	defer stop()
	return g.Serve(l)
}

// limits are those of one connection. The peer package has those of a user.
func limits(readOnly bool) []grpc.ServerOption {
	if !readOnly {
		return []grpc.ServerOption{
			grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxResponse), grpc.MaxConcurrentStreams(256), grpc.MaxHeaderListSize(64 << 10),
			grpc.ConnectionTimeout(10 * time.Second),
			grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
		}
	}
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxReadMessage), grpc.MaxSendMsgSize(maxResponse), grpc.MaxConcurrentStreams(16), grpc.MaxHeaderListSize(16 << 10),
		grpc.InitialWindowSize(maxReadMessage), grpc.InitialConnWindowSize(maxReadMessage),
		grpc.ReadBufferSize(4 << 10), grpc.WriteBufferSize(4 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 30 * time.Second, Time: time.Minute, Timeout: 20 * time.Second}),
	}
}

// reads are the methods that everybody may call.
var reads = map[string]bool{
	"ListNetworks": true, "GetNetwork": true, "ListLeases": true, "ListRecords": true, "ListForwards": true, "ListPorts": true, "Watch": true, "GetStatus": true,
	"Check": true, "List": true, "ServerReflectionInfo": true,
}

// streams are the methods that end when the client wants.
var streams = map[string]bool{"Watch": true, "ServerReflectionInfo": true}

// allow judges a call by its method and its peer.
func (s *Server) allow(ctx context.Context, method string) error {
	c, ok := callerFrom(ctx)
	switch {
	case !ok:
		return status.Error(codes.Unauthenticated, "the peer could not be identified")
	case reads[path.Base(method)], c.mayWrite():
		return nil
	case c.readOnly:
		return status.Error(codes.PermissionDenied, "this is the read-only socket; changes go through vnetd.sock")
	}
	return status.Errorf(codes.PermissionDenied, "user %d may not change networks; root and the members of group %s may", c.Peer.UID, s.adminGroup)
}

// admit judges a call before its request is read, which has a time to arrive.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if err := s.allow(ctx, info.FullMethodName); err != nil {
		return ctx, err
	}
	if method := path.Base(info.FullMethodName); reads[method] && !streams[method] {
		limited, cancel := context.WithTimeout(ctx, callTime)
		context.AfterFunc(ctx, cancel)
		ctx = limited
	}
	return ctx, nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	c, ok := callerFrom(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the peer could not be identified")
	}
	if !reads[path.Base(info.FullMethod)] {
		s.log.Info("call", "method", strings.TrimPrefix(info.FullMethod, "/"), "uid", c.Peer.UID, "pid", c.Peer.PID)
	}
	end, err := c.BeginCall(ctx)
	if err != nil {
		return nil, status.Errorf(codes.ResourceExhausted, "user %d has used up its share of vnetd; repeat the call later", c.Peer.UID)
	}
	start, size := time.Now(), 0
	defer func() { end(time.Since(start), size) }()
	if resp, err = h(ctx, req); err != nil {
		return nil, clipped(statusError(err), c.readOnly)
	}
	if m, ok := resp.(proto.Message); ok {
		size = proto.Size(m)
	}
	return resp, nil
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	c, ok := callerFrom(ss.Context())
	if !ok {
		return status.Error(codes.Unauthenticated, "the peer could not be identified")
	}
	end, ok := c.BeginStream()
	if !ok {
		return status.Errorf(codes.ResourceExhausted, "too many streams of events of user %d, or of all users; end one, and call again", c.Peer.UID)
	}
	defer end()
	return clipped(statusError(h(srv, &boundedStream{ServerStream: ss, caller: c})), c.readOnly)
}

// boundedStream closes the connection of a client that does not finish its request, or
// does not read what it asked for (peer.Conn.Queued).
type boundedStream struct {
	grpc.ServerStream
	caller    caller
	requested bool
}

func (s *boundedStream) RecvMsg(m any) error {
	if !s.requested {
		s.requested = true
		late := time.AfterFunc(callTime, func() { s.caller.Close() })
		defer late.Stop()
	}
	return s.ServerStream.RecvMsg(m)
}

func (s *boundedStream) SendMsg(m any) error {
	if m, ok := m.(proto.Message); ok {
		if err := s.caller.BeginMessage(s.Context(), proto.Size(m)); err != nil {
			return err
		}
	}
	return s.ServerStream.SendMsg(m)
}

// recovered keeps one call's bug from ending the daemon.
func (s *Server) recovered(method string, err *error) {
	if v := recover(); v != nil {
		limit.Report(s.panics, limit.RPC, fmt.Sprintf("%s: %v", path.Base(method), v), nil)
		*err = status.Error(codes.Internal, "internal error; the daemon's log has it")
	}
}
