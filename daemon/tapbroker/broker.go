// Package tapbroker hands ports of networks to users who are not root, as descriptors of
// taps and macvtaps. The protocol is in api/tapbroker.
//
// A tap lives as long as a descriptor of it, which only its guest has: the kernel
// removes it with the last, and the engine forgets the port. A macvtap would stay, so
// that its port lives as long as the process that asked for it.
//
// What a peer can cost is bounded: connections in all and of a user, the rate of a user's
// requests, the length and the time of a request, the ports of a user. Only one request is
// read from a connection.
package tapbroker

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

	"github.com/vnetd/vnetd/api/tapbroker"
	"github.com/vnetd/vnetd/daemon/peer"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	maxConns     = 128 // at a time
	maxUserConns = 8   // of one user, but for administrators
	requestTime  = 2 * time.Second
	makeTime     = 30 * time.Second
)

// Broker is the tap broker of a daemon.
type Broker struct {
	Service    *service.Service
	AdminGroup string
	Log        *slog.Logger

	wg       sync.WaitGroup
	mu       sync.Mutex // held while a port is made, so that two are not both the last allowed
	requests allowances
}

// Serve answers on l until ctx ends, and watches the processes that ports live with.
func (b *Broker) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer b.wg.Wait()
	b.resume(ctx)
	conns := peer.FileShare(maxConns)
	bounded := peer.Listen(l, b.AdminGroup, peer.Limits{Conns: conns, UserConns: min(maxUserConns, conns)})
	bounded.Refused = func(c *net.UnixConn, why string) {
		writeResponse(c, tapbroker.Response{Error: why + "; try again later"}, nil)
	}
	for {
		c, err := bounded.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			time.Sleep(100 * time.Millisecond) // until other connections are closed
			continue
		case err != nil:
			return fmt.Errorf("tap broker: %w", err)
		}
		b.admit(ctx, c.(*peer.Conn), time.Now())
	}
}

// admit answers a connection, unless its user is over the rate limit. Administrators have
// none.
func (b *Broker) admit(ctx context.Context, c *peer.Conn, now time.Time) {
	who := caller{UID: c.Peer.UID, Groups: append(slices.Clone(c.Peer.Groups), c.Peer.GID), Admin: c.Peer.Admin}
	if !who.Admin && !b.requests.take(who.UID, now) {
		writeResponse(c.UnixConn, tapbroker.Response{Error: fmt.Sprintf("too many requests to the tap broker; a user has %d at once, and %d a second", userBurst, userRate)}, nil)
		c.Close()
		return
	}
	b.wg.Go(func() {
		defer c.Close()
		defer limit.Recover(b.Log, limit.Tap, nil)
		b.handle(ctx, c.UnixConn, who, int(c.Peer.PID))
	})
}

func (b *Broker) handle(ctx context.Context, c *net.UnixConn, who caller, pid int) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req, err := readRequest(c)
	if err != nil {
		writeResponse(c, tapbroker.Response{Error: err.Error()}, nil)
		return
	}
	resp, files, err := b.open(ctx, c, req, who, pid)
	defer closeAll(files)
	if err != nil {
		b.Log.Info("port refused", "uid", who.UID, "pid", pid, "requested", limit.Text(req.Network+req.Bridge+req.Port), "err", err)
		resp = tapbroker.Response{Error: err.Error()}
	} else {
		b.Log.Info("port opened", "uid", who.UID, "pid", pid, "network", resp.Network, "port", resp.Link)
	}
	writeResponse(c, resp, files)
}

// readRequest reads and checks a request.
func readRequest(c *net.UnixConn) (req tapbroker.Request, err error) {
	if err := c.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return req, err
	}
	line, err := tapbroker.ReadLine(c)
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
	case req.Queues < 0 || req.Queues > tapbroker.MaxQueues:
		return req, fmt.Errorf("%d queues; there are 1 to %d", req.Queues, tapbroker.MaxQueues)
	}
	return req, nil
}

func writeResponse(c *net.UnixConn, resp tapbroker.Response, files []*os.File) {
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
	_ = c.SetWriteDeadline(time.Now().Add(requestTime))
	_, _, _ = c.WriteMsgUnix(append(line, '\n'), rights, nil)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
