package daemon_test

import (
	"encoding/binary"
	"errors"
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

// A guest that invents MACs leaves room for those of others: its bridge stops to learn behind
// its port alone, says so, and learns there again after a restart.
func TestPortThatInventsMACsIsNotLearned(t *testing.T) {
	nettest.Need(t, "bridge", "udhcpc")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, strings.Replace(cleanLab, "{name: lab0,", "{name: lab0, fdbMaxLearned: 2000,", 1), "network", "create", "-f", "-")
	bad, _ := guest(t, w, "hostile", "lab0")
	good, _ := guest(t, w, "early", "lab0")
	wire := openCable(t, bad.Namespace, "eth0")
	learning := func(port string) bool {
		return strings.Contains(w.Host.Run(t, "bridge -d link show dev "+port), " learning on")
	}
	sent := uint32(0)
	nettest.Eventually(t, "nothing is learned behind the port", func() error {
		for range 1000 {
			b := arp(bad.MAC, bad.MAC, "192.168.10.99", "192.168.10.98")
			sent++
			copy(b[6:], binary.BigEndian.AppendUint32([]byte{2, 0}, 0x99<<24|sent))
			if err := wire.send(b); err != nil {
				t.Fatal(err)
			}
		}
		if learning(bad.Port) {
			return errors.New("learning is on")
		}
		return nil
	})
	if n := strings.Count(w.Host.Run(t, "bridge fdb show dev "+bad.Port), "02:00:99:"); n > 0 {
		t.Errorf("%d invented MACs are still in the database", n)
	}
	if !learning(good.Port) {
		t.Error("nothing is learned behind the port of another guest")
	}
	late, _ := guest(t, w, "late", "lab0")
	if fdb := w.Host.Run(t, "bridge fdb show dev "+late.Port); !strings.Contains(fdb, late.MAC) {
		t.Errorf("a new guest is not learned: %s", fdb)
	}
	if status := d.Ctl(t, "status"); !strings.Contains(status, "learns none behind port "+bad.Port) {
		t.Errorf("status does not name the port:\n%s", status)
	}
	d.Kill()
	d.Start()
	nettest.Eventually(t, "the port is learned again", func() error {
		if !learning(bad.Port) {
			return errors.New("learning is off")
		}
		return nil
	})
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
