package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const relayed = `
name: lab
mode: nat
bridge: {name: lab0}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.200}]
      relayed:
        - subnet: 10.30.0.0/24
          router: 10.30.0.1
          ranges: [{start: 10.30.0.100, end: 10.30.0.200}]
          exclude: [{start: 10.30.0.101, end: 10.30.0.199}]
          leaseTime: 30m
          reservations: [{hostname: kept, address: 10.30.0.7}]
  - address: fd00:10::1/64
    dhcp:
      ranges: [{start: "fd00:10::100", end: "fd00:10::1ff"}]
      relayed:
        - subnet: fd00:30::/64
          ranges: [{start: "fd00:30::100", end: "fd00:30::1ff"}]
dns: {domain: lab.test}
`

// relayWorld has a relay between lab0 and a link with a guest on it.
func relayWorld(t *testing.T) (w *nettest.World, d *nettest.Daemon, relay, far *nettest.Guest) {
	t.Helper()
	w = nettest.New(t)
	d = w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, relayed, "network", "create", "-f", "-")
	relay, far = w.Guest(t, "relay"), w.Guest(t, "far")
	w.Host.Run(t, fmt.Sprintf("ip link set %s netns %d", far.Port, relay.Pid()))
	relay.Up(t, far.Port)
	relay.Attach(t, "lab0")
	relay.Address(t, "eth0", "192.168.10.5/24", "fd00:10::5/64")
	relay.Address(t, far.Port, "10.30.0.1/24", "fd00:30::1/64")
	relay.Run(t, "echo 1 >/proc/sys/net/ipv4/ip_forward; ip route replace default via 192.168.10.1")
	return w, d, relay, far
}

// ISC's relay, with its option 82, and a client behind it: the first lease, a
// renewal by unicast through a router, and a reservation.
func TestRelay(t *testing.T) {
	nettest.Need(t, "dhcrelay", "udhcpc", "dhclient")
	w, d, relay, far := relayWorld(t)
	p := relay.Start(t, "dhcrelay", "-4", "-d", "-a", "-id", far.Port, "-iu", "eth0", "192.168.10.1")
	if err := p.WaitFor(t.Context(), "Sending on   Socket/fallback"); err != nil {
		t.Fatal(err)
	}
	c := far.Udhcpc(t, nettest.ClientConfig{})
	l, err := c.Lease(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	if a := l.Address.String(); a != "10.30.0.100/24" && a != "10.30.0.200/24" || l.Gateway.String() != "10.30.0.1" || l.Time.Minutes() != 30 {
		t.Errorf("got %+v", l)
	}
	if again, err := c.Renew(t.Context()); err != nil || again.Address != l.Address {
		t.Errorf("renewed %v, %v", again.Address, err)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Error(err)
	}
	nettest.Eventually(t, "the lease to end", func() error {
		if all := leases(t, d); len(all) != 0 {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	kept := far.Dhclient(t, nettest.ClientConfig{Hostname: "kept"})
	if l, err := kept.Lease(t.Context()); err != nil || l.Address.String() != "10.30.0.7/24" {
		t.Errorf("the reservation: %v, %v", l.Address, err)
	}
	if l, err := kept.Renew(t.Context()); err != nil || l.Address.String() != "10.30.0.7/24" {
		t.Errorf("the reservation renewed: %v, %v", l.Address, err)
	}
	// Guests of the link itself get nothing of the relay's, and the other way.
	if _, l := guest(t, w, "near", "lab0"); !strings.HasPrefix(l.Address.String(), "192.168.10.") {
		t.Errorf("a guest on the link has %s", l.Address)
	}
}

func TestRelay6(t *testing.T) {
	nettest.Need(t, "dhcrelay", "dhclient")
	_, d, relay, far := relayWorld(t)
	p := relay.Start(t, "dhcrelay", "-6", "-d", "-I", "-l", far.Port, "-u", "fd00:10::1%eth0")
	if err := p.WaitFor(t.Context(), "Sending on   Socket/eth0"); err != nil {
		t.Fatal(err)
	}
	far.Run(t, "for i in $(seq 50); do ip -6 addr show dev eth0 scope link | grep -q tentative || exit 0; sleep 0.1; done")
	client := far.Start(t, "dhclient", "-6", "-d", "-v", "-cf", "/dev/null", "-lf", "/run/leases", "-pf", "/run/pid", "eth0")
	if err := client.WaitFor(t.Context(), "RCV: Reply message"); err != nil {
		t.Fatalf("%v\n%s\n%s", err, p.Output(), client.Output())
	}
	all := leases(t, d)
	if len(all) != 1 || !strings.HasPrefix(all[0].Address, "fd00:30::1") || all[0].MAC != far.MAC {
		t.Errorf("leases: %+v", all)
	}
	ctx, cancel := context.WithTimeout(t.Context(), nettest.Patience)
	defer cancel()
	out, err := far.Command(ctx, "dhclient", "-6", "-r", "-v", "-cf", "/dev/null", "-lf", "/run/leases", "-pf", "/run/pid", "eth0").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	nettest.Eventually(t, "the lease to end", func() error {
		if all := leases(t, d); len(all) != 0 {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}
