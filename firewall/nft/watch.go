package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// watcher is notified of every transaction in the namespace.
type watcher struct {
	sock *socket
	// own are the generations that our own transactions create, each at its number modulo
	// the length. One that is overwritten before its notification is taken for foreign.
	own [1024]atomic.Uint32
}

func (w *watcher) slot(gen uint32) *atomic.Uint32 { return &w.own[gen%uint32(len(w.own))] }

// newWatcher subscribes. The kernel sends every object of a transaction and at its end the new
// generation; a filter on the socket accepts only the last, so that even our own largest
// transactions cannot overflow it.
func newWatcher() (*watcher, error) {
	s, err := dial(unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, err
	}
	if err := s.filter(nftType(unix.NFT_MSG_NEWGEN)); err != nil {
		s.close()
		return nil, fmt.Errorf("filter nftables notifications: %w", err)
	}
	return &watcher{sock: s}, nil
}

// filter accepts only datagrams that begin with a message of the type.
func (s *socket) filter(typ uint16) error {
	// The filter reads numbers as big-endian, the header has them in the host's
	// order.
	b := binary.NativeEndian.AppendUint16(nil, typ)
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(b)), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(program))
	for i, in := range program {
		raw[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]}
	var serr error
	cerr := s.raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog)
	})
	return errors.Join(cerr, serr)
}

// Watch calls wake after another process has changed any table of nftables in the namespace,
// until ctx ends; it returns nil then. Changes since Open count too. There may be fewer calls
// than changes, and where notifications were lost a call without a change. Only one Watch may
// run at a time.
func (d *Driver) Watch(ctx context.Context, wake func()) error {
	s := d.watch.sock
	if err := s.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		ms, err := s.receive(true)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errLost):
			d.log.Debug("nftables notifications were lost")
			wake()
		case err != nil:
			return fmt.Errorf("watch nftables: %w", err)
		case d.watch.foreign(ms):
			wake()
		}
	}
}

// foreign reports whether one of the messages is of a transaction not ours.
func (w *watcher) foreign(ms []message) bool {
	found := false
	for _, m := range ms {
		gen, ok := generationOf(m)
		found = !ok || !w.slot(gen).CompareAndSwap(gen, 0) || found
	}
	return found
}
