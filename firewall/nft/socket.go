package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendBuffer bounds a transaction, which is one datagram: room for more
	// than 50 000 networks.
	sendBuffer = 32 << 20
	// receiveBuffer has room for the errors of a transaction of which every message fails.
	receiveBuffer = 16 << 20
	// datagram is more than the kernel puts into one datagram of a dump.
	datagram = 256 << 10
	// answerTimeout limits how long the kernel may take to answer a request.
	answerTimeout = 10 * time.Second
)

// errLost: the kernel sent more than the socket's buffer could hold.
var errLost = errors.New("netlink messages were lost")

// socket is a netlink socket to nf_tables. Its methods must not be called
// concurrently.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	port uint32 // the socket's address, which the kernel takes for a table's owner
	seq  uint32
	buf  []byte
}

// dial opens a socket in the network namespace of the calling thread, and joins
// the multicast groups.
func dial(groups ...int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to nf_tables: %w", err)
	}
	port, err := setUp(fd, groups)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up netlink socket to nf_tables: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink:netfilter")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("set up netlink socket to nf_tables: %w", err)
	}
	return &socket{file: file, raw: raw, port: port, buf: make([]byte, datagram)}, nil
}

func setUp(fd int, groups []int) (port uint32, err error) {
	// Forcing needs CAP_NET_ADMIN; without it large changes fail later, with
	// EMSGSIZE, and small ones work.
	for _, o := range []struct{ forced, plain, size int }{
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer},
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer},
	} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.forced, o.size) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.plain, o.size)
		}
	}
	// Extended acknowledgements say which attribute was wrong; capped ones do
	// not send the message back.
	for _, o := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, o, 1); err != nil {
			return 0, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			return 0, err
		}
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return sa.(*unix.SockaddrNetlink).Pid, nil
}

func (s *socket) close() error { return s.file.Close() }

// next returns a new sequence number, never 0.
func (s *socket) next() uint32 {
	s.seq++
	if s.seq == 0 {
		s.seq++
	}
	return s.seq
}

// send sends a datagram to the kernel, which processes it before send returns.
func (s *socket) send(b []byte) error {
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	return errors.Join(cerr, err)
}

// receive returns the messages of the next datagram, or with wait unset none if
// there is none. They are valid until the next call.
func (s *socket) receive(wait bool) ([]message, error) {
	var n int
	var err error
	read := func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), s.buf, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		return !wait || !errors.Is(err, unix.EAGAIN)
	}
	if rerr := s.raw.Read(read); rerr != nil {
		return nil, rerr
	}
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil, nil
	case errors.Is(err, unix.ENOBUFS):
		return nil, errLost
	case err != nil:
		return nil, err
	case n > len(s.buf):
		return nil, errLost
	}
	return parse(s.buf[:n])
}

// drain discards answers to an earlier request.
func (s *socket) drain() {
	for {
		ms, err := s.receive(false)
		if len(ms) == 0 && (err == nil || !errors.Is(err, errLost)) {
			return
		}
	}
}

// request sends one message and calls each for every answer to it.
func (s *socket) request(ctx context.Context, m message, each func(message) error) error {
	s.drain()
	m.seq = s.next()
	deadline := time.Now().Add(answerTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := s.file.SetReadDeadline(deadline); err != nil {
		return err
	}
	defer s.file.SetReadDeadline(time.Time{})
	if err := s.send(m.append(nil)); err != nil {
		return err
	}
	for {
		ms, err := s.receive(true)
		if err != nil {
			return err
		}
		for _, r := range ms {
			if r.seq != m.seq {
				continue
			}
			if done, err := answer(m, r, each); done || err != nil {
				return err
			}
		}
	}
}

// errInterrupted: the ruleset changed while it was being listed.
var errInterrupted = errors.New("the ruleset changed while it was read")

// answer handles one answer to m and reports whether it was the last.
func answer(m, r message, each func(message) error) (done bool, err error) {
	if r.flags&unix.NLM_F_DUMP_INTR != 0 {
		return true, errInterrupted
	}
	switch r.typ {
	case unix.NLMSG_DONE:
		return true, nil
	case unix.NLMSG_ERROR:
		if errno := r.errno(); errno != 0 {
			return true, errno
		}
		return true, nil
	}
	return m.flags&unix.NLM_F_DUMP == 0, each(r)
}

// message is a netlink message. data begins with the family, version and
// resource of nfnetlink, or in an error with the number of the error.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte
}

const headerLen = 16

func align(n int) int { return (n + 3) &^ 3 }

// append adds the message in its form on the wire to b.
func (m message) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(headerLen+len(m.data)))
	b = binary.NativeEndian.AppendUint16(b, m.typ)
	b = binary.NativeEndian.AppendUint16(b, m.flags)
	b = binary.NativeEndian.AppendUint32(b, m.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, m.data...)
	return append(b, make([]byte, align(len(m.data))-len(m.data))...)
}

// parse splits a datagram into its messages.
func parse(b []byte) ([]message, error) {
	var out []message
	for len(b) > 0 {
		if len(b) < headerLen {
			return nil, errors.New("netlink datagram ends within a header")
		}
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			return nil, fmt.Errorf("netlink message claims %d bytes of %d", n, len(b))
		}
		out = append(out, message{
			typ:   binary.NativeEndian.Uint16(b[4:]),
			flags: binary.NativeEndian.Uint16(b[6:]),
			seq:   binary.NativeEndian.Uint32(b[8:]),
			data:  b[headerLen:n],
		})
		b = b[min(align(n), len(b)):]
	}
	return out, nil
}

// errno returns the error of a message of type NLMSG_ERROR; 0 acknowledges.
func (m message) errno() syscall.Errno {
	if len(m.data) < 4 {
		return unix.EBADMSG
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(m.data)))
}
