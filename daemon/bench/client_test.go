//go:build bench

package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// clients are any number of DHCP clients behind one link, each with a MAC of
// its own, that speak in whole frames.
type clients struct {
	conn *packet.Conn
	buf  []byte
}

func newClients(t testing.TB, g *nettest.Guest) *clients {
	c := &clients{buf: make([]byte, 2048)}
	err := g.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c.conn, err = packet.Listen(ifi, packet.Raw, 0x0800, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.conn.SetPromiscuous(true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func mac(n int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)}
}

func (c *clients) send(m *dhcpv4.DHCPv4) error {
	_, err := c.conn.WriteTo(frame(m), &packet.Addr{HardwareAddr: net.HardwareAddr{255, 255, 255, 255, 255, 255}})
	return err
}

// receive returns the next reply of a server, or an error at the deadline.
func (c *clients) receive(deadline time.Time) (*dhcpv4.DHCPv4, error) {
	for {
		if err := c.conn.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
		n, _, err := c.conn.ReadFrom(c.buf)
		if err != nil {
			return nil, err
		}
		b := c.buf[:n]
		if n < 42+240 || b[23] != 17 || binary.BigEndian.Uint16(b[36:]) != 68 {
			continue
		}
		return dhcpv4.FromBytes(append([]byte(nil), b[42:]...))
	}
}

func discover(n int) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.NewDiscovery(mac(n), dhcpv4.WithBroadcast(false))
	if err != nil {
		panic(err)
	}
	return m
}

// request is the answer to an offer.
func request(offer *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(false))
	if err != nil {
		panic(err)
	}
	return m
}

// bind takes one client from DISCOVER to a lease, and says how long that took.
func (c *clients) bind(n int, limit time.Duration) (time.Duration, netip.Addr, error) {
	start := time.Now()
	for time.Since(start) < limit {
		if err := c.send(discover(n)); err != nil {
			return 0, netip.Addr{}, err
		}
		// A client repeats itself after four seconds (RFC 2131 §4.1).
		for again := time.Now().Add(4 * time.Second); ; {
			m, err := c.receive(again)
			if err != nil {
				break
			}
			if m.ClientHWAddr.String() != mac(n).String() {
				continue
			}
			switch m.MessageType() {
			case dhcpv4.MessageTypeOffer:
				if err := c.send(request(m)); err != nil {
					return 0, netip.Addr{}, err
				}
			case dhcpv4.MessageTypeAck:
				a, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
				return time.Since(start), a, nil
			}
		}
	}
	return 0, netip.Addr{}, fmt.Errorf("client %d is not bound after %s", n, limit)
}

// exchanges has clients 0 to n-1 do four-way exchanges for a time, all at once
// and one after the other each, and counts the ACKs. A lost packet is made up
// for after a tenth of a second.
func (c *clients) exchanges(t testing.TB, n int, d time.Duration) int {
	count := 0
	end := time.Now().Add(d)
	start := func() {
		for i := range n {
			if err := c.send(discover(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	start()
	for time.Now().Before(end) {
		m, err := c.receive(time.Now().Add(100 * time.Millisecond))
		if err != nil {
			start()
			continue
		}
		switch m.MessageType() {
		case dhcpv4.MessageTypeOffer:
			err = c.send(request(m))
		case dhcpv4.MessageTypeAck:
			count++
			err = c.send(discover(int(m.ClientHWAddr[3])<<16 | int(m.ClientHWAddr[4])<<8 | int(m.ClientHWAddr[5])))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return count
}

// frame is a client's broadcast; the UDP checksum is left out, as RFC 768 allows.
func frame(m *dhcpv4.DHCPv4) []byte {
	payload := m.ToBytes()
	b := make([]byte, 42, 42+len(payload))
	copy(b, []byte{255, 255, 255, 255, 255, 255})
	copy(b[6:], m.ClientHWAddr)
	b[12], b[13] = 8, 0
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(b[34:], 68)
	binary.BigEndian.PutUint16(b[36:], 67)
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
	return append(b, payload...)
}
