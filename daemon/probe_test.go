package daemon_test

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/mdlayher/packet"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A guest that says of each address that the server asks about that it is its own does
// not keep others from theirs, and costs no more than a few questions.
func TestEveryProbeIsAnswered(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, heldLab, "network", "create", "-f", "-")
	attacker := w.Guest(t, "attacker")
	attacker.Attach(t, "lab0")
	var conn *packet.Conn
	if err := attacker.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(ifi, packet.Raw, 0x0806, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	own, _ := net.ParseMAC(attacker.MAC)
	var answered atomic.Int32
	go func() {
		b := make([]byte, 128)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if n < 42 || b[21] != 1 || [4]byte(b[28:32]) != [4]byte{} {
				continue
			}
			claim := append([]byte(nil), b[:42]...)
			copy(claim, b[6:12])
			copy(claim[6:], own)
			claim[21] = 2
			copy(claim[22:], own)
			copy(claim[28:], b[38:42]) // the address asked for
			copy(claim[32:], b[6:12])
			answered.Add(1)
			_, _ = conn.WriteTo(claim, &packet.Addr{HardwareAddr: claim[:6]})
		}
	}()
	clients := []string{"one", "two", "three"}
	for _, name := range clients {
		g := w.Guest(t, name)
		g.Attach(t, "lab0")
		if _, err := g.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Three claims are believed, and each client probes its own address a few times.
	if n := answered.Load(); n < 3 || n > 40 {
		t.Errorf("%d questions were answered", n)
	}
}
