package dhcpd

import (
	"context"
	"log/slog"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/internal/batchio"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	batchesAtOnce = 8 // that are read before any frame is served
	servedAtOnce  = 4 // frames that are served before the next read

	// batchSize frames are read or written with one system call: those
	// of all guests of a host that boots, or of one in a loop.
	batchSize = 32

	// maxRequest is the longest frame that is read: requests are shorter than
	// an Ethernet frame. Longer ones are truncated, and so malformed.
	maxRequest = 1514

	// maxUnsent bounds the replies that wait for the socket.
	maxUnsent = 4096

	// receiveBuffer holds the first packets of a thousand guests that boot at
	// once, of which the kernel counts 1.3 KiB each; its default holds 160.
	receiveBuffer = 4 << 20
)

var batches = batchio.NewPool(batchSize, maxRequest, 0)

// ingress reads the frames of a packet socket, and serves them round-robin by bridge
// port. Reading is much cheaper than serving: so the kernel's queue, which all ports
// share, stays short, and frames behind a flood wait here, in a queue of their own port.
type ingress struct {
	in      *batchio.Reader
	log     *slog.Logger
	ports   portCache
	circuit func(frame []byte) fair.Circuit
	where   limit.Component // of panics
	queue   fair.Queue
	limiter fair.Limiter
	dropped func() // notes a frame over the rate limit
}

func newIngress(sock syscall.Conn, ifi *net.Interface, ports Ports, where limit.Component, circuit func(frame []byte) fair.Circuit, log *slog.Logger, dropped func()) (*ingress, error) {
	in, err := batchio.NewReader(sock, batches)
	if err != nil {
		return nil, err
	}
	growReceiveBuffer(sock)
	return &ingress{in: in, log: log, where: where, circuit: circuit, ports: portCache{ports: ports, bridge: ifi.Index}, dropped: dropped}, nil
}

// growReceiveBuffer sets the buffer beyond the system's limit, which this process may; else
// the default will do.
func growReceiveBuffer(sock syscall.Conn) {
	if conn, err := sock.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		})
	}
}

// serve has every frame handled until the socket is closed. handle reports whether
// it accepts an offer.
func (in *ingress) serve(ctx context.Context, closed <-chan struct{}, handle func(from fair.Origin, frame []byte) bool) {
	for {
		if err := in.read(); err != nil {
			if retry(ctx, closed, in.log, err) {
				continue
			}
			return
		}
		for range servedAtOnce {
			from, frame, ok := in.queue.Next()
			if !ok {
				break
			}
			if handle(from, frame) {
				in.limiter.Refund(from)
			}
		}
	}
}

// read queues the frames of the socket, and waits for one if the queue is empty.
func (in *ingress) read() error {
	for range batchesAtOnce {
		n, err := in.in.Read(in.queue.Len() == 0)
		if err != nil {
			return err
		}
		now := time.Now()
		for i := range n {
			in.take(in.in.Data(i), now)
		}
		if n < batchSize {
			return nil
		}
	}
	return nil
}

// take queues a frame, unless its origin is over the rate limit.
func (in *ingress) take(frame []byte, now time.Time) {
	defer limit.Recover(in.log, in.where, frame)
	if len(frame) < ethLen {
		return
	}
	from := fair.Origin{Port: in.ports.port(lease.MAC(frame[6:12]), now), Circuit: in.circuit(frame)}
	if !in.limiter.Allow(from, now) || !in.queue.Add(from, frame) {
		in.dropped()
	}
}
