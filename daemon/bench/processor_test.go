//go:build bench

package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	serversProcessor = 0
	loadsProcessor   = 1
	tick             = 10 * time.Millisecond // USER_HZ, the unit of /proc/PID/stat
)

// keepTo puts what will be started in a namespace on one processor, which a
// child inherits from the thread that forks it.
func keepTo(t testing.TB, ns *nettest.Namespace, processor int) {
	if err := ns.Do(func() error { return pin(processor) }); err != nil {
		t.Fatal(err)
	}
}

// pin puts the calling thread on one processor, where there are two.
func pin(processor int) error {
	var set unix.CPUSet
	set.Set(processor % runtime.NumCPU())
	return unix.SchedSetaffinity(0, &set)
}

// pinned runs f on the load's processor.
func pinned(t testing.TB, f func() error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &before)
	if err := pin(loadsProcessor); err != nil {
		t.Fatal(err)
	}
	if err := f(); err != nil {
		t.Fatal(err)
	}
}

// spent returns the processor time of a process and of all its children, also
// those that have ended.
func spent(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // it has ended, and its parent knows
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var ticks int
	for _, field := range strings.Fields(rest)[11:15] {
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	total := time.Duration(ticks) * tick
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		n, _ := strconv.Atoi(child)
		total += spent(n)
	}
	return total
}

// resident returns the MiB of memory that a process holds.
func resident(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseFloat(fields[0], 64)
	return kib / 1024
}
