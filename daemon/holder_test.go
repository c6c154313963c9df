package daemon_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const heldLab = `
name: lab
mode: isolated
bridge: {name: lab0}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.254}]
      reservations: [{mac: "02:aa:00:00:00:02", address: 192.168.10.10}]
      relayed: [{subnet: 192.168.30.0/24, ranges: [{start: 192.168.30.2, end: 192.168.30.254}]}]
  - address: fd00:10::1/64
    dhcp: {ranges: [{start: "fd00:10::1000", end: "fd00:10::ffff"}]}
`

var (
	ours4      = netip.MustParseAddrPort("192.168.10.1:67")
	dynamicMAC = net.HardwareAddr{2, 0xaa, 0, 0, 0, 1}
	fixedMAC   = net.HardwareAddr{2, 0xaa, 0, 0, 0, 2}
	hostileMAC = net.HardwareAddr{2, 0xee, 0, 0, 0, 1}
)

// ends is a RELEASE or a DECLINE of an address.
func ends(typ dhcpv4.MessageType, mac net.HardwareAddr, addr net.IP) *dhcpv4.DHCPv4 {
	m, _ := dhcpv4.New(dhcpv4.WithMessageType(typ), dhcpv4.WithHwAddr(mac), dhcpv4.WithClientIP(addr),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ours4.Addr().AsSlice())), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr)))
	return m
}

// lease6 is what a client was told in a REPLY.
type lease6 struct {
	client, server dhcpv6.DUID
	ia             dhcpv6.OptIANA
}

func (l *lease6) says(typ dhcpv6.MessageType) *dhcpv6.Message {
	m, _ := dhcpv6.NewMessage(dhcpv6.WithClientID(l.client), dhcpv6.WithServerID(l.server))
	m.MessageType = typ
	m.AddOption(&l.ia)
	return m
}

// lease takes a DHCPv6 client to its lease.
func (w *wire) lease(mac net.HardwareAddr) (l lease6, err error) {
	for range 5 {
		m, _ := dhcpv6.NewSolicit(mac)
		m.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac}))
		w.send(udp6(mac, m.ToBytes()))
		advertise := w.receive6(m.TransactionID, time.Now().Add(time.Second))
		if advertise == nil {
			continue
		}
		m, _ = dhcpv6.NewRequestFromAdvertise(advertise)
		w.send(udp6(mac, m.ToBytes()))
		reply := w.receive6(m.TransactionID, time.Now().Add(time.Second))
		if reply == nil || reply.Options.OneIANA() == nil || reply.Options.OneIANA().Options.OneAddress() == nil {
			continue
		}
		return lease6{reply.Options.ClientID(), reply.Options.ServerID(), *reply.Options.OneIANA()}, nil
	}
	return l, fmt.Errorf("%s has no lease", mac)
}

// forge sends whatever may end the leases of two IPv4 clients and one of IPv6.
func (w *wire) forge(bridge net.HardwareAddr, held map[string]net.IP, six lease6) {
	broadcast := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	own := netip.MustParseAddrPort("192.168.10.66:68")
	for mac, addr := range held {
		victim, _ := net.ParseMAC(mac)
		theirs := netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr.To4())), 68)
		for _, typ := range []dhcpv4.MessageType{dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline} {
			m := ends(typ, victim, addr)
			for _, src := range []netip.AddrPort{own, theirs} {
				w.send(frame4(hostileMAC, bridge, src, ours4, m.ToBytes()))
				w.send(frame4(hostileMAC, broadcast, src, ours4, m.ToBytes()))
			}
			w.send(udp4(hostileMAC, m.ToBytes()))
			w.send(udp4(victim, m.ToBytes()))
			for _, giaddr := range []string{"192.168.10.66", "192.168.30.1"} {
				relayed := ends(typ, victim, addr)
				relayed.GatewayIPAddr = net.ParseIP(giaddr).To4()
				w.send(frame4(hostileMAC, bridge, netip.MustParseAddrPort(giaddr+":67"), ours4, relayed.ToBytes()))
			}
		}
		// A REQUEST moves no lease either.
		for _, to := range []string{"192.168.10.200", "192.168.30.200"} {
			m, _ := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithHwAddr(victim),
				dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ours4.Addr().AsSlice())), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(to))))
			w.send(udp4(hostileMAC, m.ToBytes()))
			m.GatewayIPAddr = net.IP{192, 168, 30, 1}
			w.send(frame4(hostileMAC, bridge, netip.MustParseAddrPort("192.168.30.1:67"), ours4, m.ToBytes()))
		}
		// Nor does one for an address that another has.
		m, _ := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithHwAddr(hostileMAC),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ours4.Addr().AsSlice())), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr)))
		w.send(udp4(hostileMAC, m.ToBytes()))
	}
	for _, typ := range []dhcpv6.MessageType{dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline} {
		w.send(udp6(hostileMAC, six.says(typ).ToBytes()))
		w.send(udp6(dynamicMAC, six.says(typ).ToBytes()))
		for _, link := range []string{"::", "fd00:10::66"} {
			relayed, _ := dhcpv6.EncapsulateRelay(six.says(typ), dhcpv6.MessageTypeRelayForward, net.ParseIP(link), net.ParseIP("fe80::a8:ff:fe00:1"))
			relayed.AddOption(dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, dynamicMAC))
			w.send(udp6(hostileMAC, relayed.ToBytes()))
		}
	}
}

// Only the holder ends its lease, in both families, with a reservation outside of the
// ranges too, and after a restart as before it; and it can.
func TestOnlyTheHolderEndsItsLease(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, heldLab, "network", "create", "-f", "-")
	honest, hostile := w.Guest(t, "honest"), w.Guest(t, "hostile")
	honest.Attach(t, "lab0")
	hostile.Attach(t, "lab0")
	good, bad := newWire(t, honest), newWire(t, hostile)
	held := map[string]net.IP{}
	for _, mac := range []net.HardwareAddr{dynamicMAC, fixedMAC} {
		_, ack, err := good.bind(mac)
		if err != nil {
			t.Fatal(err)
		}
		held[mac.String()] = ack.YourIPAddr
	}
	six, err := good.lease(dynamicMAC)
	if err != nil {
		t.Fatal(err)
	}
	bridge, _ := net.ParseMAC(strings.TrimSpace(w.Host.Run(t, "cat /sys/class/net/lab0/address")))
	listed := func() (all []string) {
		for _, l := range leases(t, d) {
			if l.MAC == dynamicMAC.String() || l.MAC == fixedMAC.String() {
				all = append(all, l.MAC+" "+l.Address)
			}
		}
		slices.Sort(all)
		return all
	}
	before := listed()
	if len(before) != 3 {
		t.Fatalf("leases: %v", before)
	}
	last := byte(0x10)
	for name, again := range map[string]func(){"at first": func() {}, "after a restart": d.Restart, "after it was killed": func() { d.Kill(); d.Start() }} {
		again()
		bad.forge(bridge, held, six)
		// What comes after has been seen after.
		last++
		if _, _, err := bad.bind(net.HardwareAddr{2, 0xee, 0, 0, 0, last}); err != nil {
			t.Fatal(err)
		}
		if _, err := bad.bind6(net.HardwareAddr{2, 0xee, 0, 0, 0, last}); err != nil {
			t.Fatal(err)
		}
		if now := listed(); !slices.Equal(now, before) {
			t.Errorf("%s: %v, was %v", name, now, before)
		}
	}
	good.send(udp4(dynamicMAC, ends(dhcpv4.MessageTypeRelease, dynamicMAC, held[dynamicMAC.String()]).ToBytes()))
	good.send(frame4(fixedMAC, bridge, netip.MustParseAddrPort("192.168.10.10:68"), ours4, ends(dhcpv4.MessageTypeRelease, fixedMAC, held[fixedMAC.String()]).ToBytes()))
	good.send(udp6(dynamicMAC, six.says(dhcpv6.MessageTypeRelease).ToBytes()))
	nettest.Eventually(t, "the holder's own messages", func() error {
		if now := listed(); len(now) != 0 {
			return fmt.Errorf("%v", now)
		}
		return nil
	})
}

// A guest that sends a lot has its MAC seen behind its own port again at once, so that
// the forwarding database does not tell where a forged RELEASE came from.
func TestReleaseWhileTheHolderSends(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, heldLab, "network", "create", "-f", "-")
	honest, hostile := w.Guest(t, "honest"), w.Guest(t, "hostile")
	honest.Run(t, "ip link set eth0 address "+dynamicMAC.String())
	honest.Attach(t, "lab0")
	hostile.Attach(t, "lab0")
	good, bad := newWire(t, honest), newWire(t, hostile)
	_, ack, err := good.bind(dynamicMAC)
	if err != nil {
		t.Fatal(err)
	}
	honest.Address(t, "eth0", ack.YourIPAddr.String()+"/24")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		noise := frame4(dynamicMAC, net.HardwareAddr{2, 9, 9, 9, 9, 9}, netip.MustParseAddrPort("192.168.10.2:9"), netip.MustParseAddrPort("192.168.10.3:9"), []byte("noise"))
		for {
			select {
			case <-stop:
				return
			default:
				good.send(noise)
			}
		}
	}()
	tried := 0
	for start := time.Now(); time.Since(start) < 3*time.Second; tried++ {
		bad.send(udp4(dynamicMAC, ends(dhcpv4.MessageTypeRelease, dynamicMAC, ack.YourIPAddr).ToBytes()))
		if tried%20 == 0 && len(leases(t, d, "--mac", dynamicMAC.String())) != 1 {
			t.Fatalf("the lease ended after %d forged messages", tried)
		}
	}
	close(stop)
	<-stopped
	if all := leases(t, d, "--mac", dynamicMAC.String()); len(all) != 1 {
		t.Errorf("%d forged messages, and the victim has %+v", tried, all)
	}
}

// The address of a lease that its client has ended stays in its port's filter until
// another guest gets it.
func TestEndedAddressStaysWithItsPort(t *testing.T) {
	nettest.Need(t, "ping")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, strings.Replace(heldLab, "end: 192.168.10.254", "end: 192.168.10.100", 1)+"filter: {preset: clean-traffic}\n", "network", "create", "-f", "-")
	first, second := w.Guest(t, "first"), w.Guest(t, "second")
	first.Run(t, "ip link set eth0 address "+dynamicMAC.String())
	second.Run(t, "ip link set eth0 address "+hostileMAC.String())
	first.Attach(t, "lab0")
	second.Attach(t, "lab0")
	a, b := newWire(t, first), newWire(t, second)
	_, ack, err := a.bind(dynamicMAC)
	if err != nil {
		t.Fatal(err)
	}
	first.Address(t, "eth0", ack.YourIPAddr.String()+"/24")
	first.Run(t, "ping -c 1 -W 5 192.168.10.1")
	a.send(frame4(dynamicMAC, net.HardwareAddr{255, 255, 255, 255, 255, 255}, netip.MustParseAddrPort("192.168.10.100:68"), ours4,
		ends(dhcpv4.MessageTypeRelease, dynamicMAC, ack.YourIPAddr).ToBytes()))
	nettest.Eventually(t, "the lease to end", func() error {
		if all := leases(t, d); len(all) != 0 {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	first.Run(t, "ping -c 1 -W 5 192.168.10.1")
	first.Run(t, "ip addr flush dev eth0")
	if _, got, err := b.bind(hostileMAC); err != nil || !got.YourIPAddr.Equal(ack.YourIPAddr) {
		t.Fatalf("the second guest has %v, %v", got, err)
	}
	first.Address(t, "eth0", ack.YourIPAddr.String()+"/24")
	nettest.Eventually(t, "the address is the second guest's", func() error {
		if out, err := first.Try(t.Context(), "ping -c 1 -W 1 192.168.10.1"); err == nil {
			return fmt.Errorf("it is not:\n%s", out)
		}
		return nil
	})
}

// A reserved address that another guest uses is given to its owner when that guest has
// been told and does not answer for it any more, and not before, in both families.
func TestReservedAddressInUse(t *testing.T) {
	nettest.Need(t, "ip")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, heldLab, "network", "create", "-f", "-")
	holder, owner := w.Guest(t, "holder"), w.Guest(t, "owner")
	holder.Run(t, "ip link set eth0 address "+dynamicMAC.String())
	holder.Attach(t, "lab0")
	owner.Attach(t, "lab0")
	a, b := newWire(t, holder), newWire(t, owner)
	_, ack, err := a.bind(dynamicMAC)
	if err != nil {
		t.Fatal(err)
	}
	six, err := a.lease(dynamicMAC)
	if err != nil {
		t.Fatal(err)
	}
	addr, addr6 := ack.YourIPAddr.String(), six.ia.Options.OneAddress().IPv6Addr.String()
	holder.Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0; ip addr add %s/64 dev eth0 nodad", addr, addr6))
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.Socket(), "event", "watch")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	d.CtlInput(t, strings.NewReplacer(
		"address: 192.168.10.10}", fmt.Sprintf("address: 192.168.10.10}, {mac: %q, address: %s}", hostileMAC, addr),
		`end: "fd00:10::ffff"}]`, fmt.Sprintf(`end: "fd00:10::ffff"}], reservations: [{duid: "00:03:00:01:%s", address: %q}]`, hostileMAC, addr6),
	).Replace(heldLab), "network", "apply", "-f", "-")
	get := func() (string, string) {
		t.Helper()
		_, ack, err := b.bind(hostileMAC)
		if err != nil {
			t.Fatal(err)
		}
		l, err := b.lease(hostileMAC)
		if err != nil {
			t.Fatal(err)
		}
		return ack.YourIPAddr.String(), l.ia.Options.OneAddress().IPv6Addr.String()
	}
	if got, got6 := get(); got == addr || got6 == addr6 {
		t.Errorf("while the holder has them: %s, %s", got, got6)
	}
	for _, a := range []string{addr, addr6} {
		if err := events.WaitFor(t.Context(), "reservation-in-use lab "+a+" "); err != nil {
			t.Error(err)
		}
	}
	// The holder is told.
	m, _ := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithHwAddr(dynamicMAC), dhcpv4.WithClientIP(ack.YourIPAddr))
	a.send(udp4(dynamicMAC, m.ToBytes()))
	if nak := a.receive(dynamicMAC, time.Now().Add(nettest.Patience)); nak == nil || nak.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("the holder renews: %v", nak)
	}
	renew := six.says(dhcpv6.MessageTypeRenew)
	a.send(udp6(dynamicMAC, renew.ToBytes()))
	if reply := a.receive6(renew.TransactionID, time.Now().Add(nettest.Patience)); reply == nil || reply.Options.OneIANA().Options.Status() == nil ||
		reply.Options.OneIANA().Options.Status().StatusCode != iana.StatusNoBinding {
		t.Errorf("the holder renews: %v", reply)
	}
	// It does not obey.
	if got, got6 := get(); got == addr || got6 == addr6 {
		t.Errorf("while the holder answers for them: %s, %s", got, got6)
	}
}
