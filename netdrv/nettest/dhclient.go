package nettest

import (
	"context"
	"fmt"
	"testing"
)

const (
	dhclientConf   = "/run/nettest/dhclient.conf"
	dhclientLeases = "/run/nettest/dhclient.leases"
	dhclientPid    = "/run/nettest/dhclient.pid"
)

type dhclient struct{ scripted }

// Dhclient returns ISC's client, with Debian's configuration and script. It
// cannot be told to renew, so it is configured to do it every three seconds.
func (g *Guest) Dhclient(t testing.TB, cfg ClientConfig) Client {
	t.Helper()
	Need(t, "dhclient")
	c := &dhclient{newScripted(g, t, cfg, scriptKeys)}
	conf, _ := g.ReadFile("/etc/dhcp/dhclient.conf")
	conf += fmt.Sprintf("\nsend host-name %q;\nsupersede dhcp-renewal-time 3;\n", c.cfg.Hostname)
	g.WriteFile(t, dhclientConf, conf)
	g.WriteFile(t, "/etc/dhcp/dhclient-exit-hooks.d/nettest", "event=$reason"+reportScript)
	return c
}

func (c *dhclient) args(more ...string) []string {
	return append(more, "-cf", dhclientConf, "-lf", dhclientLeases, "-pf", dhclientPid, "eth0")
}

func (c *dhclient) Lease(ctx context.Context) (Lease, error) {
	c.start("dhclient", c.args("-d", "-v")...)
	return c.bound(ctx, []string{"BOUND", "REBOOT"}, []string{"FAIL"})
}

func (c *dhclient) Renew(ctx context.Context) (Lease, error) {
	if err := c.running(); err != nil {
		return Lease{}, err
	}
	c.skip()
	return c.bound(ctx, []string{"RENEW"}, []string{"EXPIRE", "FAIL", "REBIND"})
}

// Reboot is Lease: the file of leases is still there.
func (c *dhclient) Reboot(ctx context.Context) (Lease, error) {
	if err := c.running(); err != nil {
		return Lease{}, err
	}
	c.start("dhclient", c.args("-d", "-v")...)
	return c.bound(ctx, []string{"REBOOT"}, []string{"EXPIRE", "FAIL", "BOUND"})
}

func (c *dhclient) Release(ctx context.Context) error {
	if err := c.running(); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	out, err := c.guest.Command(ctx, "dhclient", c.args("-r", "-v")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dhclient -r: %w\n%s", err, out)
	}
	return ignoreExit(ctx, c.p)
}

// ignoreExit waits for the end of a client that was told to end, and may say
// so by its status.
func ignoreExit(ctx context.Context, p *Process) error {
	_ = p.Wait(ctx)
	return ctx.Err()
}
