package kernel

import (
	"testing"

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
