package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

const (
	// settledAfter is how long a MAC must have been behind one port to be there for
	// certain. A frame is looked at much sooner.
	settledAfter = 5 * time.Second
	movesEvery   = 10 * time.Second // how often notifications are read if there is no question
	maxMoves     = 1 << 16          // MACs that are remembered
)

// moves remembers where bridges have learned MACs, from the kernel's notifications: when
// a MAC moves from port to port, since two ports send with it, the forwarding database
// shows only the one that was last. A notification is queued before the frame that caused
// it is delivered to a packet socket.
type fdbHistory struct {
	mu   sync.Mutex
	fd   int
	buf  []byte
	at   map[fdbKey]fdbLocation
	lost time.Time // the last time that notifications were lost
}

type fdbKey struct {
	bridge int
	mac    netdrv.MAC
}

type fdbLocation struct {
	port int
	left time.Time // the port before it
}

// open subscribes, and asks for what is there.
func (m *fdbHistory) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink subscription: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_NEIGH)
	}
	if err == nil {
		err = attachBridgeFilter(fd)
	}
	if err == nil {
		dump := make([]byte, unix.SizeofNlMsghdr+unix.SizeofNdMsg)
		binary.NativeEndian.PutUint32(dump, uint32(len(dump)))
		binary.NativeEndian.PutUint16(dump[4:], unix.RTM_GETNEIGH)
		binary.NativeEndian.PutUint16(dump[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		dump[unix.SizeofNlMsghdr] = unix.AF_BRIDGE
		err = unix.Sendto(fd, dump, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("subscribe to what bridges learn: %w", err)
	}
	m.fd, m.buf, m.at = fd, make([]byte, 64<<10), map[fdbKey]fdbLocation{}
	m.drain(time.Now())
	return nil
}

// attachBridgeFilter keeps out what is about neighbours and not about bridges.
func attachBridgeFilter(fd int) error {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: unix.SizeofNlMsghdr, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_BRIDGE, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

func (m *fdbHistory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	unix.Close(m.fd)
	m.fd = -1
}

// drain reads what has happened. The lock is held.
func (m *fdbHistory) drain(now time.Time) {
	for {
		n, err := unix.Read(m.fd, m.buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			m.lost = now
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || n <= 0:
			return
		}
		for b := m.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				break
			}
			m.note(binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:size], now)
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// note notes one message: an entry that was made, has moved, or was deleted.
func (m *fdbHistory) note(kind uint16, b []byte, now time.Time) {
	if len(b) < unix.SizeofNdMsg || b[0] != unix.AF_BRIDGE || kind != unix.RTM_NEWNEIGH && kind != unix.RTM_DELNEIGH ||
		binary.NativeEndian.Uint16(b[8:])&unix.NUD_PERMANENT != 0 {
		return
	}
	mac, bridge := seek(b[unix.SizeofNdMsg:], unix.NDA_LLADDR), seek(b[unix.SizeofNdMsg:], unix.NDA_MASTER)
	if len(mac) != 6 || len(bridge) != 4 {
		return
	}
	key := fdbKey{int(binary.NativeEndian.Uint32(bridge)), netdrv.MAC(mac)}
	was, known := m.at[key]
	next := fdbLocation{port: int(int32(binary.NativeEndian.Uint32(b[4:]))), left: was.left}
	switch {
	case kind == unix.RTM_DELNEIGH:
		if next.port = 0; now.Sub(was.left) > settledAfter {
			delete(m.at, key)
			return
		}
	case known && was.port != 0 && was.port != next.port:
		next.left = now
	}
	if !known && len(m.at) >= maxMoves { // invented MACs
		clear(m.at)
		m.lost = now
	}
	m.at[key] = next
}

// Settled reports whether a MAC is for certain behind a port of a bridge: it was seen
// behind no other one lately.
func (f *FDB) Settled(bridge int, mac netdrv.MAC, port int) bool {
	m, now := &f.moves, time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drain(now)
	at, known := m.at[fdbKey{bridge, mac}]
	return now.Sub(m.lost) > settledAfter && (!known || at.port == port && now.Sub(at.left) > settledAfter)
}

// Run reads notifications until ctx ends, so that few are lost.
func (f *FDB) Run(ctx context.Context) error {
	every := time.NewTicker(movesEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-every.C:
			f.moves.mu.Lock()
			f.moves.drain(now)
			f.moves.mu.Unlock()
		}
	}
}
