package nettest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// keeperScript waits for the end of the test process, whose only trace in it is
// the other end of its standard input, and then kills what still runs in the
// process's namespaces, and removes its directory. It looks again until there
// is nothing more, as what it kills may just have forked.
const keeperScript = `
cat >/dev/null
own=$(readlink /proc/self/ns/uts)
round=0
while [ $round -lt 50 ]; do
	round=$((round + 1)) found=
	for uts in /proc/[0-9]*/ns/uts; do
		other=$(readlink "$uts") && [ "$other" != "$own" ] || continue
		mark=$(nsenter --uts="$uts" cat /proc/sys/kernel/domainname) && [ "$mark" = "$1" ] || continue
		pid=${uts#/proc/}
		kill -9 "${pid%%/*}" && found=1
	done
	[ -n "$found" ] || break
done
rm -rf -- "$2"
`

// mark names this process, also against a later one with the same number. It is
// the NIS domain name of every namespace made here, as that stays with a process
// that changes its user, its root, its name and its environment, as dhcpcd's
// helpers do.
var mark = sync.OnceValue(func() string {
	pid := os.Getpid()
	start, _ := startTime(pid)
	return fmt.Sprintf("nettest:%d:%s", pid, start)
})

// startKeeper returns the other end of the keeper's input, and so holds on to
// it for as long as the process lives.
var startKeeper = sync.OnceValues(func() (io.Closer, error) {
	if err := os.MkdirAll(baseDir(), 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", keeperScript, "nettest-keeper", mark(), baseDir())
	cmd.Dir = "/"
	// Out of reach of a ^C that is meant for the tests.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return in, cmd.Start()
})

// keeper sees to it that this process has one.
func keeper(t testing.TB) {
	t.Helper()
	if _, err := startKeeper(); err != nil {
		t.Fatalf("nettest: start the keeper: %v", err)
	}
}

// baseDir holds everything that this process writes, under a name that says
// whose it is. It is short, as paths of sockets have at most 107 bytes.
func baseDir() string {
	return filepath.Join(os.TempDir(), strings.ReplaceAll(mark(), ":", "-"))
}

var dirs atomic.Int64

// TempDir makes a directory like t.TempDir, with a path short enough for
// sockets, that is also removed when the test process is killed.
func TempDir(t testing.TB) string {
	t.Helper()
	keeper(t)
	dir := filepath.Join(baseDir(), strconv.FormatInt(dirs.Add(1), 10))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatalf("nettest: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startTime returns when a process was started, in the kernel's own unit.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name, in parentheses, may hold anything; the 20th field after it.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	return fields[19], nil
}
