package nettest

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// busConf is a bus that carries everything: it has two parties.
const busConf = `<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
</policy>
</busconfig>
`

type networkd struct {
	t     testing.TB
	guest *Guest
	p     *Process
	bus   *Process
}

// Networkd returns systemd's client: systemd-networkd, run by hand. It finds
// no udev, as /sys is made read-only for the guest, and a bus of its own, by
// which networkctl tells it to renew.
func (g *Guest) Networkd(t testing.TB, cfg ClientConfig) Client {
	t.Helper()
	Need(t, "systemd-networkd", "networkctl", "dbus-daemon")
	network := "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n"
	if cfg.Hostname != "" {
		network += "[DHCPv4]\nHostname=" + cfg.Hostname + "\n"
	}
	g.WriteFile(t, "/run/systemd/network/10-eth0.network", network)
	g.WriteFile(t, "/run/dbus/nettest.conf", busConf)
	if err := g.Do(mountSysReadOnly); err != nil {
		t.Fatalf("nettest: %s: %v", g.Name, err)
	}
	return &networkd{t: t, guest: g}
}

func (c *networkd) Lease(ctx context.Context) (Lease, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if c.bus == nil {
		c.bus = c.guest.Start(c.t, "dbus-daemon", "--config-file=/run/dbus/nettest.conf",
			"--nofork", "--nopidfile", "--print-address=1")
		if err := c.bus.WaitFor(ctx, "unix:path="); err != nil {
			return Lease{}, err
		}
	}
	if c.p != nil {
		c.p.Kill()
	}
	cmd := c.guest.Command(context.Background(), "systemd-networkd")
	cmd.Env = append(cmd.Env, "SYSTEMD_LOG_TARGET=console", "SYSTEMD_LOG_LEVEL=debug")
	c.p = c.guest.Launch(c.t, cmd)
	if err := c.p.WaitFor(ctx, " acquired from "); err != nil {
		return Lease{}, err
	}
	// It says so before it has told the kernel.
	if err := c.p.WaitFor(ctx, "DHCPv4 address and routes set."); err != nil {
		return Lease{}, err
	}
	return c.current(ctx)
}

func (c *networkd) Renew(ctx context.Context) (Lease, error) {
	if c.p == nil {
		return Lease{}, fmt.Errorf("%s: no DHCP client runs", c.guest.Name)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	const ack, nak = "DHCPv4 client: ACK", "DHCPv4 client: NAK"
	before, written := c.p.Output(), c.written(ctx)
	if out, err := c.guest.Try(ctx, "networkctl renew eth0"); err != nil {
		return Lease{}, fmt.Errorf("networkctl renew: %w\n%s", err, out)
	}
	var answer string
	err := c.p.out.wait(ctx, c.p.ended, func(text string) bool {
		answer = text[len(before):]
		return strings.Contains(answer, ack) || strings.Contains(answer, nak)
	})
	switch {
	case err != nil:
		return Lease{}, fmt.Errorf("%s: wait for an ACK: %w", c.p.Name, err)
	case strings.Contains(answer, nak):
		return Lease{}, fmt.Errorf("%s: NAK", c.p.Name)
	}
	// It writes its lease down a little after it has said ACK.
	for range 100 {
		if c.written(ctx) != written {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return c.current(ctx)
}

// written tells one writing of the lease from another.
func (c *networkd) written(ctx context.Context) string {
	out, _ := c.guest.Try(ctx, "stat -c '%i %y' "+c.leaseFile())
	return out
}

func (c *networkd) leaseFile() string {
	return fmt.Sprintf("/run/systemd/netif/leases/%d", c.guest.Ifindex(c.t, "eth0"))
}

// Reboot starts networkd again after SIGUSR2, by which it is told that it will
// be: it releases nothing.
func (c *networkd) Reboot(ctx context.Context) (Lease, error) {
	if c.p == nil {
		return Lease{}, fmt.Errorf("%s: no DHCP client runs", c.guest.Name)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := c.p.Signal(syscall.SIGUSR2); err != nil {
		return Lease{}, err
	}
	if err := ignoreExit(ctx, c.p); err != nil {
		return Lease{}, err
	}
	return c.Lease(ctx)
}

func (c *networkd) Release(ctx context.Context) error {
	if c.p == nil {
		return fmt.Errorf("%s: no DHCP client runs", c.guest.Name)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := c.p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := ignoreExit(ctx, c.p); err != nil {
		return err
	}
	if !strings.Contains(c.p.Output(), "DHCPv4 client: RELEASE") {
		return fmt.Errorf("%s: it ended without a RELEASE", c.p.Name)
	}
	return nil
}

// current reads networkd's own file of the lease, which it writes when it has
// nothing else to do.
func (c *networkd) current(ctx context.Context) (Lease, error) {
	for {
		text, err := c.guest.ReadFile(c.leaseFile())
		if err == nil {
			var l Lease
			if l, err = networkdKeys.lease(parseVariables(text)); err == nil {
				// There is no systemd-resolved to do it.
				return l, c.guest.useDNS(l)
			}
		}
		select {
		case <-ctx.Done():
			return Lease{}, fmt.Errorf("lease of networkd: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
