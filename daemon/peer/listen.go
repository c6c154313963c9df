package peer

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound the connections of a listener.
type Limits struct {
	Conns     int // of all unprivileged users, and as many of administrators besides
	UserConns int // of one unprivileged user
}

// FileShare returns an eighth of the descriptors that the process may have open, at most
// most. No socket can use up those of another: the API's two sockets, the tap broker's and
// the proxy have such a share each.
func FileShare(most int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	return int(min(uint64(most), limit.Cur/8))
}

// unreadTime is how long a peer may leave unread what was sent to it.
const unreadTime = time.Minute

// Listener accepts connections of identified peers within limits. It closes what is too
// much at once.
type Listener struct {
	net.Listener
	// Refused, if not nil, is called before a connection over the limits is closed. It must
	// not block.
	Refused    func(c *net.UnixConn, why string)
	adminGroup string
	budget     budget
}

// Listen bounds a listener of unix stream sockets.
func Listen(l net.Listener, adminGroup string, limits Limits) *Listener {
	return &Listener{Listener: l, adminGroup: adminGroup, budget: budget{limits: limits, users: map[uint32]*usage{}}}
}

// Accept returns the next connection that is within the limits; it is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uc, ok := c.(*net.UnixConn)
		if !ok {
			c.Close()
			return nil, fmt.Errorf("accept: %T is not a unix socket", c)
		}
		p, err := Of(uc, l.adminGroup)
		if err != nil {
			uc.Close()
			continue
		}
		if why := l.budget.enter(p); why != "" {
			if l.Refused != nil {
				l.Refused(uc, why)
			}
			uc.Close()
			continue
		}
		return &Conn{UnixConn: uc, Peer: p, budget: &l.budget, closed: make(chan struct{})}, nil
	}
}

// Conn is a connection of a known peer. Reading from one of an unprivileged user waits
// while that user has used up its share of the processor, so that its requests queue up at
// its own end.
type Conn struct {
	*net.UnixConn
	Peer   Peer
	budget *budget

	mu      sync.Mutex
	unread  int         // bytes of responses that were not yet written
	stalled *time.Timer // closes the connection if nothing is
	once    sync.Once
	left    bool
	closed  chan struct{}
}

// Read is part of net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if c.Peer.Admin {
		return c.UnixConn.Read(b)
	}
	for {
		wait := c.budget.debt(c.Peer.UID)
		if wait == 0 {
			break
		}
		select {
		case <-time.After(wait):
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	n, err := c.UnixConn.Read(b)
	c.budget.spend(c.Peer.UID, readCost+time.Duration(n)*byteCost)
	return n, err
}

// Write is part of net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.UnixConn.Write(b)
	c.sent(-n)
	return n, err
}

// Queued notes that a response of n bytes is about to be written. If none of it can be
// for a minute, the connection is closed.
func (c *Conn) Queued(n int) { c.sent(n) }

func (c *Conn) sent(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.unread
	c.unread = max(0, was+n)
	switch {
	case c.left:
		c.unread = 0
		return
	case c.unread == was:
		return
	case c.unread == 0:
		c.stalled.Stop()
	case c.stalled == nil:
		c.stalled = time.AfterFunc(unreadTime, func() { c.Close() })
	case was == 0 || n < 0:
		c.stalled.Reset(unreadTime)
	}
	if !c.Peer.Admin {
		changed := c.unread - was
		c.budget.update(c.Peer.UID, func(u *usage) { u.unread += changed })
	}
}

// Close is part of net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.stalled != nil {
			c.stalled.Stop()
		}
		c.budget.leave(c.Peer, c.unread)
		c.unread, c.left = 0, true
	})
	return c.UnixConn.Close()
}

// callTurn is how often a call that waits for its turn looks whether it has come.
const callTurn = 5 * time.Millisecond

// BeginCall waits until the user may have a call carried out: it has no other, has read
// the responses to earlier ones, and has not used up its share of the processor. The caller
// ends the call with the time that it took and the size of its response. Administrators do
// not wait.
func (c *Conn) BeginCall(ctx context.Context) (end func(took time.Duration, size int), err error) {
	if c.Peer.Admin {
		return func(_ time.Duration, size int) { c.Queued(size) }, nil
	}
	for {
		wait := c.budget.debt(c.Peer.UID)
		if wait == 0 && c.budget.takeCall(c.Peer.UID) {
			break
		}
		if err := pause(ctx, max(wait, callTurn)); err != nil {
			return nil, err
		}
	}
	return func(took time.Duration, size int) {
		c.Queued(size)
		cost := callCost + took + time.Duration(size)*sentByteCost
		c.budget.update(c.Peer.UID, func(u *usage) {
			u.calls--
			u.spent += cost
		})
	}, nil
}

// BeginStream reports whether the user may have one more stream of messages, such as a
// watch of events; end ends it.
func (c *Conn) BeginStream() (end func(), ok bool) {
	if c.Peer.Admin {
		return func() {}, true
	}
	if !c.budget.takeStream(c.Peer.UID) {
		return nil, false
	}
	return func() { c.budget.update(c.Peer.UID, func(u *usage) { u.streams-- }) }, true
}

// BeginMessage is BeginCall for a message of a stream.
func (c *Conn) BeginMessage(ctx context.Context, size int) error {
	c.Queued(size)
	if c.Peer.Admin {
		return nil
	}
	c.budget.spend(c.Peer.UID, messageCost+time.Duration(size)*sentByteCost)
	return pause(ctx, c.budget.debt(c.Peer.UID))
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
