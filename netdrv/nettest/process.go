package nettest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Cmd is an exec.Cmd that starts in a namespace.
type Cmd struct {
	*exec.Cmd
	ns *Namespace
}

// Command prepares a process of the namespace. It is killed with its group
// when ctx ends, and by itself when the namespace does.
func (ns *Namespace) Command(ctx context.Context, name string, args ...string) *Cmd {
	if path, err := lookPath(name); err == nil {
		name = path
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment()
	// The thread that forks lives as long as the namespace, and no longer.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A daemon left behind must not hold up the reader of its output.
	cmd.WaitDelay = 2 * time.Second
	return &Cmd{cmd, ns}
}

// environment is the test's own, in plain English, and with the directories of
// a system's programs, which a user may not have in his PATH.
func environment() []string {
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	return append(os.Environ(), "PATH="+path, "LC_ALL=C")
}

// Start is exec.Cmd's, in the namespace: a child inherits those of the thread
// that forks it.
func (c *Cmd) Start() error { return c.ns.Do(c.Cmd.Start) }

// Run is exec.Cmd's, in the namespace.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// CombinedOutput is exec.Cmd's, in the namespace.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	out := newOutput()
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	return []byte(out.String()), err
}

// Output is exec.Cmd's, in the namespace; standard error goes with the error.
func (c *Cmd) Output() ([]byte, error) {
	out, talk := newOutput(), newOutput()
	c.Stdout, c.Stderr = out, talk
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(talk.String()))
	}
	return []byte(out.String()), err
}

// Try runs a line of shell in the namespace and returns all it printed.
func (ns *Namespace) Try(ctx context.Context, line string) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	out, err := ns.Command(ctx, "/bin/sh", "-c", line).CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}

// Run runs a line of shell in the namespace and returns all it printed. The
// test fails when the line does, or takes longer than [Patience].
func (ns *Namespace) Run(t testing.TB, line string) string {
	t.Helper()
	// Not t.Context(): it has ended when a cleanup calls this.
	out, err := ns.Try(context.Background(), line)
	if err != nil {
		t.Fatalf("%s# %s\n%s%v", ns.Name, line, out, err)
	}
	return out
}

// A Process is a program that runs until the test ends, or is told to.
type Process struct {
	Name string

	cmd   *Cmd
	out   *output
	ended chan struct{}
	err   error
}

// Start starts a program that runs while the test does. It is killed at the end
// of the test, and its output is logged if the test failed.
func (ns *Namespace) Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return ns.Launch(t, ns.Command(context.Background(), name, args...))
}

// Launch is Start for a prepared command. Its output is collected.
func (ns *Namespace) Launch(t testing.TB, cmd *Cmd) *Process {
	t.Helper()
	p := &Process{
		Name:  ns.Name + "# " + strings.Join(cmd.Args, " "),
		cmd:   cmd,
		out:   newOutput(),
		ended: make(chan struct{}),
	}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatalf("nettest: start %s: %v", p.Name, err)
	}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("--- %s\n%s--- %v", p.Name, p.out, p.err)
		}
	})
	return p
}

// Pid returns the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns what the process has printed so far.
func (p *Process) Output() string { return p.out.String() }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.ended }

// WaitFor waits until the process has printed text. It gives up when ctx or
// the process ends.
func (p *Process) WaitFor(ctx context.Context, text string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := p.out.wait(ctx, p.ended, func(all string) bool { return strings.Contains(all, text) })
	if err != nil {
		return fmt.Errorf("wait for %q of %s: %w", text, p.Name, err)
	}
	return nil
}

// Signal sends a signal to the process. One that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Wait waits for the end of the process and returns what exec.Cmd.Wait did.
func (p *Process) Wait(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w", p.Name, ctx.Err())
	}
}

// Kill ends the process and its group by SIGKILL and waits for it.
func (p *Process) Kill() {
	// After the process has ended, its number still names its group, if others
	// of it are left, and nothing else.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// killAll kills what still runs in the namespace: what left its group, or
// lost its parent-death signal by changing user, as daemons do.
func (ns *Namespace) killAll() {
	for range 50 {
		pids := ns.processes()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(pids) == 0 {
			return
		}
		time.Sleep(time.Millisecond) // for the kernel to take them away
	}
}

// processes lists who is in the network namespace, zombies apart.
func (ns *Namespace) processes() []int {
	var own unix.Stat_t
	if err := unix.Fstat(int(ns.net.Fd()), &own); err != nil {
		return nil
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	var pids []int
	for _, link := range links {
		var s unix.Stat_t
		// A zombie has no namespaces any more, and is an error here.
		if unix.Stat(link, &s) != nil || s.Ino != own.Ino || s.Dev != own.Dev {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Eventually asks check again and again until it is content. It is for what
// gives no sign of its own when it changes, and gives up after [Patience],
// with check's last complaint.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
