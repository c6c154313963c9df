//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	turns   = 3               // of everything that is measured
	measure = 3 * time.Second // of load in each
)

// TestMain is also the whole life of the small servers that the benchmark
// brings along, see roles.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		fmt.Fprintln(os.Stderr, roles[role]())
		os.Exit(1)
	}
	fmt.Println(machine())
	nettest.Main(m)
}

// machine says on what the figures were taken.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	info, _ := os.ReadFile("/proc/cpuinfo")
	_, model, _ := strings.Cut(string(info), "model name")
	model, _, _ = strings.Cut(strings.TrimLeft(model, "\t :"), "\n")
	return fmt.Sprintf("%s; %d processors of %s; Linux %s", time.Now().Format(time.DateOnly), strings.Count(string(info), "processor\t"),
		model, unix.ByteSliceToString(u.Release[:]))
}

// version returns what a program says first of its version.
func version(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return filepath.Base(name) + ": " + strings.TrimSpace(line)
}
