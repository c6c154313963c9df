package nft

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// lockTable is an empty table that has an owner: the kernel lets no other socket
// change it, and removes it when the owner's socket closes, however the process
// ends. Creating it needs CAP_NET_ADMIN in the network namespace, so that an
// unprivileged user cannot take the lock, as it could a socket's name or a flock.
var lockTable = firewall.Table{Family: firewall.INet, Name: firewall.TableName + "-lock"}

// udataComment is the type of a table's comment in its user data (libnftnl:
// NFTNL_UDATA_TABLE_COMMENT).
const udataComment = 0

// A NamespaceLock is held by at most one process in a network namespace.
type NamespaceLock struct{ sock *socket }

// LockNamespace takes the lock of the calling thread's network namespace. The error of another
// process that tries has comment, and the id of this process. An error that wraps ErrHeld means
// that another process has the lock, or owns one of our tables.
func LockNamespace(comment string) (*NamespaceLock, error) {
	sock, err := dial()
	if err != nil {
		return nil, fmt.Errorf("lock network namespace: %w", err)
	}
	if err = lock(sock, fmt.Sprintf("pid %d, %s", os.Getpid(), comment)); err != nil {
		sock.close()
		return nil, fmt.Errorf("lock network namespace: %w", err)
	}
	return &NamespaceLock{sock}, nil
}

// Unlock releases the lock. The end of the process does so too.
func (l *NamespaceLock) Unlock() { _ = l.sock.close() }

func lock(s *socket, holder string) error {
	m := newTable(lockTable, tableFlagOwner)
	m.data = appendComment(m.data, attrTableUserdata, holder)
	err := s.commit([]message{m}, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		state, _ := s.tableState(context.Background(), lockTable)
		return fmt.Errorf("%w: %s", ErrHeld, state.comment)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return errors.Join(s.available(), fmt.Errorf("%w: tables with an owner need Linux 5.12", err))
	case err != nil:
		return err
	}
	for _, t := range ours { // a vnetd of an earlier version takes no lock
		if state, err := s.tableState(context.Background(), t); err == nil && state.owner != 0 {
			return fmt.Errorf("%w: table %s belongs to netlink port %d, usually the pid", ErrHeld, t.ID(), state.owner)
		}
	}
	return nil
}

// appendComment appends the user data that nft prints as the comment of a table or an
// element.
func appendComment(b []byte, typ uint16, comment string) []byte {
	comment = comment[:min(len(comment), 127)] // nft's own limit is 128 with the NUL
	return appendFilled(b, typ, func(b []byte) []byte {
		return append(append(append(b, udataComment, byte(len(comment)+1)), comment...), 0)
	})
}
