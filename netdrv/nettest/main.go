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

	"golang.org/x/sys/unix"
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
	for pid, owner := range owned() {
		if !alive(owner) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
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

// owned lists the processes in anybody's test namespaces, with their marks.
func owned() map[int]string {
	found := make(map[int]string)
	if os.Geteuid() != 0 {
		return found // and could neither look nor kill
	}
	own, _ := os.Readlink("/proc/self/ns/uts")
	paths, _ := filepath.Glob("/proc/[0-9]*/ns/uts")
	done := make(chan struct{})
	onThread(func() {
		defer close(done)
		for _, path := range paths {
			if uts, err := os.Readlink(path); err != nil || uts == own {
				continue
			}
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			if domain := domainOf(path); err == nil && strings.HasPrefix(domain, "nettest:") {
				found[pid] = domain
			}
		}
	})
	<-done
	return found
}

// domainOf takes its thread into a UTS namespace and returns its domain name.
func domainOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var name unix.Utsname
	if unix.Setns(int(f.Fd()), unix.CLONE_NEWUTS) != nil || unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Domainname[:])
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
