package nettest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Main is the whole TestMain of a package that uses namespaces:
//
//	func TestMain(m *testing.M) { nettest.Main(m) }
//
// Before the tests it sweeps what earlier runs left behind, if the machine
// went down on them together with their keepers. After the tests it fails the
// run if anything in the machine's own namespace is not as it was: links,
// forwarding, nftables' tables.
func Main(m *testing.M) { os.Exit(guarded(m.Run)) }

func guarded(run func() int) int {
	sweep()
	before := rootPicture()
	code := run()
	os.RemoveAll(baseDir())
	if changes := compare(before, rootPicture()); changes != nil {
		fmt.Fprintf(os.Stderr, "nettest: the tests changed the machine's own network:\n\t%s\n",
			strings.Join(changes, "\n\t"))
		return 1
	}
	return code
}

// rootPicture names what there is in the process's own namespace.
func rootPicture() map[string]string {
	picture := make(map[string]string)
	links, _ := net.Interfaces()
	for _, l := range links {
		picture["link "+l.Name] = strconv.Itoa(l.Index)
	}
	picture["main thread"], _ = os.Readlink("/proc/self/ns/net")
	for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		value, _ := os.ReadFile("/proc/sys/net/" + path)
		picture["sysctl net/"+path] = strings.TrimSpace(string(value))
	}
	if nft, err := lookPath("nft"); err == nil && os.Geteuid() == 0 {
		tables, _ := exec.Command(nft, "list", "tables").Output()
		for table := range strings.Lines(string(tables)) {
			picture[strings.TrimSpace(table)] = "there"
		}
	}
	return picture
}

// compare says what is new or other in after. What is gone may have been
// somebody else's to remove.
func compare(before, after map[string]string) []string {
	var changes []string
	for name, value := range after {
		was, had := before[name]
		switch {
		case !had:
			changes = append(changes, fmt.Sprintf("%s is new", name))
		case was != value:
			changes = append(changes, fmt.Sprintf("%s was %s, is %s", name, was, value))
		}
	}
	slices.Sort(changes)
	return changes
}

// sweep kills the processes and removes the directories of test processes that
// are no more. Those of living ones it leaves alone.
func sweep() {
	infos, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, path := range infos {
		info, _ := os.ReadFile(path)
		if owner := ownerIn(string(info)); owner != "" && !alive(owner) {
			if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "nettest-*-*"))
	for _, dir := range left {
		owner := strings.ReplaceAll(filepath.Base(dir), "-", ":")
		if strings.Count(owner, ":") == 2 && !alive(owner) {
			os.RemoveAll(dir)
		}
	}
}

// ownerIn finds a mark in a process's list of mounts.
func ownerIn(mountinfo string) string {
	for field := range strings.FieldsSeq(mountinfo) {
		if strings.HasPrefix(field, "nettest:") {
			return field
		}
	}
	return ""
}

// alive reports whether the process of a mark is still the same.
func alive(mark string) bool {
	parts := strings.Split(mark, ":")
	if len(parts) != 3 {
		return true // not ours to judge
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		return true
	}
	start, err := startTime(pid)
	return err == nil && start == parts[2]
}
