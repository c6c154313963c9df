// Package peer identifies the processes that connect to vnetd's unix sockets, and
// bounds what each user can cost.
//
// Administrators (root, the daemon's own user and the members of the admin group) and
// all other users have separate budgets, so that no number of unprivileged users keeps
// an administrator from being served.
package peer

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a unix socket, as the kernel recorded it
// when the process connected (SO_PEERCRED, SO_PEERGROUPS).
type Peer struct {
	UID    uint32
	GID    uint32
	PID    int32 // for logs only: the kernel reuses it
	Groups []uint32
	// Admin: root, the daemon's own user, or a member of the admin group.
	Admin bool
}

// Of returns the peer of a connection. The admin group is looked up each time, since it
// may be created while the daemon runs.
func Of(c *net.UnixConn, adminGroup string) (Peer, error) {
	var p Peer
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		p.Groups = groupsOf(int(fd))
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return p, fmt.Errorf("identify peer: %w", err)
	}
	p.UID, p.GID, p.PID = cred.Uid, cred.Gid, cred.Pid
	p.Admin = p.UID == 0 || p.UID == uint32(os.Geteuid()) || p.in(adminGroup)
	return p, nil
}

func (p Peer) in(group string) bool {
	g, err := user.LookupGroup(group)
	if err != nil {
		return false
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	return err == nil && (p.GID == uint32(gid) || slices.Contains(p.Groups, uint32(gid)))
}
