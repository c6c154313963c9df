package daemon

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"log/slog"

	"github.com/vnetd/vnetd/api/definition"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

//go:embed default.yaml
var defaultNetwork []byte

// seed declares the default network on a host where nothing was ever
// declared, moved out of the way of what the host uses.
func seed(ctx context.Context, st *store.Store, k reconcile.Kernel, log *slog.Logger) error {
	networks, err := definition.Parse("default.yaml", defaultNetwork)
	if err != nil {
		return err
	}
	n, unread := wire.FromNetwork(networks[0])
	if unread != nil {
		return unread
	}
	have, host, err := k.Observe(ctx)
	if err != nil {
		return fmt.Errorf("look at the host: %w", err)
	}
	if len(have.Links) > 0 {
		log.Warn("default network not declared: the host holds links of networks that this state directory does not know", "links", len(have.Links))
		return nil
	}
	n, moved := netdrv.Relocate(n, host)
	for _, m := range moved {
		log.Warn("default network moved", "why", m)
	}
	var random [3]byte
	_, _ = rand.Read(random[:])
	n = netdrv.Complete(n, nil, func(string) bool { return false }, random)
	if err := netdrv.Validate(&n).Err(); err != nil {
		return fmt.Errorf("default network: %w", err)
	}
	if fs := netdrv.HostConflicts(&n, host); fs != nil {
		return fmt.Errorf("default network: %w", fs)
	}
	if _, err := st.Put(n, true); err != nil {
		return err
	}
	log.Info("default network declared", "bridge", n.Bridge.Name, "address", n.Subnets[0].Address)
	return nil
}
