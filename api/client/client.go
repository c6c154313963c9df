// Package client connects to a vnetd and translates its status codes to errors with a
// kind, for programs, and a message with the remedy, for users.
package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// DefaultRuntimeDir is the default directory of the sockets of vnetd.
const DefaultRuntimeDir = "/run/vnetd"

// maxMessage limits messages of the server: a list of leases can be long.
const maxMessage = 64 << 20

// Client has the services of one vnetd. It connects at the first call, and again
// after the daemon was restarted.
type Client struct {
	vnetv1.NetworkServiceClient
	vnetv1.PortServiceClient
	vnetv1.LeaseServiceClient
	vnetv1.RecordServiceClient
	vnetv1.ForwardServiceClient
	vnetv1.EventServiceClient
	vnetv1.SystemServiceClient

	// Socket is the path of the socket.
	Socket string
	conn   *grpc.ClientConn
}

// Sockets returns the read-write and the read-only socket according to the
// environment: VNETD_SOCKET for both, or those in VNETD_RUNTIME_DIR, or those in
// [DefaultRuntimeDir].
func Sockets() (write, read string) {
	if s := os.Getenv("VNETD_SOCKET"); s != "" {
		return s, s
	}
	dir := os.Getenv("VNETD_RUNTIME_DIR")
	if dir == "" {
		dir = DefaultRuntimeDir
	}
	return filepath.Join(dir, "vnetd.sock"), filepath.Join(dir, "vnetd-ro.sock")
}

// New returns a client of the daemon at a unix socket, to be closed by the caller. Its
// calls return errors of this package.
func New(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return fromStatus(socket, invoke(ctx, method, req, reply, cc, opts...))
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := stream(ctx, desc, cc, method, opts...)
			return &clientStream{s, socket}, fromStatus(socket, err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", socket, err)
	}
	return &Client{
		NetworkServiceClient: vnetv1.NewNetworkServiceClient(conn),
		PortServiceClient:    vnetv1.NewPortServiceClient(conn),
		LeaseServiceClient:   vnetv1.NewLeaseServiceClient(conn),
		RecordServiceClient:  vnetv1.NewRecordServiceClient(conn),
		ForwardServiceClient: vnetv1.NewForwardServiceClient(conn),
		EventServiceClient:   vnetv1.NewEventServiceClient(conn),
		SystemServiceClient:  vnetv1.NewSystemServiceClient(conn),
		Socket:               socket,
		conn:                 conn,
	}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// clientStream translates the errors of a stream.
type clientStream struct {
	grpc.ClientStream
	socket string
}

func (s *clientStream) RecvMsg(m any) error { return fromStatus(s.socket, s.ClientStream.RecvMsg(m)) }
