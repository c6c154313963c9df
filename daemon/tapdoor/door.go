// Package tapdoor hands ports of networks to users who are not root, as descriptors of
// taps and macvtaps. The protocol is in api/tapdoor.
//
// A tap lives as long as a descriptor of it, which only its guest has: the kernel
// removes it with the last, and the engine forgets the port. A macvtap would stay, so
// that its port lives as long as the process that asked for it.
//
// What one peer can cost is bounded: connections in all and of a user, how often a user
// asks, the length and the time of a request, the ports of a user. Nothing is read behind the request.
package tapdoor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/tapdoor"
	"github.com/vnetd/vnetd/daemon/peer"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	maxConns     = 128 // at a time
	maxUserConns = 8   // of one user, but for administrators
	askTime      = 2 * time.Second
	makeTime     = 30 * time.Second
)

// Door is the tap door of a daemon.
type Door struct {
	Service    *service.Service
	AdminGroup string
	Log        *slog.Logger

	wg    sync.WaitGroup
	one   sync.Mutex // one port at a time, so that two cannot both be the last allowed
	asked allowances
}

// Serve answers on l until ctx ends, and watches the processes that ports live with.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer d.wg.Wait()
	d.resume(ctx)
	conns := peer.FileShare(maxConns)
	bounded := peer.Listen(l, d.AdminGroup, peer.Limits{Conns: conns, UserConns: min(maxUserConns, conns)})
	bounded.Refused = func(c *net.UnixConn, why string) { answer(c, tapdoor.Response{Error: why + "; try again later"}, nil) }
	for {
		c, err := bounded.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			time.Sleep(100 * time.Millisecond) // others will close theirs
			continue
		case err != nil:
			return fmt.Errorf("tap broker: %w", err)
		}
		d.admit(ctx, c.(*peer.Conn), time.Now())
	}
}

// admit answers a connection, unless its user asks too often. Administrators may ask at
// any rate.
func (d *Door) admit(ctx context.Context, c *peer.Conn, now time.Time) {
	who := caller{UID: c.Peer.UID, Groups: append(slices.Clone(c.Peer.Groups), c.Peer.GID), Admin: c.Peer.Admin}
	if !who.Admin && !d.asked.take(who.UID, now) {
		answer(c.UnixConn, tapdoor.Response{Error: fmt.Sprintf("too many requests to the tap broker; a user has %d at once, and %d a second", userBurst, userRate)}, nil)
		c.Close()
		return
	}
	d.wg.Go(func() {
		defer c.Close()
		defer limit.Recover(d.Log, limit.Tap, nil)
		d.handle(ctx, c.UnixConn, who, int(c.Peer.PID))
	})
}

func (d *Door) handle(ctx context.Context, c *net.UnixConn, who caller, pid int) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req, err := ask(c)
	if err != nil {
		answer(c, tapdoor.Response{Error: err.Error()}, nil)
		return
	}
	resp, files, err := d.open(ctx, c, req, who, pid)
	defer closeAll(files)
	if err != nil {
		d.Log.Info("tap door refuses", "uid", who.UID, "pid", pid, "asked", limit.Text(req.Network+req.Bridge+req.Port), "err", err)
		resp = tapdoor.Response{Error: err.Error()}
	} else {
		d.Log.Info("tap door opens", "uid", who.UID, "pid", pid, "network", resp.Network, "port", resp.Link)
	}
	answer(c, resp, files)
}

// ask reads a request. What cannot be one is refused by saying why.
func ask(c *net.UnixConn) (req tapdoor.Request, err error) {
	if err := c.SetReadDeadline(time.Now().Add(askTime)); err != nil {
		return req, err
	}
	line, err := tapdoor.ReadLine(c)
	if err != nil {
		return req, fmt.Errorf("read the request: %w", err)
	}
	if err := json.Unmarshal(line, &req); err != nil {
		return req, fmt.Errorf("the request is not a line of JSON: %w", err)
	}
	said := 0
	for _, word := range []string{req.Network, req.Bridge, req.Port} {
		if word != "" {
			said++
		}
	}
	switch {
	case said != 1:
		return req, errors.New("a request names one of network, bridge and port")
	case req.Queues < 0 || req.Queues > tapdoor.MaxQueues:
		return req, fmt.Errorf("%d queues; there are 1 to %d", req.Queues, tapdoor.MaxQueues)
	}
	return req, nil
}

func answer(c *net.UnixConn, resp tapdoor.Response, files []*os.File) {
	line, err := json.Marshal(resp)
	if err != nil {
		return
	}
	var rights []byte
	if files != nil {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_ = c.SetWriteDeadline(time.Now().Add(askTime))
	_, _, _ = c.WriteMsgUnix(append(line, '\n'), rights, nil)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
