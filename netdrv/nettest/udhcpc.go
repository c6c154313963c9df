package nettest

import (
	"context"
	"syscall"
	"testing"
)

const udhcpcScript = "/run/nettest/udhcpc.script"

type udhcpc struct {
	scripted
	last Lease
}

// Udhcpc returns busybox's client, with Debian's script.
func (g *Guest) Udhcpc(t testing.TB, cfg ClientConfig) Client {
	t.Helper()
	Need(t, "udhcpc", "busybox")
	g.WriteFile(t, udhcpcScript, `#!/bin/sh
[ ! -x /etc/udhcpc/default.script ] || /etc/udhcpc/default.script "$@"
event=$1`+reportScript)
	return &udhcpc{scripted: newScripted(g, t, cfg, udhcpcKeys)}
}

func (c *udhcpc) Lease(ctx context.Context) (Lease, error) { return c.lease(ctx) }

func (c *udhcpc) lease(ctx context.Context, args ...string) (Lease, error) {
	args = append(args, "-f", "-i", "eth0", "-s", udhcpcScript, "-T", "2", "-A", "1",
		"-O", "mtu", "-x", "hostname:"+c.cfg.Hostname)
	c.start("udhcpc", args...)
	return c.keep(c.bound(ctx, []string{"bound"}, nil))
}

func (c *udhcpc) keep(l Lease, err error) (Lease, error) {
	if err == nil {
		c.last = l
	}
	return l, err
}

func (c *udhcpc) Renew(ctx context.Context) (Lease, error) {
	if err := c.running(); err != nil {
		return Lease{}, err
	}
	c.skip()
	if err := c.p.Signal(syscall.SIGUSR1); err != nil {
		return Lease{}, err
	}
	return c.keep(c.bound(ctx, []string{"renew", "bound"}, []string{"nak", "deconfig"}))
}

func (c *udhcpc) Reboot(ctx context.Context) (Lease, error) {
	if !c.last.Address.IsValid() {
		return c.lease(ctx)
	}
	return c.lease(ctx, "-r", c.last.Address.Addr().String())
}

func (c *udhcpc) Release(ctx context.Context) error {
	if err := c.running(); err != nil {
		return err
	}
	c.skip()
	if err := c.p.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	// It takes its address away after the RELEASE is out.
	if _, err := c.await(ctx, []string{"deconfig"}, nil); err != nil {
		return err
	}
	c.p.Kill()
	return nil
}
