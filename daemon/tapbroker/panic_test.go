package tapbroker

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vnetd/vnetd/daemon/peer"
	"github.com/vnetd/vnetd/internal/limit"
)

// A request that breaks the door costs its connection, and its place is free again.
func TestPanicCostsOneRequest(t *testing.T) {
	dir, err := os.MkdirTemp("", "tap")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := &Broker{Log: slog.New(slog.DiscardHandler)} // without a store: it panics
	before := limit.Panics()[limit.Tap]
	const requests = 2 * maxUserConns
	one := peer.Listen(l, "", peer.Limits{Conns: 1, UserConns: 1})
	for range requests {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := one.Accept()
		if err != nil {
			t.Fatal(err)
		}
		b.admit(context.Background(), s.(*peer.Conn), time.Now())
		_, _ = c.Write([]byte(`{"port":"p"}` + "\n"))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			t.Errorf("answered: %s", line)
		}
		c.Close()
		b.wg.Wait()
	}
	if n := limit.Panics()[limit.Tap] - before; n != requests || !b.mu.TryLock() {
		t.Errorf("%d panics of %d", n, requests)
	}
}
