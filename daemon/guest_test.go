package daemon_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A real virtual machine, with virtio and no care for our world of veths, on a
// tap of the bridge.
func TestQEMUGuest(t *testing.T) {
	nettest.Need(t, "qemu-system-x86_64")
	w, d := labWorld(t)
	s := nettest.Boot(t, w.Host, "vnet7", "lab0",
		"ping -c 1 -W 5 203.0.113.1",
		"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 203.0.113.1 80",
		"nslookup host.lab.test",
		"nslookup www.example.org",
	)
	if !netip.MustParsePrefix("192.168.10.0/24").Contains(s.Lease.Address.Addr()) || s.Lease.Domain != "lab.test" {
		t.Errorf("lease %+v", s.Lease)
	}
	for i, want := range []string{"1 packets received", "203.0.113.2", "192.168.10.1", "203.0.113.1"} {
		if got := s.Results[i].Output; !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %s in it", s.Results[i].Command, got, want)
		}
	}
	if got := d.Ctl(t, "lease", "list"); !strings.Contains(got, s.Lease.Address.Addr().String()) {
		t.Errorf("lease list lacks the machine's %s:\n%s", s.Lease.Address, got)
	}
}
