package nettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A DaemonConfig says how a daemon runs. The zero value is the usual: as root,
// with empty directories, ready before [World.Daemon] returns.
type DaemonConfig struct {
	Config   string        // vnetd.yaml; default: debug is logged
	StateDir string        // default: a new directory
	Args     []string      // more of the command line
	Env      []string      // more of the environment
	Sockets  []Socket      // activated by systemd
	Watchdog time.Duration // WATCHDOG_USEC; zero is none
	User     uint32        // runs as this user with the unit's three capabilities; zero is root with all
	Files    int           // RLIMIT_NOFILE; default: the test's own
	NoWait   bool          // return before it is ready
	BinDir   string        // where vnetd and vnetctl are; default: they are built, see [RunDaemon]
}

// A Socket is one that systemd opens for the daemon and passes by name.
type Socket struct{ Name, Path string }

// A Daemon is vnetd in a host. It ends with the test; its log is printed if
// the test fails.
type Daemon struct {
	Host       *Namespace
	StateDir   string
	RuntimeDir string
	ConfigFile string

	t      testing.TB
	cfg    DaemonConfig
	bin    string
	notify *notifications
	files  []*os.File // activated sockets, which outlive the process
	from   int        // notifications of earlier processes
	p      *Process
}

// Daemon runs vnetd in the world's host. See [RunDaemon].
func (w *World) Daemon(t testing.TB, cfg DaemonConfig) *Daemon {
	t.Helper()
	return RunDaemon(t, w.Host, cfg)
}

// RunDaemon builds vnetd and vnetctl, unless VNETD_BIN_DIR says where they are,
// runs the daemon in a host, and waits for its READY=1. The commands are built
// once for each test process.
func RunDaemon(t testing.TB, host *Namespace, cfg DaemonConfig) *Daemon {
	t.Helper()
	d, err := newDaemon(t, host, cfg)
	if err != nil {
		t.Fatalf("nettest: daemon: %v", err)
	}
	t.Cleanup(d.close)
	d.Start()
	return d
}

func newDaemon(t testing.TB, host *Namespace, cfg DaemonConfig) (*Daemon, error) {
	t.Helper()
	bin := cfg.BinDir
	if bin == "" {
		var err error
		if bin, err = buildPrograms(); err != nil {
			return nil, err
		}
	}
	dir := TempDir(t)
	d := &Daemon{
		Host: host, t: t, cfg: cfg, bin: bin,
		StateDir:   cfg.StateDir,
		RuntimeDir: filepath.Join(dir, "run"),
		ConfigFile: filepath.Join(dir, "vnetd.yaml"),
	}
	if d.StateDir == "" {
		d.StateDir = filepath.Join(dir, "state")
	}
	if cfg.Config == "" {
		cfg.Config = "logLevel: debug\n"
	}
	if err := os.WriteFile(d.ConfigFile, []byte(cfg.Config), 0o644); err != nil {
		return nil, err
	}
	for _, dir := range []string{d.StateDir, d.RuntimeDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(cfg.User), int(cfg.User)); err != nil {
			return nil, err
		}
	}
	if err := d.listen(); err != nil {
		return nil, err
	}
	var err error
	d.notify, err = listenNotify(dir)
	return d, err
}

// listen opens the activated sockets, as systemd does before the service runs.
func (d *Daemon) listen() error {
	for _, s := range d.cfg.Sockets {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		l.Close()
		if err != nil {
			return err
		}
		d.files = append(d.files, f)
	}
	return nil
}

func (d *Daemon) close() {
	if d.p != nil {
		d.p.Kill()
	}
	d.notify.close()
	for _, f := range d.files {
		f.Close()
	}
}

// Start starts the daemon, again after it was stopped or killed, and waits
// until it is ready. It fails the test if the daemon ends instead.
func (d *Daemon) Start() {
	d.t.Helper()
	d.from = len(d.Notified())
	d.p = d.Host.Launch(d.t, d.command())
	if d.cfg.NoWait {
		return
	}
	if err := d.Await(d.t.Context(), "READY=1"); err != nil {
		d.t.Fatalf("nettest: vnetd: %v\n%s", err, d.Log())
	}
}

func (d *Daemon) command() *Cmd {
	args := append([]string{
		filepath.Join(d.bin, "vnetd"), "--config", d.ConfigFile,
		"--state-dir", d.StateDir, "--runtime-dir", d.RuntimeDir,
	}, d.cfg.Args...)
	// systemd's protocol wants the process's own number, which only it knows.
	if d.files != nil {
		args = append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, args...)
	}
	if d.cfg.Files != 0 {
		args = append([]string{"/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, d.cfg.Files), "sh"}, args...)
	}
	cmd := d.Host.Command(context.Background(), args[0], args[1:]...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+d.notify.path)
	if d.cfg.Watchdog > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("WATCHDOG_USEC=%d", d.cfg.Watchdog.Microseconds()))
	}
	if d.files != nil {
		var names []string
		for _, s := range d.cfg.Sockets {
			names = append(names, s.Name)
		}
		cmd.ExtraFiles = d.files
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	cmd.Env = append(cmd.Env, d.cfg.Env...)
	if d.cfg.User != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: d.cfg.User, Gid: d.cfg.User}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}
	}
	return cmd
}

// Socket is where the daemon's API is, for vnetctl and other clients.
func (d *Daemon) Socket() string { return filepath.Join(d.RuntimeDir, "vnetd.sock") }

// ReadOnlySocket is where the daemon's API is for everybody.
func (d *Daemon) ReadOnlySocket() string { return filepath.Join(d.RuntimeDir, "vnetd-ro.sock") }

// Pid returns the number of the running process.
func (d *Daemon) Pid() int { return d.p.Pid() }

// Log returns what the running process, or the last, has logged.
func (d *Daemon) Log() string { return d.p.Output() }

// Process returns the running process, or the last.
func (d *Daemon) Process() *Process { return d.p }

// Kill ends the daemon by SIGKILL.
func (d *Daemon) Kill() { d.p.Kill() }

// Signal sends the daemon a signal: SIGHUP to reload.
func (d *Daemon) Signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.p.Signal(sig); err != nil {
		d.t.Fatalf("nettest: signal vnetd: %v", err)
	}
}

// Stop ends the daemon by SIGTERM, and fails the test if that is no success.
func (d *Daemon) Stop() {
	d.t.Helper()
	d.Signal(syscall.SIGTERM)
	if err := d.p.Wait(context.Background()); err != nil {
		d.t.Fatalf("nettest: stop vnetd: %v\n%s", err, d.Log())
	}
}

// Restart is Stop and Start.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Stop()
	d.Start()
}

// Notified returns all that the daemon has told systemd, one assignment each,
// of all its processes.
func (d *Daemon) Notified() []string {
	told, _ := d.notify.look()
	return told
}

// Await waits until the running process has told systemd something:
// "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1".
func (d *Daemon) Await(ctx context.Context, what string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return d.notify.wait(ctx, d.p.ended, d.from, what)
}

// A CtlError is a run of vnetctl that did not end with 0.
type CtlError struct {
	Args   []string
	Code   int
	Stderr string
}

func (e *CtlError) Error() string {
	return fmt.Sprintf("vnetctl %s: exit %d: %s", strings.Join(e.Args, " "), e.Code, strings.TrimSpace(e.Stderr))
}

// Ctl runs vnetctl against the daemon and returns what it printed to standard
// output. The test fails when it does not end with 0.
func (d *Daemon) Ctl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.TryCtl(t.Context(), "", args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// CtlInput is Ctl with something on standard input, for -f -.
func (d *Daemon) CtlInput(t testing.TB, input string, args ...string) string {
	t.Helper()
	out, err := d.TryCtl(t.Context(), input, args...)
	if err != nil {
		t.Fatalf("%v\n%s\ninput:\n%s", err, out, input)
	}
	return out
}

// TryCtl runs vnetctl with an input. The error is a *CtlError unless vnetctl
// did not run or end at all.
func (d *Daemon) TryCtl(ctx context.Context, input string, args ...string) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	cmd := d.Host.Command(ctx, filepath.Join(d.bin, "vnetctl"), args...)
	cmd.Env = append(cmd.Env, "VNETD_SOCKET="+d.Socket(), "VNETD_RUNTIME_DIR="+d.RuntimeDir)
	cmd.Stdin = strings.NewReader(input)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	exit := new(exec.ExitError)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("vnetctl %s: %w: %s", strings.Join(args, " "), ctx.Err(), talk.String())
	case errors.As(err, &exit):
		err = &CtlError{Args: args, Code: exit.ExitCode(), Stderr: talk.String()}
	}
	return out.String(), err
}

// Program returns the path of one of the built commands.
func (d *Daemon) Program(name string) string { return filepath.Join(d.bin, name) }
