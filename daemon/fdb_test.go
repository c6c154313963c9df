package daemon_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A guest that invents MACs fills the bridge's forwarding database up to its limit and no
// further, after a change of the limit as well.
func TestLearnedMACsAreLimited(t *testing.T) {
	nettest.Need(t, "bridge", "udhcpc")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, strings.Replace(cleanLab, "{name: lab0,", "{name: lab0, fdbMaxLearned: 50,", 1), "network", "create", "-f", "-")
	g, _ := guest(t, w, "flooder", "lab0")
	wire := openCable(t, g.Namespace, "eth0")
	for _, limit := range []int{50, 100} {
		d.Ctl(t, "network", "set", "lab", fmt.Sprintf("bridge.fdbMaxLearned=%d", limit))
		for i := range 300 {
			b := arp(g.MAC, g.MAC, "192.168.10.99", "192.168.10.98")
			copy(b[6:], binary.BigEndian.AppendUint32([]byte{2, 0}, 0x99<<24|uint32(i)))
			if err := wire.send(b); err != nil {
				t.Fatal(err)
			}
		}
		learned := 0
		nettest.Eventually(t, "the database is filled", func() error {
			if learned = strings.Count(w.Host.Run(t, "bridge fdb show dev "+g.Port), "02:00:99:"); learned < limit-5 {
				return fmt.Errorf("%d learned", learned)
			}
			return nil
		})
		if learned > limit && limits(t) {
			t.Errorf("the bridge has learned %d MACs, with a limit of %d", learned, limit)
		}
	}
	if limits(t) {
		dryRun(t, d, []string{"bridge.fdbMaxLearned="}, "ip link set lab0 type bridge fdb_max_learned 16384")
	}
}

// limits reports whether bridges have a limit (Linux 6.7).
func limits(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 7
}
