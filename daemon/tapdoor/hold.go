package tapdoor

import (
	"context"
	"os"

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

// remove removes the port of a process that has ended.
func (d *Door) remove(ctx context.Context, p netdrv.Port) {
	existed, err := d.Service.RemoveTransient(ctx, p)
	if existed {
		d.Log.Info("process of a transient port has ended; port removed", "network", p.Network, "port", p.Link, "pid", p.Holder.PID)
	}
	if err != nil {
		d.Log.Error("port of a process that has ended not removed", "port", p.Link, "err", err)
	}
}

// resume watches the processes of ports that an earlier daemon gave out.
func (d *Door) resume(ctx context.Context) {
	for _, p := range d.Service.StoredPorts("") {
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
