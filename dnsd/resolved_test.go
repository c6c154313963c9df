package dnsd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// A real systemd-resolved that knows a domain by a link, as VPNs tell it. All we
// see is its stub in resolv.conf; asking that one is what respects its rules.
//
// Debian's package takes over the host's resolv.conf when it is installed, so
// dist/deps.sh only unpacks it.
func TestSplitDNSOfResolvedIsRespected(t *testing.T) {
	const resolved = "/var/cache/vnetd-test/systemd-resolved"
	needWorld(t)
	if out, err := exec.Command(resolved, "--version").CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	addUser(t, "systemd-resolve")
	ip(t, "link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
	t.Cleanup(func() { ip(t, "link", "del", "vpn0") })
	for _, args := range [][]string{
		{"link", "set", "vpn1", "up"}, {"link", "set", "vpn0", "up"}, {"addr", "add", "10.9.0.1/24", "dev", "vpn0"},
	} {
		ip(t, args...)
	}
	says := func(at, answer string) {
		u := newUpstream(t, at)
		u.answer(func(m, reply *dns.Msg, _ string) {
			if rr, err := dns.NewRR(m.Question[0].Name + " 60 IN A " + answer); err == nil && m.Question[0].Qtype == dns.TypeA {
				reply.Answer = []dns.RR{rr}
			}
		})
	}
	says("10.9.0.1:53", "10.9.0.7")
	says("203.0.113.1:53", "192.0.2.7")
	links := "/run/systemd/netif/links"
	if err := os.MkdirAll(links, 0o755); err != nil {
		t.Fatal(err)
	}
	for link, text := range map[string]string{
		"vpn0": "DNS=10.9.0.1\nROUTE_DOMAINS=corp.example\n",
		"up0":  "DNS=203.0.113.1\nDNS_DEFAULT_ROUTE=yes\n",
	} {
		l, err := net.InterfaceByName(link)
		if err != nil {
			t.Fatal(err)
		}
		file(t, filepath.Join(links, fmt.Sprint(l.Index)), "ADMIN_STATE=configured\nOPER_STATE=routable\n"+text)
	}
	run(t, "", "Using system hostname", resolved)
	const stub = "/run/systemd/resolve/stub-resolv.conf"
	eventually(t, "resolved writes its file", func() bool { _, err := os.Stat(stub); return err == nil })
	_, log := start(t, stub, lab())
	for name, want := range map[string]string{"www.corp.example": "10.9.0.7", "www.example.org": "192.0.2.7"} {
		eventually(t, name+" is "+want, func() bool {
			a := dig(t, "guest", "@192.168.10.1", name)
			return len(a.lines) == 1 && a.lines[0] == name+". A "+want
		})
	}
	if log.has("preserve query case") {
		t.Error("it does not preserve case")
	}
}

// addUser has the user and its group be there until the test ends, as a package would
// make them: in the mount namespace that the tests are in.
func addUser(t *testing.T, name string) {
	t.Helper()
	for path, line := range map[string]string{
		"/etc/passwd": name + ":x:64053:64053::/:/usr/sbin/nologin\n",
		"/etc/group":  name + ":x:64053:\n",
	} {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := line
		for l := range strings.Lines(string(old)) {
			if !strings.HasPrefix(l, name+":") {
				text += l
			}
		}
		copied := file(t, filepath.Join(t.TempDir(), "copy"), text)
		if err := unix.Mount(copied, path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
}
