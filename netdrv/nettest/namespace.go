package nettest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Namespace is a machine as far as the network can tell: links, addresses,
// routes and rules of its own, its own host name, and its own /etc, /run and
// /sys. /etc is a writable copy: nothing written there reaches the real one.
// /tmp and everything else are shared with the machine.
type Namespace struct {
	Name string

	tid  int
	net  *os.File
	nl   *netlink.Handle
	jobs chan func()
	quit chan struct{}
	done chan struct{}
}

// NewNamespace makes a namespace with nothing but lo, which is up. Forwarding
// is off, whatever the machine's own setting. It goes away, with all processes
// in it, when the test ends.
func NewNamespace(t testing.TB, name string) *Namespace {
	t.Helper()
	NeedRoot(t)
	keeper(t)
	ns := &Namespace{
		Name: name,
		jobs: make(chan func()),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	ready := make(chan error)
	onThread(func() { ns.live(ready) })
	if err := <-ready; err != nil {
		t.Fatalf("nettest: namespace %s: %v", name, err)
	}
	t.Cleanup(ns.close)
	return ns
}

// live is the life of the namespace's thread.
func (ns *Namespace) live(ready chan<- error) {
	defer close(ns.done)
	err := ns.enter()
	ready <- err
	if err != nil {
		return
	}
	for {
		select {
		case job := <-ns.jobs:
			job()
		case <-ns.quit:
			return
		}
	}
}

func (ns *Namespace) enter() error {
	const flags = unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	ns.tid = unix.Gettid()
	if err := mountPrivate(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(ns.Name)); err != nil {
		return fmt.Errorf("sethostname %s: %w", ns.Name, err)
	}
	if err := unix.Setdomainname([]byte(mark())); err != nil {
		return fmt.Errorf("setdomainname %s: %w", mark(), err)
	}
	// Clients derive their identity from it, and each guest has to have one.
	if err := replaceFile("/etc/machine-id", machineID()+"\n"); err != nil {
		return err
	}
	var err error
	if ns.net, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	if ns.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if err := ns.linkUp("lo"); err != nil {
		return err
	}
	// A new namespace copies the IPv4 settings of the machine's own, where
	// docker or a developer may have switched forwarding on.
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0)
}

func machineID() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

func (ns *Namespace) close() {
	ns.killAll()
	select {
	case <-ns.done:
	case ns.quit <- struct{}{}:
		<-ns.done
	}
	ns.nl.Close()
	ns.net.Close()
}

// Do runs f on the namespace's thread and returns its error. Sockets opened
// by f stay in the namespace and may be used from anywhere; goroutines started
// by f do not run there. /proc/sys/net follows the thread, /proc/net does not:
// say /proc/thread-self/net. f must not call t.FailNow or t.Fatal, and should
// not take long, as nothing else runs on the thread meanwhile.
func (ns *Namespace) Do(f func() error) error {
	if unix.Gettid() == ns.tid {
		return f()
	}
	result := make(chan error, 1)
	job := func() {
		err := errors.New("the function left its goroutine: is there a t.Fatal inside Do?")
		defer func() { result <- err }()
		err = f()
	}
	select {
	case ns.jobs <- job:
		return <-result
	case <-ns.done:
		return fmt.Errorf("namespace %s is gone", ns.Name)
	}
}

// Netlink returns a route socket of the namespace, for a test that wants to
// look for itself. It may be used from any goroutine, except to make taps
// (see [Namespace.Tap]).
func (ns *Namespace) Netlink() *netlink.Handle { return ns.nl }

// Pid returns a number with which nsenter finds the namespace while the test
// runs: nsenter --net=/proc/PID/ns/net --mount=/proc/PID/ns/mnt.
func (ns *Namespace) Pid() int { return ns.tid }

// File returns an open descriptor of the network namespace. It belongs to ns.
func (ns *Namespace) File() *os.File { return ns.net }

// WriteFile writes a file as the namespace's processes see it, with its
// directories, and replaces a symbolic link instead of following it. Only
// paths below /etc and /run are private; anything else is refused.
func (ns *Namespace) WriteFile(t testing.TB, path, content string) {
	t.Helper()
	path = filepath.Clean(path)
	if !strings.HasPrefix(path, "/etc/") && !strings.HasPrefix(path, "/run/") {
		t.Fatalf("nettest: write %s: only /etc and /run are private to a namespace", path)
	}
	err := ns.Do(func() error { return replaceFile(path, content) })
	if err != nil {
		t.Fatalf("nettest: %s: %v", ns.Name, err)
	}
}

func replaceFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(content, "#!") {
		mode = 0o755
	}
	return os.WriteFile(path, []byte(content), mode)
}

// ReadFile reads a file as the namespace's processes see it.
func (ns *Namespace) ReadFile(path string) (string, error) {
	var content []byte
	err := ns.Do(func() (err error) {
		content, err = os.ReadFile(path)
		return err
	})
	return string(content), err
}

// Sysctl sets a network setting, named by its path: "net/ipv4/ip_forward".
func (ns *Namespace) Sysctl(t testing.TB, path, value string) {
	t.Helper()
	if !strings.HasPrefix(path, "net/") || strings.Contains(path, "..") {
		t.Fatalf("nettest: sysctl %s: only net/ belongs to a namespace", path)
	}
	err := ns.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
	if err != nil {
		t.Fatalf("nettest: %s: sysctl %s=%s: %v", ns.Name, path, value, err)
	}
}

// Listen is net.Listen in the namespace.
func (ns *Namespace) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenPacket in the namespace.
func (ns *Namespace) ListenPacket(network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := ns.Do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}
