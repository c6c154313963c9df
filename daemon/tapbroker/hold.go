package tapbroker

import (
	"context"
	"os"

	"github.com/vnetd/vnetd/netdrv"
)

// watch removes a macvtap's port when its process has ended. It takes the pidfd.
func (b *Broker) watch(ctx context.Context, p netdrv.Port, pidfd *os.File) {
	b.wg.Go(func() {
		if awaitEnd(ctx, pidfd) {
			b.remove(ctx, p)
		}
	})
}

// remove removes the port of a process that has ended.
func (b *Broker) remove(ctx context.Context, p netdrv.Port) {
	existed, err := b.Service.RemoveTransient(ctx, p)
	if existed {
		b.Log.Info("process of a transient port has ended; port removed", "network", p.Network, "port", p.Link, "pid", p.Holder.PID)
	}
	if err != nil {
		b.Log.Error("port of a process that has ended not removed", "port", p.Link, "err", err)
	}
}

// resume watches the processes of ports that an earlier daemon handed out.
func (b *Broker) resume(ctx context.Context) {
	for _, p := range b.Service.StoredPorts("") {
		if !p.Transient || p.Holder.PID == 0 {
			continue
		}
		now, pidfd, err := openProcess(p.Holder.PID)
		switch {
		case err == nil && same(p.Holder, now, p.Holder.PID):
			b.watch(ctx, p, pidfd)
			continue
		case err == nil:
			pidfd.Close()
		}
		b.wg.Go(func() { b.remove(ctx, p) })
	}
}
