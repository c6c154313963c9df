package tapdoor

import (
	"context"
	"os"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// watch removes a macvtap's port when its process has ended. It takes the pidfd.
func (d *Door) watch(ctx context.Context, p netdrv.Port, pidfd *os.File) {
	d.wg.Go(func() {
		if awaitEnd(ctx, pidfd) {
			d.remove(ctx, p)
		}
	})
}

// remove removes a port, but not another of its name that came later.
func (d *Door) remove(ctx context.Context, p netdrv.Port) {
	d.one.Lock()
	defer d.one.Unlock()
	same := func(o netdrv.Port) bool { return o.Link == p.Link && o.Holder == p.Holder }
	if !slices.ContainsFunc(d.Store.PortsOf(p.Network), same) {
		return
	}
	d.Log.Info("guest of the tap door is gone", "network", p.Network, "port", p.Link, "pid", p.Holder.PID)
	if err := d.Engine.RemovePort(ctx, p); err != nil {
		d.Log.Error("port of a guest that is gone stays", "port", p.Link, "err", err)
	}
}

// resume watches the processes of ports that an earlier daemon gave out.
func (d *Door) resume(ctx context.Context) {
	for _, p := range d.Store.Ports() {
		if !p.Transient || p.Holder.PID == 0 {
			continue
		}
		now, pidfd, err := openProcess(p.Holder.PID)
		switch {
		case err == nil && same(p.Holder, now, p.Holder.PID):
			d.watch(ctx, p, pidfd)
			continue
		case err == nil:
			pidfd.Close()
		}
		d.wg.Go(func() { d.remove(ctx, p) })
	}
}
