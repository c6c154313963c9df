package nft

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace with a thread of its own. It is gone when the
// test's process is, however that ends.
type namespace struct {
	work chan func()
	path string // of the namespace, for others to enter
}

// newNamespace makes one, with lo up.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	ns := &namespace{work: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread dies with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for f := range ns.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		close(ns.work)
		t.Skipf("needs root or a user namespace: unshare: %v", err)
	}
	t.Cleanup(func() { close(ns.work) })
	ns.run(t, "ip", "link", "set", "lo", "up")
	return ns
}

// do runs f on the namespace's thread. f must not end the test.
func (ns *namespace) do(f func()) {
	done := make(chan struct{})
	ns.work <- func() { defer close(done); f() }
	<-done
}

// try executes a program in the namespace.
func (ns *namespace) try(args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ns.do(func() {
		var b []byte
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		b, err = cmd.CombinedOutput()
		out = string(b)
	})
	return out, err
}

// run is try for what must work.
func (ns *namespace) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := ns.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// list returns our tables as nft prints them, without the lines that are about
// their owner, and nothing if there is none.
func (ns *namespace) list(t testing.TB) string {
	t.Helper()
	tables := ns.run(t, "nft", "list", "tables")
	var text strings.Builder
	for _, id := range []string{"inet", "bridge"} {
		if strings.Contains(tables, "table "+id+" vnetd\n") {
			text.WriteString(ns.run(t, "nft", "-s", "list", "table", id, "vnetd"))
		}
	}
	var out []string
	for line := range strings.Lines(text.String()) {
		head, _, _ := strings.Cut(line, " # progname")
		if head != line {
			line = head + "\n"
		}
		// The empty line between the flags and the first set is removed with them.
		afterHead := len(out) > 0 && strings.HasPrefix(out[len(out)-1], "table ")
		if strings.HasPrefix(line, "\tflags") || line == "\n" && afterHead {
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

// open opens a Driver in the namespace, to be closed with the test.
func (ns *namespace) open(t testing.TB) *Driver {
	t.Helper()
	var d *Driver
	var err error
	ns.do(func() {
		d, err = Open(slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if testing.Verbose() {
		w.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}
