package service

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// hostKernel shows one host, which does not change.
type hostKernel struct {
	reconcile.Kernel
	host netdrv.Host
}

func (k hostKernel) HostChanges() uint64 { return 1 }

func (k hostKernel) Observe(context.Context) (netdrv.State, netdrv.Host, error) {
	return netdrv.State{}, k.host, nil
}

// A check of a change does not change the engine's cached host, which all checks share.
func TestReleasedLeavesTheCachedHost(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "state"), filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	k := hostKernel{host: netdrv.Host{Links: map[string]netdrv.HostLink{"eth0": {Index: 2, Master: "br0"}}}}
	e := reconcile.New(reconcile.Parts{Store: st, Kernel: k, Events: &event.Bus{}}, slog.New(slog.DiscardHandler))
	host, err := e.FreshHost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := &netdrv.Network{Name: "lan", Mode: netdrv.ExistingBridge, Bridge: netdrv.Bridge{Name: "br0", Uplinks: []string{"eth0"}}}
	if got := released(host, old).Links["eth0"].Master; got != "" {
		t.Errorf("eth0 is in %s after the change", got)
	}
	if host, err = e.FreshHost(t.Context()); err != nil || host.Links["eth0"].Master != "br0" {
		t.Errorf("eth0 is in %q, %v: the check has changed the cached host", host.Links["eth0"].Master, err)
	}
}
