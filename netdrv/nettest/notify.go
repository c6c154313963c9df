package nettest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// notifications is the socket to which a daemon tells what systemd would hear
// (sd_notify(3)), and what it has told.
type notifications struct {
	path string
	conn *net.UnixConn
	done sync.WaitGroup

	mu      sync.Mutex
	told    []string // one assignment each: "READY=1", "STATUS=..."
	changed chan struct{}
}

func listenNotify(dir string) (*notifications, error) {
	n := &notifications{path: filepath.Join(dir, "notify.sock"), changed: make(chan struct{})}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	n.conn = conn
	// The daemon may run as another user.
	if err := os.Chmod(n.path, 0o666); err != nil {
		conn.Close()
		return nil, err
	}
	n.done.Go(n.receive)
	return n, nil
}

func (n *notifications) receive() {
	buf := make([]byte, 65536)
	for {
		size, err := n.conn.Read(buf)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.told = append(n.told, strings.Split(strings.TrimSpace(string(buf[:size])), "\n")...)
		close(n.changed)
		n.changed = make(chan struct{})
		n.mu.Unlock()
	}
}

func (n *notifications) close() {
	n.conn.Close()
	n.done.Wait()
}

func (n *notifications) look() ([]string, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.told), n.changed
}

// wait waits until what was told from the given place on holds an assignment.
func (n *notifications) wait(ctx context.Context, ended <-chan struct{}, from int, what string) error {
	for {
		told, more := n.look()
		if slices.Contains(told[min(from, len(told)):], what) {
			return nil
		}
		select {
		case <-more:
		case <-ended:
			return fmt.Errorf("wait for %s: the daemon ended", what)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s among %q: %w", what, told, ctx.Err())
		}
	}
}
