// Package daemon builds vnetd from its parts and owns its life: what runs, in
// which order it starts, and how it ends.
//
// The goroutines of a daemon, all started by Run and all ended when it returns:
//
//	lease.Table.Run    writes the lease journal
//	publishLeases      publishes lease events
//	dhcpd.Server.Run   one loop a network
//	dnsd.Server.Run    the loops of the networks, and the follower of resolv.conf
//	files.Server.Run   the loops of the networks that serve boot files
//	proxy.Server.Run   the loops of published ports on loopback addresses
//	Engine.Run         the reconcile loop, and the watchers of kernel and rules
//	rpc.Server.Serve   one a socket
//	tapbroker.Broker.Serve one, one a connection, and one a process that a port lives with
//	metrics.Serve      for Prometheus, if asked for
//	service.RunConfirmations rolls back what is not confirmed in time
//	watchdog, signals
//
// Starting: lock the network namespace, lock and read the store, replay the leases, look at everything once,
// then answer and tell systemd READY. Ending by SIGTERM leaves every network
// standing; guests notice nothing. Stopping a network is a different word.
package daemon

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/metrics"
	"github.com/vnetd/vnetd/daemon/peer"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/daemon/rpc"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/daemon/tapbroker"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/firewall/nft"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/kernel"
	"github.com/vnetd/vnetd/proxy"
)

//go:embed default.yaml
var defaultNetwork []byte

// maxProxied bounds the callers of all published ports that the proxy serves.
const maxProxied = 2048

// Daemon is a vnetd that has its parts and does not run yet.
type Daemon struct {
	cfg    Config
	log    *slog.Logger
	reload func() error

	lock    *nft.NamespaceLock
	store   *store.Store
	kernel  *kernel.Kernel
	fdb     *kernel.FDB
	rules   *nft.Driver
	leases  *lease.Table
	refused map[string]time.Time // when a refused name was told of last, by network; of publishLeases
	dhcp    *dhcpd.Server
	dns     *dnsd.Server
	boot    *files.Server
	proxy   *proxy.Server
	events  *event.Bus
	engine  *reconcile.Engine
	service *service.Service
	rpc     *rpc.Server
	broker  *tapbroker.Broker
}

// New builds a daemon in the network namespace of the calling thread. It takes
// the state directory, and changes nothing on the host. reload is called on
// SIGHUP, to read the configuration again. Run, or Close.
func New(cfg Config, reload func() error, log *slog.Logger) (*Daemon, error) {
	if err := checkPrivileges(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, log: limit.Logger(log), reload: reload, events: &event.Bus{}, refused: map[string]time.Time{}}
	if err := d.build(log); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// build gives calls of administrators, which are an audit trail, the unlimited log.
func (d *Daemon) build(calls *slog.Logger) (err error) {
	if d.lock, err = lockNamespace(d.cfg.StateDir); err != nil {
		return err
	}
	if d.store, err = store.Open(d.cfg.StateDir, d.cfg.RuntimeDir); err != nil {
		return err
	}
	if d.kernel, err = kernel.Open(d.log); err != nil {
		return err
	}
	if d.fdb, err = kernel.OpenFDB(); err != nil {
		return err
	}
	if d.rules, err = nft.Open(d.log); err != nil {
		return err
	}
	d.leases = lease.Open(filepath.Join(d.cfg.StateDir, "leases"), d.log)
	d.dhcp = dhcpd.New(d.leases, d.log)
	d.boot = files.New(d.log)
	d.dhcp.SetPorts(guestPorts{d.fdb})
	d.dhcp.OnExhausted(d.publishExhausted)
	d.dhcp.OnReservationInUse(d.publishReservationInUse)
	d.proxy = proxy.New(peer.FileShare(maxProxied), d.log)
	d.dns = dnsd.New(d.cfg.File.ResolvConf, d.log)
	d.dns.SetPorts(guestPorts{d.fdb})
	d.dns.OnUpstreams(d.upstreams())
	hostname, _ := os.Hostname()
	if !reconcile.HasLabel(hostname) {
		d.log.Warn("host name is not a name that DNS can have: guests reach the host as host.DOMAIN only; set another one with hostnamectl", "hostname", hostname)
	}
	d.engine = reconcile.New(reconcile.Parts{
		Store: d.store, Kernel: d.kernel, Firewall: d.rules, DHCP: d.dhcp, DNS: d.dns, Boot: d.boot, Proxy: d.proxy,
		Leases: reconcile.LeaseTable{Table: d.leases}, Events: d.events, Hostname: hostname, MayHold: tapbroker.MayHold,
	}, d.log)
	d.leases.OnStored(d.engine.Admit)
	d.leases.OnStoring(d.engine.Notice)
	d.service = service.New(service.Parts{
		Store: d.store, Engine: d.engine, Kernel: d.kernel, Leases: d.leases, Exhausted: d.dhcp.Exhausted, Events: d.events,
		Pools: d.cfg.File.SubnetPools, StateDir: d.cfg.StateDir, Version: d.cfg.Version, Log: calls,
	})
	d.rpc = rpc.New(d.service, d.cfg.File.AdminGroup, calls)
	d.broker = &tapbroker.Broker{Service: d.service, AdminGroup: d.cfg.File.AdminGroup, Log: d.log}
	return nil
}

// lockNamespace refuses to start beside another vnetd: two daemons in one network
// namespace would each remove what the other has declared.
func lockNamespace(stateDir string) (*nft.NamespaceLock, error) {
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		dir = stateDir
	}
	l, err := nft.LockNamespace("state directory " + dir)
	if errors.Is(err, nft.ErrHeld) {
		return nil, fmt.Errorf("another vnetd is running in this network namespace; stop that one first (systemctl stop vnetd, or kill its pid), or start this one in a network namespace of its own: %w", err)
	}
	return l, err
}

// Close gives the state directory and the kernel's sockets free. Networks stay.
func (d *Daemon) Close() {
	if d.leases != nil {
		_ = d.leases.Close()
	}
	if d.rules != nil {
		_ = d.rules.Close()
	}
	if d.fdb != nil {
		d.fdb.Close()
	}
	if d.kernel != nil {
		d.kernel.Close()
	}
	if d.store != nil {
		d.store.Close()
	}
	if d.lock != nil {
		d.lock.Unlock()
	}
}

// Run runs the daemon until ctx ends or a part breaks, and closes it.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.Close()
	var first *netdrv.Network
	if *d.cfg.File.DefaultNetwork {
		n, err := store.Parse("default.yaml", defaultNetwork)
		if err != nil {
			return err
		}
		first = &n
	}
	if err := d.service.Boot(ctx, first); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return named("lease journal", d.leases.Run(ctx)) })
	g.Go(func() error { return d.publishLeases(ctx) })
	g.Go(func() error { return named("DHCP server", d.dhcp.Run(ctx)) })
	g.Go(func() error { return named("forwarding database", d.fdb.Run(ctx)) })
	g.Go(func() error { return named("DNS server", d.dns.Run(ctx)) })
	g.Go(func() error { return named("boot file server", d.boot.Run(ctx)) })
	g.Go(func() error { return named("proxy of published ports", d.proxy.Run(ctx)) })
	g.Go(func() error { return named("engine", d.engine.Run(ctx)) })
	g.Go(func() error { return d.serve(ctx, g) })
	err := g.Wait()
	d.log.Info("daemon stopped; networks stay")
	return err
}

func named(part string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}

// serve looks at everything once, and then answers.
func (d *Daemon) serve(ctx context.Context, g *errgroup.Group) error {
	ls, err := listen(d.cfg.RuntimeDir, d.cfg.File)
	if err != nil {
		return err
	}
	if err := d.engine.Reconcile(ctx); err != nil {
		return err
	}
	d.service.ForgetStrayLeases()
	g.Go(func() error { return named("read-write socket", d.rpc.Serve(ctx, ls.write, false)) })
	g.Go(func() error { return named("read-only socket", d.rpc.Serve(ctx, ls.read, true)) })
	g.Go(func() error { return named("tap broker", d.broker.Serve(ctx, ls.tap)) })
	if at := d.cfg.File.Metrics.Listen; at.IsValid() {
		g.Go(func() error { d.serveMetrics(ctx, at.String()); return nil })
	}
	g.Go(func() error { return d.service.RunConfirmations(ctx) })
	g.Go(func() error { return watchdog(ctx, d.log, d.engine.Alive) })
	d.ready()
	d.hangups(ctx)
	notify(d.log, sd.SdNotifyStopping)
	return nil
}

// metricsRetry is when an address for metrics is tried again that the host does not have
// yet, or that another program has.
const metricsRetry = 5 * time.Second

// serveMetrics serves Prometheus until ctx ends. That it cannot is no reason to stop
// serving networks: status says so.
func (d *Daemon) serveMetrics(ctx context.Context, at string) {
	for said := ""; ctx.Err() == nil; {
		l, err := net.Listen("tcp", at)
		if err == nil {
			d.engine.Report("metrics", nil)
			err = metrics.Serve(ctx, l, d.service, metrics.Servers{DHCP: d.dhcp, DNS: d.dns, Boot: d.boot}, d.log)
		}
		if err == nil {
			continue // ctx has ended
		}
		err = fmt.Errorf("metrics are not served (metrics.listen in vnetd.yaml): %w", err)
		if d.engine.Report("metrics", err); err.Error() != said {
			d.log.Error("metrics are not served; retrying", "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-time.After(metricsRetry):
		}
	}
}

func (d *Daemon) ready() {
	st := d.service.Status()
	status := fmt.Sprintf("%d networks ready, %d degraded, %d stopped", st.Ready, st.Degraded, st.Stopped)
	d.log.Info("ready", "networks", st.Ready, "degraded", st.Degraded, "stopped", st.Stopped)
	notify(d.log, sd.SdNotifyReady+"\nSTATUS="+status)
}

// hangups reloads on SIGHUP until ctx ends.
func (d *Daemon) hangups(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			d.hangup(ctx)
		}
	}
}

func (d *Daemon) hangup(ctx context.Context) {
	notify(d.log, sd.SdNotifyReloading+"\n"+sd.SdNotifyMonotonicUsec())
	if err := d.reload(); err != nil {
		d.log.Error("configuration not reloaded; the old one stays", "err", err)
	}
	if err := d.engine.Reconcile(ctx); err != nil {
		return
	}
	d.ready()
}
