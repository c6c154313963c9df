package nettest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

type dhcpcd struct{ scripted }

// Dhcpcd returns Roy Marples' client, with Debian's configuration and scripts.
func (g *Guest) Dhcpcd(t testing.TB, cfg ClientConfig) Client {
	t.Helper()
	Need(t, "dhcpcd")
	g.WriteFile(t, "/etc/dhcpcd.exit-hook", "event=$reason"+reportScript)
	return &dhcpcd{newScripted(g, t, cfg, scriptKeys)}
}

func (c *dhcpcd) run() {
	args := []string{"-B", "-d", "-4", "--noipv4ll", "--nodelay", "-h", c.cfg.Hostname}
	if !c.cfg.Probe {
		args = append(args, "--noarp")
	}
	c.start("dhcpcd", append(args, "eth0")...)
}

func (c *dhcpcd) Lease(ctx context.Context) (Lease, error) {
	c.run()
	return c.bound(ctx, []string{"BOUND", "REBOOT"}, []string{"FAIL", "TIMEOUT"})
}

func (c *dhcpcd) Renew(ctx context.Context) (Lease, error) {
	if err := c.running(); err != nil {
		return Lease{}, err
	}
	c.skip()
	if err := c.tell(ctx, "-N"); err != nil {
		return Lease{}, err
	}
	return c.bound(ctx, []string{"RENEW"}, []string{"EXPIRE", "NAK", "FAIL", "REBIND"})
}

func (c *dhcpcd) Reboot(ctx context.Context) (Lease, error) {
	if err := c.running(); err != nil {
		return Lease{}, err
	}
	// Its helpers notice that it died, but not at once; a machine's crash
	// would have taken them too.
	c.p.Kill()
	c.guest.killAll()
	c.run()
	return c.bound(ctx, []string{"REBOOT"}, []string{"EXPIRE", "NAK", "FAIL", "BOUND"})
}

func (c *dhcpcd) Release(ctx context.Context) error {
	if err := c.running(); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	// dhcpcd 9.4 loses a signal that comes while it forks its listener, just
	// after it was bound, and then -k waits for ten seconds in vain.
	for {
		try, stop := context.WithTimeout(ctx, 3*time.Second)
		err := c.tell(try, "-k")
		stop()
		if err == nil {
			return ignoreExit(ctx, c.p)
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// tell speaks to the running client. It finds it by the family and the link.
func (c *dhcpcd) tell(ctx context.Context, what string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	out, err := c.guest.Command(ctx, "dhcpcd", "-4", what, "eth0").CombinedOutput()
	if err != nil {
		return fmt.Errorf("dhcpcd %s: %w\n%s", what, err, out)
	}
	return nil
}
