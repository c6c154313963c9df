package dhcpd

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// discovery is the frame of a client that has just booted.
func discovery(n uint32) []byte {
	mac := lease.MAC{2}
	binary.BigEndian.PutUint32(mac[2:], n)
	b := make([]byte, headersLen+240)
	m := b[headersLen:]
	m[0], m[1], m[2] = 1, 1, 6
	binary.BigEndian.PutUint32(m[4:], n)
	copy(m[28:], mac[:])
	copy(m[236:], []byte{0x63, 0x82, 0x53, 0x63})
	b = append(b, 53, 1, 1, 255)
	fillHeaders(b, mac, broadcastMAC, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"))
	return b
}

// The first packets of four hundred guests that boot at once wait for a server
// that has no time yet, and all are answered.
func TestBurstIsAnsweredWhole(t *testing.T) {
	const guests = 400
	l, g := unstarted(t)
	conn := listen(t, g.Namespace)
	for n := range uint32(guests) {
		if _, err := conn.WriteTo(discovery(n), &packet.Addr{HardwareAddr: broadcastMAC[:]}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	l.start(t.Context(), &wg, l.handle)
	t.Cleanup(func() { l.close(); wg.Wait() })

	offered := map[uint32]bool{}
	buf := make([]byte, maxRequest)
	for len(offered) < guests {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%d of %d are answered: %v", len(offered), guests, err)
		}
		if m := buf[headersLen:n]; n > headersLen+240 && m[0] == 2 {
			offered[binary.BigEndian.Uint32(m[4:])] = true
		}
	}
}

// unstarted is a server of 10.9.0.0/16 that has its sockets and does not look
// at them yet, and a guest on its bridge.
func unstarted(t *testing.T) (*link, *nettest.Guest) {
	w := nettest.New(t)
	w.Host.Bridge(t, "br0", "10.9.0.1/16")
	g := w.Guest(t, "guests")
	g.Attach(t, "br0")
	svc, err := v4.Compile(v4.Config{
		Server: netip.MustParsePrefix("10.9.0.1/16"),
		Ranges: []v4.Range{{Start: netip.MustParseAddr("10.9.1.0"), End: netip.MustParseAddr("10.9.250.255")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s := New(lease.Memory(log), log)
	var l *link
	err = w.Host.Do(func() error {
		ifi, err := net.InterfaceByName("br0")
		if err == nil {
			l, err = s.openLink("lab", ifi, svc)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l.pool = v4.NewPool(svc, l.table.Network("lab"), time.Now())
	return l, g
}

// listen hears every frame of IPv4 that a guest's interface sees.
func listen(t *testing.T, ns *nettest.Namespace) (conn *packet.Conn) {
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, etherIPv4, nil)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	growReceiveBuffer(conn)
	if err := conn.SetPromiscuous(true); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(nettest.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}
