package dhcpd

import (
	"context"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	batchesAtOnce = 8 // that are read before any frame is served
	servedAtOnce  = 4 // frames that are served before others are read
)

// ingress reads the frames of a packet socket, and gives them out one guest at a
// time in turn. Reading is much cheaper than serving: so the kernel's queue,
// which is one for all, stays short, and who waits behind a flood waits here, in
// a line of its own.
type ingress struct {
	in      *inbox
	log     *slog.Logger
	ports   portCache
	circuit func(frame []byte) fair.Circuit
	where   limit.Component // of panics
	lines   fair.Queue
	credit  fair.Limiter
	spent   func() // has a frame that cannot pay noted
}

func newIngress(sock syscall.Conn, ifi *net.Interface, ports Ports, where limit.Component, circuit func(frame []byte) fair.Circuit, log *slog.Logger, spent func()) (*ingress, error) {
	in, err := newInbox(sock)
	if err != nil {
		return nil, err
	}
	return &ingress{in: in, log: log, where: where, circuit: circuit, ports: portCache{ports: ports, bridge: ifi.Index}, spent: spent}, nil
}

// serve has every frame handled until the socket is closed. handle says whether
// it takes up an offer.
func (in *ingress) serve(ctx context.Context, closed <-chan struct{}, handle func(g fair.Origin, frame []byte) bool) {
	for {
		if err := in.read(); err != nil {
			if rest(ctx, closed, in.log, err) {
				continue
			}
			return
		}
		for range servedAtOnce {
			g, frame, ok := in.lines.Next()
			if !ok {
				break
			}
			if handle(g, frame) {
				in.credit.Refund(g)
			}
		}
	}
}

// read takes in what the socket has, and waits for a frame if none waits here.
func (in *ingress) read() error {
	for range batchesAtOnce {
		n, err := in.in.next(in.lines.Len() == 0)
		if err != nil {
			return err
		}
		now := time.Now()
		for i := range n {
			in.take(in.in.frame(i), now)
		}
		if n < batchSize {
			return nil
		}
	}
	return nil
}

// take puts a frame into the line of its guest, who pays for it.
func (in *ingress) take(frame []byte, now time.Time) {
	defer limit.Recover(in.log, in.where, frame)
	if len(frame) < ethLen {
		return
	}
	g := fair.Origin{Port: in.ports.port(lease.MAC(frame[6:12]), now), Circuit: in.circuit(frame)}
	if !in.credit.Allow(g, now) || !in.lines.Add(g, frame) {
		in.spent()
	}
}
