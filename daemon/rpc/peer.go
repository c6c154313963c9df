package rpc

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/vnetd/vnetd/daemon/peer"
)

// caller is the connection that a call came by.
type caller struct {
	credentials.CommonAuthInfo
	*peer.Conn
	// readOnly: it is one of the read-only socket.
	readOnly bool
}

// AuthType is part of credentials.AuthInfo.
func (caller) AuthType() string { return "peercred" }

func (c caller) mayWrite() bool { return !c.readOnly && c.Peer.Admin }

// peerCredentials are those that the kernel recorded when the peer connected.
type peerCredentials struct{ readOnly bool }

func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	pc, ok := conn.(*peer.Conn)
	if !ok {
		return nil, nil, fmt.Errorf("identify peer: %T is not a connection of a known peer", conn)
	}
	return conn, caller{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, pc, c.readOnly}, nil
}

func (c peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	panic("rpc: the server does not dial")
}

func (c peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }
func (c peerCredentials) OverrideServerName(string) error         { return nil }

// callerFrom returns who calls.
func callerFrom(ctx context.Context) (caller, bool) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return caller{}, false
	}
	c, ok := p.AuthInfo.(caller)
	return c, ok
}
