package nettest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	players["vnetd"] = playDaemon
	players["vnetctl"] = playCtl
}

// playDaemon is a daemon as far as systemd can tell.
func playDaemon() {
	tell := func(what string) {
		c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			fmt.Println("notify:", err)
			os.Exit(1)
		}
		defer c.Close()
		fmt.Fprint(c, what)
	}
	fmt.Println("args", os.Args[1:], "uid", os.Getuid(), "pid", os.Getpid())
	fmt.Println("listen", os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"))
	status, _ := os.Open("/proc/self/status")
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "CapEff") {
			fmt.Println(lines.Text())
		}
	}
	if slices.Contains(os.Args, "--broken") {
		fmt.Println("what is wrong")
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	tell("READY=1\nSTATUS=2 networks\n")
	for s := range signals {
		if s == syscall.SIGTERM {
			tell("STOPPING=1")
			os.Exit(0)
		}
		tell("RELOADING=1\nMONOTONIC_USEC=1")
		tell("READY=1")
	}
}

func playCtl() {
	if os.Args[1] == "fail" {
		fmt.Fprintln(os.Stderr, "vnetctl: no such network")
		os.Exit(3)
	}
	input, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Println(os.Getenv("VNETD_SOCKET"), os.Args[1:], strings.TrimSpace(input))
}

// playBill is a directory in which the test binary is called as the programs
// that it plays.
func playBill(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A copy: go test's own directory is closed to other users.
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := TempDir(t)
	if err := os.WriteFile(filepath.Join(dir, "vnetd"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("vnetd", filepath.Join(dir, "vnetctl")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDaemonsLife(t *testing.T) {
	w := New(t)
	d := w.Daemon(t, DaemonConfig{BinDir: playBill(t), Args: []string{"--log-level", "debug"}})
	want := fmt.Sprintf("args [--config %s --state-dir %s --runtime-dir %s --log-level debug] uid 0", d.ConfigFile, d.StateDir, d.RuntimeDir)
	Eventually(t, "its arguments are in its log", func() error { // which may come after its readiness
		if log := d.Log(); !strings.Contains(log, want) {
			return fmt.Errorf("want %q in\n%s", want, log)
		}
		return nil
	})
	d.Signal(syscall.SIGHUP)
	if err := d.Await(t.Context(), "RELOADING=1"); err != nil {
		t.Error(err)
	}
	d.Kill()
	d.Start()
	d.Restart()
	d.Stop()
	if err := d.Await(t.Context(), "STOPPING=1"); err != nil {
		t.Error(err)
	}
	if got := d.Notified(); got[0] != "READY=1" || got[1] != "STATUS=2 networks" {
		t.Errorf("notified %q", got)
	}
	// Of the last process, not of the first.
	if err := d.Await(t.Context(), "RELOADING=1"); err == nil {
		t.Error("a notification of an earlier process counts")
	}
}

func TestDaemonThatEndsIsSeen(t *testing.T) {
	w := New(t)
	d := w.Daemon(t, DaemonConfig{BinDir: playBill(t), Args: []string{"--broken"}, NoWait: true})
	if err := d.Await(t.Context(), "READY=1"); err == nil || !strings.Contains(err.Error(), "the daemon ended") {
		t.Errorf("got %v", err)
	}
	if err := d.Process().Wait(t.Context()); err == nil || !strings.Contains(d.Log(), "what is wrong") {
		t.Errorf("got %v and\n%s", err, d.Log())
	}
}

func TestDaemonAsAServiceOfSystemd(t *testing.T) {
	w := New(t)
	dir := TempDir(t)
	sockets := []Socket{{"api", filepath.Join(dir, "a.sock")}, {"ro", filepath.Join(dir, "b.sock")}}
	d := w.Daemon(t, DaemonConfig{BinDir: playBill(t), Sockets: sockets, User: 64123, Watchdog: time.Second})
	for _, want := range []string{
		fmt.Sprintf("uid 64123 pid %d\nlisten %d 2 api:ro\n", d.Pid(), d.Pid()),
		"CapEff:\t0000000000003400\n", // net_bind_service, net_admin, net_raw
	} {
		if !strings.Contains(d.Log(), want) {
			t.Errorf("want %q in\n%s", want, d.Log())
		}
	}
}

func TestCtl(t *testing.T) {
	w := New(t)
	d := w.Daemon(t, DaemonConfig{BinDir: playBill(t)})
	if got, want := d.CtlInput(t, "yaml\n", "network", "list"), d.Socket()+" [network list] yaml\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err := d.TryCtl(t.Context(), "", "fail")
	var ctl *CtlError
	if !errors.As(err, &ctl) || ctl.Code != 3 || ctl.Stderr != "vnetctl: no such network\n" {
		t.Errorf("got %v", err)
	}
}
