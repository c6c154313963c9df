package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The time between attempts to open a subscription again doubles from the first of these
// to the second.
const (
	minReopen = 10 * time.Millisecond
	maxReopen = 10 * time.Second
)

// subscription reads notifications of rtnetlink groups. A receive error other than an
// overflow has it open its socket again, in the network namespace of the thread that run
// is called on.
type subscription struct {
	open func() (*netlink.Conn, error)
	conn *netlink.Conn
	log  *slog.Logger
}

func subscribe(log *slog.Logger, groups ...uint32) (*subscription, error) {
	open := func() (*netlink.Conn, error) {
		c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return nil, fmt.Errorf("open rtnetlink subscription: %w", err)
		}
		for _, g := range groups {
			if err := c.JoinGroup(g); err != nil {
				c.Close()
				return nil, fmt.Errorf("join rtnetlink group %d: %w", g, err)
			}
		}
		if err := c.SetReadBuffer(4 << 20); err != nil {
			log.Debug("rtnetlink receive buffer keeps its default size", "err", err)
		}
		return c, nil
	}
	c, err := open()
	return &subscription{open, c, log}, err
}

// run calls receive with notifications until ctx ends. lost reports that some were lost
// before them: the receive buffer overflowed, or the socket was opened again.
func (s *subscription) run(ctx context.Context, receive func(msgs []netlink.Message, lost bool)) {
	wait := minReopen
	for {
		stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
		var err error
		for err == nil && ctx.Err() == nil {
			var msgs []netlink.Message
			msgs, err = s.conn.Receive()
			lost := errors.Is(err, unix.ENOBUFS)
			if ctx.Err() == nil && (err == nil || lost) {
				receive(msgs, lost)
				err, wait = nil, minReopen
			}
		}
		stop()
		s.conn.Close()
		for err != nil && ctx.Err() == nil {
			s.log.Warn("rtnetlink subscription failed; opening it again", "err", err, "wait", wait)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, maxReopen)
			var c *netlink.Conn
			if c, err = s.open(); err == nil {
				s.conn = c
			}
		}
		if ctx.Err() != nil {
			s.conn.Close()
			return
		}
		receive(nil, true)
	}
}
