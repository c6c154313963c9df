package nettest

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBoot(t *testing.T) {
	Need(t, "qemu-system-x86_64")
	w := New(t)
	server := dnsmasq(t, w)
	s := Boot(t, w.Host, "vnet7", "br0",
		"ping -c 1 -W 5 10.20.0.1", "echo no newline | tr -d '\\n'", "cat /etc/resolv.conf; uname -r", "ip -4 addr show eth0")
	if !netip.MustParsePrefix("10.20.0.0/24").Contains(s.Lease.Address.Addr()) || s.Lease.Domain != "lab.test" {
		t.Errorf("lease %+v", s.Lease)
	}
	if got := s.Results[0].Output; !strings.Contains(got, "1 packets received") {
		t.Errorf("ping says %q", got)
	}
	if got := s.Results[1].Output; got != "no newline" {
		t.Errorf("echo says %q", got)
	}
	if got := s.Results[3].Output; !strings.Contains(got, s.Lease.Address.String()) {
		t.Errorf("address %q, lease %v", got, s.Lease.Address)
	}
	if got := server.Output(); !strings.Contains(got, "52:54:00:00:00:01 machine") {
		t.Errorf("the server saw no machine:\n%s", got)
	}
	t.Logf("booted in %s", s.Console[strings.Index(s.Console, "@guest up")+10:][:5])
}

func TestMachineWithoutALease(t *testing.T) {
	Need(t, "qemu-system-x86_64")
	host := NewNamespace(t, "host")
	host.Bridge(t, "br0")
	m := Machine{Host: host, Tap: host.Tap(t, "vnet0", "br0"), Commands: []string{"exit 3"}}
	s := m.Run(t)
	if s.Lease.Address.IsValid() || s.Results[0].Status != 3 {
		t.Errorf("lease %v, results %v", s.Lease, s.Results)
	}
}

func TestParseSession(t *testing.T) {
	const whole = "noise\r\n@guest begin 0\r\nhello\r\n\r\n@guest end 0 0\r\n@guest begin 1\r\n\r\n@guest end 1 7\r\n@guest done\r\n"
	s, err := parseSession(whole, []string{"echo hello", "exit 7"})
	if err != nil || len(s.Results) != 2 || s.Results[0] != (Result{"echo hello", "hello\n", 0}) || s.Results[1] != (Result{"exit 7", "", 7}) {
		t.Errorf("got %+v, %v", s.Results, err)
	}
	for _, torn := range []string{
		"", whole[:30], strings.TrimSuffix(whole, "@guest done\r\n"), strings.Replace(whole, "end 1 7", "end 1 x", 1),
	} {
		if _, err := parseSession(torn, []string{"echo hello", "exit 7"}); err == nil {
			t.Errorf("no error for %q", torn)
		}
	}
}

func TestArchiveIsCpio(t *testing.T) {
	Need(t, "cpio")
	var a archive
	a.file("a/b/c", []byte("content"))
	a.file("a/d", []byte("1234"))
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-idm")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(a.bytes()))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"a/b/c": "content", "a/d": "1234"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
