package kernel

import (
	"fmt"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// What bridge(8) says of two ports, and what we say.
func TestFDB(t *testing.T) {
	nettest.Need(t, "bridge", "ip")
	w := nettest.New(t)
	w.Host.Bridge(t, "br0")
	w.Host.Run(t, "ip link add veth1 type veth peer name veth1p; ip link set veth1 master br0 up; ip link set veth1p up; ip link add veth2 type veth peer name veth2p; ip link set veth2 master br0 up; ip link set veth2p up;"+
		"bridge fdb add 02:00:00:00:00:0a dev veth1 master static; bridge fdb add 02:00:00:00:00:0b dev veth2 master static; ip link set br0 address 02:00:00:00:00:01")
	var fdb *FDB
	if err := w.Host.Do(func() (err error) { fdb, err = OpenFDB(); return err }); err != nil {
		t.Fatal(err)
	}
	defer fdb.Close()
	br := w.Host.Ifindex(t, "br0")
	for last, want := range map[byte]int{0xa: w.Host.Ifindex(t, "veth1"), 0xb: w.Host.Ifindex(t, "veth2"), 0xc: 0, 1: 0} {
		got, ok := fdb.Port(br, netdrv.MAC{2, 0, 0, 0, 0, last})
		if want == 0 && ok || want != 0 && got != want {
			t.Errorf("%x: got %d, %v; want %d", last, got, ok, want)
		}
	}
	if _, ok := fdb.Port(9999, netdrv.MAC{2}); ok {
		t.Error("a bridge that is not there has ports")
	}
	b := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			fdb.Port(br, netdrv.MAC{2, 0, 0, 0, 0, 0xa})
		}
	})
	t.Logf("a look takes %d ns, %d allocations", b.NsPerOp(), b.AllocsPerOp())
	if b.NsPerOp() > 100_000 {
		t.Errorf("a look takes %d ns", b.NsPerOp())
	}
}

// A MAC that sends behind two ports is behind neither for certain, whichever the
// forwarding database shows; one that has just come is where it is.
func TestFDBSettled(t *testing.T) {
	nettest.Need(t, "ip")
	w := nettest.New(t)
	w.Host.Bridge(t, "br0")
	one, two := w.Guest(t, "one"), w.Guest(t, "two")
	one.Attach(t, "br0")
	var fdb *FDB
	if err := w.Host.Do(func() (err error) { fdb, err = OpenFDB(); return err }); err != nil {
		t.Fatal(err)
	}
	defer fdb.Close()
	two.Attach(t, "br0")
	br := w.Host.Ifindex(t, "br0")
	const shared = "02:00:00:00:0a:0a"
	speak := func(g *nettest.Guest) int {
		t.Helper()
		g.Run(t, "ip link set eth0 address "+shared+"; ip addr replace 192.168.77.7/24 dev eth0; ip neigh replace 192.168.77.8 lladdr 02:00:00:00:0b:0b dev eth0; ping -c 1 -W 0.1 192.168.77.8 >/dev/null || true")
		port := w.Host.Ifindex(t, g.Port)
		nettest.Eventually(t, "the bridge to learn the MAC", func() error {
			if got, _ := fdb.Port(br, netdrv.MAC{2, 0, 0, 0, 0xa, 0xa}); got != port {
				return fmt.Errorf("it is behind %d", got)
			}
			return nil
		})
		return port
	}
	first := speak(one)
	if !fdb.Settled(br, netdrv.MAC{2, 0, 0, 0, 0xa, 0xa}, first) || !fdb.Up(br, first) {
		t.Error("a MAC that was nowhere else is not where it is")
	}
	second := speak(two)
	if fdb.Settled(br, netdrv.MAC{2, 0, 0, 0, 0xa, 0xa}, second) {
		t.Error("a MAC that was elsewhere is settled at once")
	}
	if first = speak(one); fdb.Settled(br, netdrv.MAC{2, 0, 0, 0, 0xa, 0xa}, first) {
		t.Error("a MAC that has come back is settled at once")
	}
	now := time.Now().Add(settledAfter + time.Second)
	fdb.moves.drain(now)
	if at := fdb.moves.at[fdbKey{br, netdrv.MAC{2, 0, 0, 0, 0xa, 0xa}}]; at.port != first || now.Sub(at.left) <= settledAfter {
		t.Errorf("later: %+v", at)
	}
	w.Host.Run(t, "ip link set "+two.Port+" nomaster")
	if fdb.Up(br, second) || !fdb.Up(br, first) {
		t.Error("a port that was taken out is up")
	}
}
