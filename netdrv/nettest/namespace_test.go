package nettest

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNamespaceIsItsOwn(t *testing.T) {
	ns := NewNamespace(t, "alone")
	root, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inside := strings.TrimSpace(ns.Run(t, "readlink /proc/self/ns/net"))
	if inside == root {
		t.Errorf("a command runs in the machine's own %s", root)
	}
	var links []net.Interface
	err = ns.Do(func() (err error) { links, err = net.Interfaces(); return err })
	if err != nil || len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("links %v, %v; want lo, up", links, err)
	}
	if got := ns.Run(t, "ls /sys/class/net"); got != "lo\n" {
		t.Errorf("/sys/class/net has %q, want lo", got)
	}
	if got := ns.Run(t, "hostname"); got != "alone\n" {
		t.Errorf("host name %q", got)
	}
	if got := ns.Run(t, "cat /proc/sys/net/ipv4/ip_forward"); got != "0\n" {
		t.Errorf("forwarding is %q", got)
	}
}

func TestEtcAndRunArePrivate(t *testing.T) {
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	a, b := NewNamespace(t, "a"), NewNamespace(t, "b")
	a.WriteFile(t, "/etc/resolv.conf", "nameserver 192.0.2.1\n")
	a.Run(t, "echo here > /etc/nettest-file; echo here > /run/nettest-file; echo >> /etc/passwd; mv /etc/hosts /etc/sth")
	if got := a.Run(t, "cat /etc/resolv.conf /run/nettest-file"); got != "nameserver 192.0.2.1\nhere\n" {
		t.Errorf("a reads %q", got)
	}
	if got := b.Run(t, "cat /etc/resolv.conf; ls /etc/nettest-file /run/nettest-file 2>&1 | grep -c cannot"); got != "2\n" {
		t.Errorf("b reads %q", got)
	}
	after, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || string(after) != string(before) {
		t.Errorf("the machine's resolv.conf was %q, is %q, %v", before, after, err)
	}
	for _, path := range []string{"/etc/nettest-file", "/run/nettest-file"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want nothing there", path, err)
		}
	}
}

func TestDoSurvivesAFunctionThatLeaves(t *testing.T) {
	ns := NewNamespace(t, "left")
	err := ns.Do(func() error { runtime.Goexit(); return nil })
	if err == nil {
		t.Error("want an error for a function that never returned")
	}
	if err := ns.Do(func() error { return nil }); err == nil {
		t.Error("want an error from a namespace without a thread")
	}
}

func TestDoWithinDo(t *testing.T) {
	ns := NewNamespace(t, "deep")
	want := errors.New("from below")
	err := ns.Do(func() error { return ns.Do(func() error { return want }) })
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestConnect(t *testing.T) {
	a, b := NewNamespace(t, "a"), NewNamespace(t, "b")
	Connect(t, a, "toB", b, "toA")
	a.Address(t, "toB", "192.0.2.1/24", "2001:db8::1/64")
	b.Address(t, "toA", "192.0.2.2/24", "2001:db8::2/64")
	for _, network := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
		l, err := a.Listen("tcp", network)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		accepted := make(chan net.Addr, 1)
		go func() {
			if c, err := l.Accept(); err == nil {
				accepted <- c.RemoteAddr()
				c.Close()
			}
		}()
		c, err := b.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := <-accepted; got.String() != c.LocalAddr().String() {
			t.Errorf("a saw %v, b is %v", got, c.LocalAddr())
		}
		c.Close()
	}
}

func TestEnslaveWaitsForTheBridge(t *testing.T) {
	Need(t, "ping")
	host, guest := NewNamespace(t, "host"), NewNamespace(t, "guest")
	Connect(t, host, "vnet0", guest, "eth0")
	late := make(chan struct{})
	go func() {
		defer close(late)
		time.Sleep(50 * time.Millisecond) // so that there is something to wait for
		host.Bridge(t, "br0", "192.0.2.1/24")
	}()
	host.Enslave(t, "vnet0", "br0")
	<-late
	guest.Address(t, "eth0", "192.0.2.2/24")
	guest.Run(t, "ping -c1 -W5 192.0.2.1")
}

func TestProcessesEndWithTheNamespace(t *testing.T) {
	var ns *Namespace
	t.Run("inside", func(t *testing.T) {
		ns = NewNamespace(t, "busy")
		// One that leaves its group and its parent, as a daemon does.
		ns.Run(t, "setsid sleep 1000 >/dev/null 2>&1 &")
		ns.Start(t, "sleep", "1000")
		if n := len(ns.processes()); n != 2 {
			t.Errorf("%d processes, want 2", n)
		}
	})
	for _, pid := range ns.processes() {
		t.Errorf("process %d is left", pid)
	}
}

func TestWaitForSaysWhatItWaitedFor(t *testing.T) {
	ns := NewNamespace(t, "short")
	p := ns.Start(t, "echo", "hello")
	if err := p.WaitFor(t.Context(), "hello"); err != nil {
		t.Error(err)
	}
	err := p.WaitFor(t.Context(), "goodbye")
	if err == nil || !strings.Contains(err.Error(), "goodbye") || !strings.Contains(err.Error(), "echo hello") {
		t.Errorf("got %v", err)
	}
}

func TestTryKeepsToItsDeadline(t *testing.T) {
	ns := NewNamespace(t, "slow")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ns.Try(ctx, "sleep 1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline exceeded", err)
	}
}

func TestTapLivesAsLongAsItsDescriptor(t *testing.T) {
	host := NewNamespace(t, "host")
	host.Bridge(t, "br0")
	tap := host.Tap(t, "vnet0", "br0")
	if got := host.Run(t, "ip -d link show vnet0"); !strings.Contains(got, "vnet_hdr on") || !strings.Contains(got, "master br0") {
		t.Errorf("got %s", got)
	}
	tap.file.Close()
	Eventually(t, "the tap to go", func() error {
		if _, err := host.nl.LinkByName("vnet0"); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
}

func TestMainThreadStaysHome(t *testing.T) {
	NeedRoot(t)
	for range 20 {
		tid := make(chan int)
		onThread(func() { tid <- unix.Gettid() })
		if got := <-tid; got == unix.Getpid() {
			t.Fatal("a namespace got the main thread")
		}
	}
}
