package rpc

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Peer is who is at the other end of a unix socket, as the kernel says.
type Peer struct {
	credentials.CommonAuthInfo
	UID    uint32
	GID    uint32
	PID    int32 // a hint for the log only: pids are used again
	Groups []uint32
	// ReadOnly: the peer came by the read-only socket.
	ReadOnly bool
}

// AuthType is part of credentials.AuthInfo.
func (Peer) AuthType() string { return "peercred" }

// peerCredentials identifies peers by SO_PEERCRED and SO_PEERGROUPS, which the
// kernel fixed when the peer connected.
type peerCredentials struct{ readOnly bool }

func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("identify peer: %T is not a unix socket", conn)
	}
	p, err := PeerOf(uc)
	p.ReadOnly = c.readOnly
	return conn, p, err
}

// PeerOf asks the kernel who is at the other end.
func PeerOf(uc *net.UnixConn) (Peer, error) {
	p := Peer{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	raw, err := uc.SyscallConn()
	if err != nil {
		return p, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		p.Groups = peerGroups(int(fd))
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return p, fmt.Errorf("identify peer: %w", err)
	}
	p.UID, p.GID, p.PID = cred.Uid, cred.Gid, cred.Pid
	return p, nil
}

func (c peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	panic("rpc: the server does not dial")
}

func (c peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }
func (c peerCredentials) OverrideServerName(string) error         { return nil }

// peerFrom returns who calls.
func peerFrom(ctx context.Context) (Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	who, ok := p.AuthInfo.(Peer)
	return who, ok
}

// MayWrite reports whether the peer is root, the daemon's own user, or in the
// admin group. The group is looked up every time: it may be made while the
// daemon runs.
func (p Peer) MayWrite(self uint32, adminGroup string) bool {
	if p.ReadOnly {
		return false
	}
	if p.UID == 0 || p.UID == self {
		return true
	}
	g, err := user.LookupGroup(adminGroup)
	if err != nil {
		return false
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	return err == nil && (p.GID == uint32(gid) || slices.Contains(p.Groups, uint32(gid)))
}
