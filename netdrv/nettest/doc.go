// Package nettest builds worlds of network namespaces for tests: an internet,
// a host that runs the daemon, guests with real DHCP clients, and real QEMU
// machines. Any package's tests may stand on it; it imports nothing of ours.
//
// Start reading at [New], which makes a [World]:
//
//	func TestMain(m *testing.M) { nettest.Main(m) }
//
//	func TestGuestReachesOutside(t *testing.T) {
//		nettest.Need(t, "udhcpc", "curl")
//		w := nettest.New(t)
//		d := w.Daemon(t, nettest.DaemonConfig{})
//		d.Ctl(t, "network", "create", "-f", "lab.yaml")
//		g := w.Guest(t, "web")
//		g.Attach(t, "virbr0")
//		lease, err := g.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context())
//		...
//		g.Run(t, "curl -sS http://203.0.113.1/")
//	}
//
// The pieces are smaller than a World and can be put together otherwise: a
// [Namespace] from [NewNamespace], cables between two of them from [Connect],
// an [Internet] with its servers from [NewInternet].
//
// A namespace is anonymous. It consists of a network, a mount and a UTS
// namespace that one locked thread of the test process owns: nothing appears
// in /run/netns, and when the process dies, however it dies, the kernel takes
// the links, addresses and rules with it. Processes started inside are killed
// by a keeper, a small shell that waits for the test process's end. So there is
// nothing to clean up by hand, and nothing is ever changed in the namespace
// the tests were started from: [Main] checks this.
//
// Tests that use this package need root and the programs that they name with
// [Need]. What is missing skips a test on a laptop; with VNETD_TEST_REQUIRE=1,
// as in CI, it fails it.
package nettest
