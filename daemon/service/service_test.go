package service_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile/kerneltest"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/netdrv"
)

type world struct {
	*kerneltest.World
	*service.Service
}

func newWorld(t *testing.T) *world {
	w := kerneltest.NewWorld(t)
	return &world{w, service.New(service.Parts{
		Store: w.Store, Engine: w.Engine, Kernel: w.Kernel, Leases: w.Leases, Events: w.Events, Log: slog.New(slog.DiscardHandler),
		Exhausted: func() []dhcpd.ExhaustedPool { return []dhcpd.ExhaustedPool{{Network: "lab"}} },
		Pools:     []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}, StateDir: "/state", Version: "v1",
	})}
}

func lab(mode netdrv.Mode) netdrv.Network {
	return netdrv.Network{
		Name: "lab", Mode: mode, Bridge: netdrv.Bridge{Name: "lab0"}, DNS: netdrv.DNS{Domain: "lab.test"},
		Subnets: []netdrv.Subnet{{Address: netip.MustParsePrefix("192.168.10.1/24"), DHCP: &netdrv.DHCP{
			Ranges: []netdrv.Range{{Start: netip.MustParseAddr("192.168.10.100"), End: netip.MustParseAddr("192.168.10.200")}},
		}}},
	}
}

// create creates the network lab.
func (w *world) create(edit func(*netdrv.Network)) service.Network {
	w.Helper()
	n := lab(netdrv.NAT)
	if edit != nil {
		edit(&n)
	}
	res, err := w.Create(context.Background(), service.Definition{Network: n}, service.Options{})
	if err != nil {
		w.Fatal(err)
	}
	return res.Network
}

// refused fails the test unless err is of a kind and mentions words.
func (w *world) refused(err error, k service.Kind, words string) {
	w.Helper()
	if err == nil || service.KindOf(err) != k || !strings.Contains(err.Error(), words) {
		w.Errorf("got %v of kind %d, want kind %d and %q", err, service.KindOf(err), k, words)
	}
}

func ok[T any](w *world, v T, err error) T {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	return v
}

var ctx = context.Background()

func TestCreateObservesTheHostOnce(t *testing.T) {
	w := newWorld(t)
	ok(w, 0, w.Engine.Reconcile(ctx))
	w.Kernel.Change(func() {})
	w.Until("looked at", func() bool { return w.Kernel.HostChanges() == 1 })
	ok(w, 0, w.Engine.Reconcile(ctx))
	w.Kernel.Lock()
	before := w.Kernel.Observed
	w.Kernel.Unlock()
	events := w.Events.Watch()
	defer events.Close()
	n := w.create(nil)
	w.Kernel.Lock()
	observed := w.Kernel.Observed - before
	w.Kernel.Unlock()
	if observed > 1 {
		t.Errorf("the host was observed %d times", observed)
	}
	if n.Status.Phase != event.Ready || n.Revision != 1 || !n.Autostart || n.Bridge.MAC.IsZero() {
		t.Errorf("created: %+v", n)
	}
	if e := w.Await(events, event.NetworkCreated); e.About != "lab" || e.Network.Name != "lab" || e.Time.IsZero() {
		t.Errorf("event %+v", e)
	}
	if _, served := w.DHCP.Of("lab"); !served || w.Firewall.Applied() == 0 {
		t.Error("no DHCP, or no rules")
	}
	_, err := w.Create(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{})
	w.refused(err, service.Exists, "exists already")
}

func TestDryRunIsWhatIsDone(t *testing.T) {
	w := newWorld(t)
	d := service.Definition{Network: lab(netdrv.NAT)}
	d.Bridge.MAC = netdrv.MAC{0x52, 0x54, 0, 1, 2, 3}
	dry := ok2(w, func() (service.Result, error) { return w.Create(ctx, d, service.Options{DryRun: true}) })
	if _, declared := w.Store.Get("lab"); declared || len(w.Kernel.Steps) > 0 || len(dry.Plan) == 0 {
		t.Fatalf("a dry run did something, or plans nothing: %q", w.Kernel.Steps)
	}
	ok2(w, func() (service.Result, error) { return w.Create(ctx, d, service.Options{}) })
	w.Kernel.Lock()
	defer w.Kernel.Unlock()
	if !slices.Equal(dry.Plan, w.Kernel.Steps) {
		t.Errorf("planned\n%s\nand did\n%s", strings.Join(dry.Plan, "\n"), strings.Join(w.Kernel.Steps, "\n"))
	}
}

func ok2[T any](w *world, f func() (T, error)) T {
	w.Helper()
	v, err := f()
	return ok(w, v, err)
}

func TestDefinitionsAreRefused(t *testing.T) {
	w := newWorld(t)
	yes := true
	for _, c := range []struct {
		edit  func(*service.Definition)
		o     service.Options
		kind  service.Kind
		words string
	}{
		{func(d *service.Definition) { d.Subnets[0].Address = netip.MustParsePrefix("10.0.0.0/24") }, service.Options{}, service.Invalid, "subnets[0]"},
		{func(d *service.Definition) { d.Unread.Add("mode", "is not a mode") }, service.Options{}, service.Invalid, "mode: is not a mode"},
		{func(d *service.Definition) { d.Bridge.Name = "eth0" }, service.Options{}, service.Precondition, "eth0"},
		{func(d *service.Definition) { d.Transient, d.Autostart = true, &yes }, service.Options{NoStart: true}, service.Invalid, "transient"},
		{func(d *service.Definition) { d.Subnets[0].Address = netip.MustParsePrefix("203.0.113.1/24") }, service.Options{}, service.Invalid, "outside"},
		{func(d *service.Definition) { d.DNS.Records = []netdrv.Record{{Name: "x", Type: "NOPE", Value: "y"}} }, service.Options{}, service.Invalid, "dns.records[0]"},
	} {
		d := service.Definition{Network: lab(netdrv.NAT)}
		c.edit(&d)
		_, err := w.Create(ctx, d, c.o)
		w.refused(err, c.kind, c.words)
	}
	w.Kernel.Sockets = []netdrv.Socket{{Protocol: netdrv.TCP, Local: netip.MustParseAddrPort("[::]:8080")}}
	_, err := w.Create(ctx, service.Definition{Network: withForward(lab(netdrv.NAT))}, service.Options{})
	w.refused(err, service.Precondition, "in use")
	if e := new(service.Error); !errors.As(err, &e) || len(e.Findings) != 1 {
		t.Errorf("findings of %v", err)
	}
	if len(w.Store.List()) != 0 {
		t.Error("a refused definition is stored")
	}
}

func withForward(n netdrv.Network) netdrv.Network {
	n.Forwards = []netdrv.Forward{forward()}
	return n
}

func forward() netdrv.Forward {
	services, _ := netdrv.ParseService("tcp/8080")
	guest, ports, _ := netdrv.ParseTarget("web:80")
	return netdrv.Forward{Listen: services[0], Guest: guest, Ports: ports}
}

func TestFailedCreateIsRolledBack(t *testing.T) {
	w := newWorld(t)
	w.Kernel.Fail["ip link set lab0 up"] = errors.New("no")
	_, err := w.Create(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{})
	w.refused(err, service.Internal, "create network lab: ip link set lab0 up: no")
	if _, declared := w.Store.Get("lab"); declared || len(w.Kernel.Links) != 0 {
		t.Errorf("left: %v", w.Kernel.Links)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	_, err := w.Update(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{})
	w.refused(err, service.NotFound, "no network lab")
	res := ok2(w, func() (service.Result, error) {
		return w.Update(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{AllowMissing: true})
	})
	if !res.Changed || res.Before != nil {
		t.Errorf("created by update: %+v", res)
	}
	_, err = w.Update(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{Revision: 7})
	w.refused(err, service.Conflict, "changed meanwhile")
	if res = ok2(w, func() (service.Result, error) {
		return w.Update(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{Revision: 1})
	}); res.Changed {
		t.Error("the same definition is a change")
	}
	no := false
	changed := service.Definition{Network: lab(netdrv.Isolated), Autostart: &no}
	if res = ok2(w, func() (service.Result, error) { return w.Update(ctx, changed, service.Options{DryRun: true}) }); !res.Changed || w.Store.List()[0].Revision != 1 {
		t.Error("a dry run changed something, or found no change")
	}
	if res = ok2(w, func() (service.Result, error) { return w.Update(ctx, changed, service.Options{}) }); res.Network.Mode != netdrv.Isolated || res.Network.Autostart || res.Before.Mode != netdrv.NAT {
		t.Errorf("changed: %+v", res)
	}
	w.Firewall.Err = errors.New("no rules")
	_, err = w.Update(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{})
	w.Firewall.Err = nil
	w.refused(err, service.Internal, "no rules")
	if n := ok2(w, func() (service.Network, error) { return w.Service.Network("lab") }); n.Mode != netdrv.Isolated {
		t.Error("a failed change is in force")
	}
}

func TestStopAndStart(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	n := ok2(w, func() (service.Network, error) { return w.Stop(ctx, "lab") })
	if n.Active || n.Status.Phase != event.Stopped || len(w.Kernel.Links) != 0 {
		t.Errorf("stopped: %+v", n)
	}
	w.Kernel.Fail["ip link set lab0 up"] = errors.New("no")
	_, err := w.Start(ctx, "lab", 0)
	w.refused(err, service.Internal, "start network lab")
	delete(w.Kernel.Fail, "ip link set lab0 up")
	if n = ok2(w, func() (service.Network, error) { return w.Start(ctx, "lab", 0) }); !n.Active || n.Status.Phase != event.Ready {
		t.Errorf("started: %+v", n)
	}
	ok2(w, func() (service.Network, error) { return w.Start(ctx, "lab", 0) })
	ok2(w, func() (service.Network, error) { return w.Stop(ctx, "lab") })
	w.Kernel.Change(func() {
		w.Kernel.Host.Prefixes = append(w.Kernel.Host.Prefixes, netdrv.HostPrefix{Prefix: netip.MustParsePrefix("192.168.10.7/24"), Link: "eth0"})
	})
	_, err = w.Start(ctx, "lab", 0)
	w.refused(err, service.Precondition, "192.168.10")
	for _, f := range []func(string) error{
		func(n string) error { _, err := w.Start(ctx, n, 0); return err }, func(n string) error { _, err := w.Stop(ctx, n); return err },
		func(n string) error { return w.Delete(ctx, n, true) }, func(n string) error { _, err := w.Confirm(n); return err },
		func(n string) error { _, err := w.Service.Network(n); return err }, func(n string) error { _, err := w.Records(n); return err },
		func(n string) error { _, err := w.Forwards(n); return err }, func(n string) error { _, err := w.AllLeases(n); return err },
		func(n string) error { _, err := w.PortDetails(ctx, n); return err },
		func(n string) error { return w.ReleaseLease(n, netip.MustParseAddr("192.168.10.5")) },
		func(n string) error { _, err := w.CreatePort(ctx, netdrv.Port{Network: n}, nil); return err },
		func(n string) error { _, _, err := w.OpenTransient(ctx, netdrv.Port{Network: n}, true); return err },
		func(n string) error { _, err := w.AddRecord(ctx, n, netdrv.Record{}, nil); return err },
	} {
		w.refused(f("none"), service.NotFound, "no network none")
	}
}

func TestTransientNetworkIsDeletedByStop(t *testing.T) {
	w := newWorld(t)
	w.create(func(n *netdrv.Network) { n.Transient = true })
	if n := ok2(w, func() (service.Network, error) { return w.Stop(ctx, "lab") }); n.Network != nil || len(w.Store.List()) != 0 {
		t.Error("it still exists")
	}
}

func TestDeleteRefusesGuests(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.Kernel.Plug("vnet0", "lab0", netdrv.MAC{2, 0, 0, 0, 0, 9})
	w.Until("learned", func() bool { return len(w.Ports("lab")) == 1 })
	w.refused(w.Delete(ctx, "lab", false), service.Precondition, "vnet0")
	w.Lease("lab", "02:00:00:00:00:09", "192.168.10.100", "web")
	ports := ok2(w, func() ([]service.Port, error) { return w.PortDetails(ctx, "lab") })
	if p := ports[0]; p.Guest != "web" || len(p.Addresses) != 1 || p.MAC != (netdrv.MAC{2, 0, 0, 0, 0, 9}) || p.Managed || !p.Attached {
		t.Errorf("port %+v", p)
	}
	if n := ok2(w, func() (service.Network, error) { return w.Service.Network("lab") }); n.Leases != 1 || n.Ports != 1 {
		t.Errorf("network %+v", n)
	}
	networks := w.Networks()
	ok(w, 0, w.ReadCounters(ctx, nil, networks))
	if networks[0].Counters == nil {
		t.Error("no counters")
	}
	ok(w, 0, w.DeletePort(ctx, "vnet0"))
	if len(w.Ports("lab")) != 0 {
		t.Error("vnet0 is still attached")
	}
	w.refused(w.DeletePort(ctx, "vnet0"), service.NotFound, "no port vnet0")
	w.refused(w.ReleaseLease("lab", netip.MustParseAddr("192.168.10.5")), service.NotFound, "no lease")
	ok(w, 0, w.ReleaseLease("lab", netip.MustParseAddr("192.168.10.100")))
	w.Lease("lab", "02:00:00:00:00:09", "192.168.10.100", "web")
	ok(w, 0, w.Delete(ctx, "lab", false))
	if leases := ok2(w, func() ([]leaseOf, error) { l, err := w.AllLeases(""); return make([]leaseOf, len(l)), err }); len(leases) != 0 {
		t.Error("the leases are kept")
	}
}

type leaseOf struct{}

func TestPorts(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	var unread netdrv.Findings
	unread.Add("owner", "is not known")
	_, err := w.CreatePort(ctx, netdrv.Port{Network: "lab"}, unread)
	w.refused(err, service.Precondition, "owner: is not known")
	p := ok2(w, func() (service.Port, error) { return w.CreatePort(ctx, netdrv.Port{Network: "lab", Guest: "web"}, nil) })
	if p.Link == "" || p.MAC.IsZero() || !p.Managed || !p.Attached || p.Kind != "tap" {
		t.Errorf("created: %+v", p)
	}
	_, err = w.CreatePort(ctx, netdrv.Port{Network: "lab", Link: p.Link}, nil)
	w.refused(err, service.Precondition, p.Link)
	to := netdrv.Port{Guest: "db", Addresses: []netip.Addr{netip.MustParseAddr("192.168.10.50")}, Queues: 4}
	_, _, err = w.UpdatePort(ctx, p.Link, []string{"queues"}, to, nil)
	w.refused(err, service.Precondition, "queues: is part of how a port is made")
	_, _, err = w.UpdatePort(ctx, "none", nil, to, nil)
	w.refused(err, service.NotFound, "no declared port none")
	for _, want := range []bool{true, false} {
		is, changed, err := w.UpdatePort(ctx, p.Link, []string{"guest", "addresses"}, to, nil)
		if err != nil || changed != want || is.Guest != "db" || is.Queues == 4 {
			t.Errorf("updated: %+v, %v, %v", is, changed, err)
		}
	}
	_, err = w.OpenPort(ctx, p.Port)
	ok(w, 0, err)
	w.Kernel.Fail["ip tuntap add lab9 mode tap vnet_hdr user 0"] = errors.New("no")
	_, err = w.CreatePort(ctx, netdrv.Port{Network: "lab", Link: "lab9"}, nil)
	if err == nil {
		t.Error("a port without its bridge is created")
	}
	ok(w, 0, w.DeletePort(ctx, p.Link))
	if got := w.StoredPorts(""); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestTransientPorts(t *testing.T) {
	w := newWorld(t)
	w.create(func(n *netdrv.Network) {
		n.DNS.Records = []netdrv.Record{{Name: "www", Type: "A", Value: "192.168.10.9"}}
	})
	w.Lease("lab", "02:00:00:00:00:07", "192.168.10.100", "leased")
	w.Kernel.Plug("vnet0", "lab0", netdrv.MAC{2, 0, 0, 0, 0, 9})
	w.Until("learned", func() bool { return len(w.Ports("lab")) == 1 })
	user := netdrv.Port{Network: "lab", Owner: 1000, Granted: "user web"}
	for _, c := range []struct {
		mac   netdrv.MAC
		guest string
		words string
	}{
		{netdrv.MAC{2, 0, 0, 0, 0, 7}, "", "has a lease"},
		{netdrv.MAC{}, "leased", "is the name of the guest"},
		{netdrv.MAC{}, "www", "is the name of a DNS record"},
		{w.Networks()[0].Bridge.MAC, "", "is the MAC of the network's bridge"},
		{netdrv.MAC{2, 0, 0, 0, 0, 9}, "", "is in use behind vnet0"},
	} {
		p := user
		p.MAC, p.Guest = c.mac, c.guest
		_, _, err := w.OpenTransient(ctx, p, true)
		w.refused(err, service.Precondition, c.words)
	}
	p, files, err := w.OpenTransient(ctx, user, true)
	if err != nil || len(files) != 1 || !p.Transient || p.Link == "" {
		t.Fatalf("opened %+v, %v, %v", p, files, err)
	}
	closeAll(files)
	_, _, err = w.UpdatePort(ctx, p.Link, nil, netdrv.Port{}, nil)
	w.refused(err, service.Precondition, "made by the tap broker")
	other := p
	other.Holder.PID = 77
	if existed, err := w.RemoveTransient(ctx, other); existed || err != nil {
		t.Errorf("another process's port was removed: %v", err)
	}
	if existed, err := w.RemoveTransient(ctx, p); !existed || err != nil {
		t.Errorf("not removed: %v, %v", existed, err)
	}
	// The kernel removes a tap with its last descriptor; the port follows.
	if p, files, err = w.OpenTransient(ctx, user, true); err != nil {
		t.Fatal(err)
	}
	closeAll(files)
	w.Kernel.Change(func() { delete(w.Kernel.Links, p.Link) })
	w.Until("dropped", func() bool { return len(w.StoredPorts("lab")) == 0 })
	// A user who loses access loses the port.
	if p, files, err = w.OpenTransient(ctx, user, true); err != nil {
		t.Fatal(err)
	}
	closeAll(files)
	w.MayHold = false
	ok(w, 0, w.Engine.Reconcile(ctx, "lab"))
	w.Until("revoked", func() bool { return len(w.StoredPorts("lab")) == 0 })
	ok2(w, func() (service.Network, error) { return w.Stop(ctx, "lab") })
	_, _, err = w.OpenTransient(ctx, user, true)
	w.refused(err, service.Precondition, "is stopped")
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func TestRecordsAndForwards(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	var unread netdrv.Findings
	unread.Add(".ttl", "is no time")
	_, err := w.AddRecord(ctx, "lab", netdrv.Record{Name: "www", Type: "A", Value: "192.168.10.9"}, unread)
	w.refused(err, service.Invalid, "dns.records[0].ttl: is no time")
	ok2(w, func() (service.Network, error) {
		return w.AddRecord(ctx, "lab", netdrv.Record{Name: "www", Type: "A", Value: "192.168.10.9"}, nil)
	})
	w.Lease("lab", "02:00:00:00:00:07", "192.168.10.100", "web")
	names := map[string]bool{}
	for _, r := range ok2(w, func() ([]service.Record, error) { return w.Records("") }) {
		names[r.Name+" "+r.Type] = true
	}
	if !names["www.lab.test. A"] || !names["web.lab.test. A"] {
		t.Errorf("records %v", names)
	}
	_, _, err = w.DeleteRecords(ctx, "lab", zone.Record{Name: "none"})
	w.refused(err, service.NotFound, "no record none")
	if _, deleted, err := w.DeleteRecords(ctx, "lab", zone.Record{Name: "www"}); err != nil || len(deleted) != 1 {
		t.Errorf("deleted %v, %v", deleted, err)
	}
	ok2(w, func() (service.Network, error) { return w.AddForward(ctx, "lab", forward(), nil) })
	f := ok2(w, func() ([]service.Forward, error) { return w.Forwards("lab") })[0]
	if !f.Active || len(f.Targets) != 0 || !strings.Contains(f.Waiting, "chosen by a guest") {
		t.Errorf("forward %+v", f)
	}
	if problems := w.Status().Problems; !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "is waiting") }) {
		t.Errorf("problems %q", problems)
	}
	ok2(w, func() (service.Port, error) {
		return w.CreatePort(ctx, netdrv.Port{Network: "lab", Guest: "web", MAC: netdrv.MAC{2, 0, 0, 0, 0, 8}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.10.60")}}, nil)
	})
	f = ok2(w, func() ([]service.Forward, error) { return w.Forwards("lab") })[0]
	if len(f.Targets) != 1 || f.Targets[0].MAC != (netdrv.MAC{2, 0, 0, 0, 0, 8}) {
		t.Errorf("forward %+v", f)
	}
	_, _, err = w.DeleteForwards(ctx, "lab", "tcp/1", func(*netdrv.Forward) bool { return false })
	w.refused(err, service.NotFound, "no forward tcp/1")
	if _, deleted, err := w.DeleteForwards(ctx, "lab", "", func(*netdrv.Forward) bool { return true }); err != nil || len(deleted) != 1 {
		t.Errorf("deleted %v, %v", deleted, err)
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.Kernel.Fail["observe"] = errors.New("no observation")
	ok(w, 0, w.Engine.Reconcile(ctx))
	st := w.Status()
	if st.Degraded != 1 || st.Ready != 0 || st.Version != "v1" || st.StateDir != "/state" || st.Started.IsZero() || len(st.Problems) < 2 {
		t.Errorf("%+v", st)
	}
	w.Kernel.Lock()
	delete(w.Kernel.Fail, "observe")
	w.Kernel.Unlock()
	w.Until("ready", func() bool { return w.Status().Ready == 1 })
	ok2(w, func() (service.Network, error) { return w.Stop(ctx, "lab") })
	if st = w.Status(); st.Stopped != 1 || st.Rounds.Named == 0 {
		t.Errorf("%+v", st)
	}
}

// onUplink is a network with a bridge on eth0, where the addresses move.
func onUplink(w *world) service.Definition {
	w.Kernel.Change(func() {
		w.Kernel.Host.Links["eth0"] = netdrv.HostLink{Index: 2, Kind: "device", Up: true, Carrier: true, MTU: 1500, MAC: netdrv.MAC{2, 0, 0, 0, 0, 5}}
	})
	w.Kernel.Snapshot = netdrv.UplinkSnapshot{Links: map[string]netdrv.SnapshotLink{"eth0": {Index: 2, Kind: "device", Up: true}}}
	return service.Definition{Network: netdrv.Network{Name: "office", Mode: netdrv.ExistingBridge, Bridge: netdrv.Bridge{Name: "br0", Uplinks: []string{"eth0"}}}}
}

func TestConfirmations(t *testing.T) {
	w := newWorld(t)
	d := onUplink(w)
	_, err := w.Create(ctx, d, service.Options{ConfirmWithin: 48 * time.Hour})
	w.refused(err, service.Invalid, "confirm_within")
	// The kernel of the tests moves no addresses, so that the change fails.
	_, err = w.Create(ctx, d, service.Options{ConfirmWithin: time.Hour})
	w.refused(err, service.Internal, "create network office")
	if len(w.Store.Trials()) != 0 {
		t.Error("a change that failed waits to be confirmed")
	}
	n := d.Network
	n.Bridge.MAC = netdrv.MAC{2, 0, 0, 0, 0, 1}
	ok2(w, func() (store.Entry, error) { return w.Store.Put(n, false) })
	trial := func(within time.Duration, before *store.Entry) {
		t.Helper()
		tr, err := store.NewTrial("office", before, time.Now(), within)
		ok(w, 0, err)
		ok(w, 0, w.Store.PutTrial(tr))
	}
	trial(time.Hour, nil)
	if n := ok2(w, func() (service.Network, error) { return w.Service.Network("office") }); n.ConfirmBy.IsZero() {
		t.Error("no deadline")
	}
	if n := ok2(w, func() (service.Network, error) { return w.Confirm("office") }); !n.ConfirmBy.IsZero() {
		t.Error("it still waits")
	}
	events := w.Events.Watch()
	defer events.Close()
	trial(time.Millisecond, nil)
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	go func() { done <- w.RunConfirmations(running) }()
	if e := w.Await(events, event.NetworkRolledBack); e.About != "office" || !strings.Contains(e.Message, "deleted") {
		t.Errorf("event %+v", e)
	}
	w.Until("deleted", func() bool { return len(w.Store.List()) == 0 })
	cancel()
	ok(w, 0, <-done)
}

func TestBoot(t *testing.T) {
	w := newWorld(t)
	first := lab(netdrv.NAT)
	first.Autostart = true
	ok(w, 0, w.Service.Boot(ctx, &first))
	ok(w, 0, w.Engine.Reconcile(ctx))
	if n := ok2(w, func() (service.Network, error) { return w.Service.Network("lab") }); !n.Active || n.Status.Phase != event.Ready {
		t.Errorf("declared: %+v", n)
	}
	w.Lease("gone", "02:00:00:00:00:07", "192.168.10.100", "web")
	w.ForgetStrayLeases()
	if leases, _ := w.AllLeases(""); len(leases) != 0 {
		t.Error("leases of a network that is not declared are kept")
	}
	ok(w, 0, w.Service.Boot(ctx, &first)) // changes nothing
}

// orphaned leaves the host with a bridge, a guest and a tap of the network lab, which is not declared.
func orphaned(w *world) {
	w.Kernel.Change(func() {
		k := w.Kernel
		k.Links["lab0"] = netdrv.Link{Network: "lab", Name: "lab0", Index: 5, Kind: netdrv.KindBridge, MAC: netdrv.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, Up: true}
		k.Links["lab1"] = netdrv.Link{Network: "lab", Name: "lab1", Index: 6, Kind: netdrv.KindTap, MAC: netdrv.MAC{0xfe, 0, 0, 0, 0, 1}, MTU: 1500, Up: true, Master: "lab0", Persist: true}
		k.Addrs[netdrv.Addr{Network: "lab", Link: "lab0", Prefix: netip.MustParsePrefix("192.168.10.1/24")}] = true
		k.Learned[6] = []netdrv.MAC{{0x52, 0, 0, 0, 0, 1}}
	})
	w.Firewall.Treated = map[string]netdrv.Treatment{"lab0": {Mode: netdrv.NAT, Exact: true}}
	ok(w, 0, w.Engine.Reconcile(ctx))
}

func TestOrphansAreAdopted(t *testing.T) {
	w := newWorld(t)
	orphaned(w)
	if !slices.ContainsFunc(w.Status().Problems, func(p string) bool { return strings.Contains(p, "orphaned") }) {
		t.Errorf("problems %q", w.Status().Problems)
	}
	as := func(shown netdrv.Network) (service.Definition, error) { return service.Definition{Network: shown}, nil }
	_, _, err := w.Adopt(ctx, "none", as, false)
	w.refused(err, service.NotFound, "this host has lab")
	_, err = w.Create(ctx, service.Definition{Network: lab(netdrv.NAT)}, service.Options{NoStart: true})
	w.refused(err, service.Precondition, "guests")
	_, _, err = w.Adopt(ctx, "lab", func(n netdrv.Network) (service.Definition, error) { n.Name = "x"; return as(n) }, false)
	w.refused(err, service.Invalid, "the orphan is lab")
	for _, dryRun := range []bool{true, false} {
		n, ports, err := w.Adopt(ctx, "lab", as, dryRun)
		if err != nil || n.Mode != netdrv.NAT || !slices.Equal(ports, []string{"lab1"}) {
			t.Fatalf("adopted: %+v, %v, %v", n, ports, err)
		}
	}
	if p := w.StoredPorts("lab"); len(p) != 1 || p[0].MAC != (netdrv.MAC{0x52, 0, 0, 0, 0, 1}) {
		t.Errorf("ports %+v", p)
	}
	_, _, err = w.Adopt(ctx, "lab", as, false)
	w.refused(err, service.Precondition, "no orphaned links")
}

func TestOrphansAreForgotten(t *testing.T) {
	w := newWorld(t)
	_, err := w.Forget(ctx, "lab", false)
	w.refused(err, service.NotFound, "this host has none")
	orphaned(w)
	_, err = w.Forget(ctx, "lab", false)
	w.refused(err, service.Precondition, "has guests")
	links := ok2(w, func() ([]string, error) { return w.Forget(ctx, "lab", true) })
	if !slices.Equal(links, []string{"lab0", "lab1"}) || len(w.Kernel.Links) != 0 {
		t.Errorf("removed %v, left %v", links, w.Kernel.Links)
	}
}
