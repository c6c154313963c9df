package nettest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const crashVariable = "NETTEST_CRASH"

// TestCrash is the child of the test below: it makes a world with processes
// that would like to survive, says what there is, and is killed.
func TestCrash(t *testing.T) {
	if os.Getenv(crashVariable) == "" {
		t.Skip("runs as a child of TestNothingSurvivesACrash")
	}
	w := New(t)
	w.Host.Bridge(t, "br0", "10.20.0.1/24")
	g := w.Guest(t, "g")
	g.Attach(t, "br0")
	w.Host.Run(t, "setsid sleep 1000 >/dev/null 2>&1 &")
	// Changing user takes the parent-death signal away.
	dnsmasq := w.Host.Start(t, "dnsmasq", "-k", "--log-facility=-", "--user=nobody", "--conf-file=/dev/null", "--pid-file=",
		"--interface=br0", "--bind-interfaces", "--dhcp-range=10.20.0.100,10.20.0.200,600", "--dhcp-leasefile=/run/leases")
	if err := dnsmasq.WaitFor(t.Context(), "sockets bound exclusively"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Dhcpcd(t, ClientConfig{}).Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []*Namespace{w.Host, g.Namespace} {
		for _, pid := range ns.processes() {
			fmt.Println("crash pid", pid)
		}
	}
	fmt.Println("crash dir", baseDir())
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func TestNothingSurvivesACrash(t *testing.T) {
	NeedRoot(t)
	Need(t, "dnsmasq", "dhcpcd")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestCrash$", "-test.v")
	cmd.Env = append(os.Environ(), crashVariable+"=1")
	out, err := cmd.Output()
	if err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to die by SIGKILL: %v\n%s", err, out)
	}
	var pids []int
	dir := ""
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "crash pid "); ok {
			pid, _ := strconv.Atoi(text)
			pids = append(pids, pid)
		}
		if text, ok := strings.CutPrefix(lines.Text(), "crash dir "); ok {
			dir = text
		}
	}
	if len(pids) < 3 || dir == "" {
		t.Fatalf("the child made %d processes and directory %q\n%s", len(pids), dir, out)
	}
	for _, pid := range pids {
		Eventually(t, fmt.Sprintf("the end of process %d", pid), func() error {
			// A zombie, where nobody reaps orphans, has no command line.
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if len(line) > 0 {
				return fmt.Errorf("it lives: %q", line)
			}
			return nil
		})
	}
	Eventually(t, "the directory to go", func() error {
		if _, err := os.Stat(dir); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
}

func TestSweepLeavesTheLivingAlone(t *testing.T) {
	ns := NewNamespace(t, "living")
	p := ns.Start(t, "sleep", "1000")
	dir := TempDir(t)
	if got := owned()[p.Pid()]; got != mark() {
		t.Fatalf("the mark of %d is %q, want %q", p.Pid(), got, mark())
	}
	sweep()
	if _, err := os.Stat(dir); err != nil || len(ns.processes()) != 1 {
		t.Errorf("swept a living test's: %v, %d processes", err, len(ns.processes()))
	}
	for mark, want := range map[string]bool{
		mark(): true,
		"nettest:" + strconv.Itoa(os.Getpid()) + ":1": false, // the number, used again
		"nettest:4194305:1":                           false, // beyond the largest
		"nettest":                                     true,  // not ours to judge
	} {
		if got := alive(mark); got != want {
			t.Errorf("alive(%q) = %t", mark, got)
		}
	}
}

func TestGuardSeesALeak(t *testing.T) {
	before := map[string]string{"link lo": "1", "link eth0": "2", "sysctl x": "0", "link gone": "3"}
	after := map[string]string{"link lo": "1", "link eth0": "2", "sysctl x": "1", "link virbr0": "4"}
	got := strings.Join(compare(before, after), "; ")
	if want := "link virbr0 is new; sysctl x was 0, is 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	picture := rootPicture()
	if picture["link lo"] == "" || picture["main thread"] == "" || picture["sysctl net/ipv4/ip_forward"] == "" {
		t.Errorf("picture %v", picture)
	}
}
