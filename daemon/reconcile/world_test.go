package reconcile_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/reconcile/kerneltest"
	"github.com/vnetd/vnetd/netdrv"
)

var ctx = context.Background()

func put(w *kerneltest.World, n netdrv.Network) {
	w.Helper()
	if n.Bridge.MAC.IsZero() {
		n.Bridge.MAC = netdrv.MAC{0x52, 0x54, 0, 0, 0, byte(len(w.Store.List()) + 1)}
	}
	if _, err := w.Store.Put(n, true); err != nil {
		w.Fatal(err)
	}
	if err := w.Engine.Reconcile(ctx, n.Name); err != nil {
		w.Fatal(err)
	}
	if s := w.Engine.Status(n.Name); s.Phase != event.Ready {
		w.Fatalf("%s is %s: %s", n.Name, s.Phase, s.Reason)
	}
}

func rangeOf(start, end string) []netdrv.Range {
	return []netdrv.Range{{Start: netip.MustParseAddr(start), End: netip.MustParseAddr(end)}}
}

func network(name, third string) netdrv.Network {
	return netdrv.Network{
		Name: name, Mode: netdrv.NAT, Bridge: netdrv.Bridge{Name: name + "0"}, DNS: netdrv.DNS{Domain: name + ".test"},
		Subnets: []netdrv.Subnet{{Address: netip.MustParsePrefix("192.168." + third + ".1/24"), DHCP: &netdrv.DHCP{Ranges: rangeOf("192.168."+third+".100", "192.168."+third+".200")}}},
	}
}

func TestDriftIsRepaired(t *testing.T) {
	w := kerneltest.NewWorld(t)
	put(w, network("lab", "10"))
	events := w.Events.Watch()
	defer events.Close()
	w.Kernel.Change(func() { delete(w.Kernel.Links, "lab0") })
	if e := w.Await(events, event.Repaired); e.About != "lab" || !strings.Contains(e.Message, "lab0") || len(e.Steps) == 0 {
		t.Errorf("event %+v", e)
	}
	w.Until("repaired", func() bool { return w.Engine.Stats().Repairs == 1 && w.Engine.Alive(ctx) == nil })
	w.Kernel.Lock()
	_, exists := w.Kernel.Links["lab0"]
	w.Kernel.Unlock()
	if !exists {
		t.Error("lab0 is not there")
	}
}

func TestPlanChangesNothing(t *testing.T) {
	w := kerneltest.NewWorld(t)
	put(w, network("lab", "10"))
	index := w.Kernel.Plug("vnet0", "lab0", netdrv.MAC{2, 0, 0, 0, 0, 9})
	w.Until("learned", func() bool { return len(w.Engine.Members()) == 1 })
	p := netdrv.Port{Network: "lab", Link: "gone0", Transient: true, Granted: netdrv.GrantedAdmin}
	if err := w.Store.PutPort(p); err != nil {
		t.Fatal(err)
	}
	w.Kernel.Lock()
	delete(w.Kernel.Guests, index)
	w.Kernel.Unlock()
	steps, applied := len(w.Kernel.Steps), w.Firewall.Applied()
	changed := network("lab", "11")
	changed.Bridge = netdrv.Bridge{Name: "lab9", MAC: netdrv.MAC{0x52, 0x54, 0, 0, 0, 1}}
	plan, err := w.Engine.Plan(ctx, &changed)
	if err != nil || !strings.Contains(strings.Join(plan, "\n"), "ip link add lab9") || !strings.Contains(strings.Join(plan, "\n"), "ip link del lab0") {
		t.Errorf("plan %q, %v", plan, err)
	}
	if len(w.Kernel.Steps) != steps || w.Firewall.Applied() != applied || len(w.Store.PortsOf("lab")) != 1 || len(w.Engine.Members()) != 1 {
		t.Error("a plan stored, deleted or applied something")
	}
}

func TestFilteredGuests(t *testing.T) {
	w := kerneltest.NewWorld(t)
	n := network("lab", "10")
	n.Filter.Preset = netdrv.CleanTraffic
	n.Access = netdrv.Access{Users: []string{"web"}, MACPrefix: "52:54:00"}
	n.Subnets[0].DHCP.Reservations = []netdrv.Reservation{{MAC: netdrv.MAC{2, 0, 0, 0, 0, 7}, Address: netip.MustParseAddr("192.168.10.9"), Hostname: "db"}}
	put(w, n)
	w.Kernel.Plug("vnet0", "lab0", netdrv.MAC{2, 0, 0, 0, 0, 9})
	w.Until("learned", func() bool { return len(w.Engine.Members()) == 1 })
	w.Engine.GuestNews()
	w.Until("identified", func() bool { return w.Engine.Members()[0].MAC == netdrv.MAC{2, 0, 0, 0, 0, 9} })
	applied := w.Firewall.Applied()
	w.Lease("lab", "02:00:00:00:00:09", "192.168.10.100", "web")
	w.Engine.Admit()
	if w.Firewall.Applied() == applied {
		t.Error("the rules do not follow a lease")
	}
	if err := w.Leases.Release("lab", netip.MustParseAddr("192.168.10.100")); err != nil {
		t.Fatal(err)
	}
	w.Engine.Admit()
	p := netdrv.Port{Network: "lab", Link: "lab1", MAC: netdrv.MAC{0x52, 0x54, 0, 1, 1, 1}, Transient: true, Granted: "user web", Owner: 1000}
	files, err := w.Engine.OpenNew(ctx, p, true)
	if err != nil {
		t.Fatal(err)
	}
	files[0].Close()
	if err := w.Engine.RemovePort(ctx, p); err != nil {
		t.Error(err)
	}
}

func TestTransientPortIsIdentified(t *testing.T) {
	w := kerneltest.NewWorld(t)
	put(w, network("lab", "10"))
	p := netdrv.Port{Network: "lab", Link: "lab1", Transient: true, Granted: netdrv.GrantedAdmin}
	files, err := w.Engine.OpenNew(ctx, p, true)
	if err != nil {
		t.Fatal(err)
	}
	files[0].Close()
	w.Kernel.Lock()
	w.Kernel.Learned[w.Kernel.Links["lab1"].Index] = []netdrv.MAC{{2, 0, 0, 0, 0, 9}}
	w.Kernel.Unlock()
	w.Engine.LookForGuests()
	w.Until("identified", func() bool { return w.Store.PortsOf("lab")[0].MAC == netdrv.MAC{2, 0, 0, 0, 0, 9} })
}

func TestServersAreConfigured(t *testing.T) {
	w := kerneltest.NewWorld(t)
	n := network("lab", "10")
	n.DNS.Peers = []string{"db"}
	n.Subnets = append(n.Subnets, netdrv.Subnet{Address: netip.MustParsePrefix("fd00:10::1/64"), SLAAC: netdrv.Yes, DHCP: &netdrv.DHCP{
		Ranges:       rangeOf("fd00:10::100", "fd00:10::200"),
		Reservations: []netdrv.Reservation{{MAC: netdrv.MAC{2, 0, 0, 0, 0, 7}, Address: netip.MustParseAddr("fd00:10::7"), Hostname: "db"}},
		Options:      netdrv.Options{DNSServers: []netip.Addr{netip.MustParseAddr("fd00:10::53")}, Search: []string{"lab.test"}},
		Relayed:      []netdrv.RelayedSubnet{{Subnet: netip.MustParsePrefix("fd00:11::/64"), Ranges: rangeOf("fd00:11::1", "fd00:11::9")}},
	}})
	n.Subnets[0].DHCP.Options.Routes = []netdrv.OptionRoute{{Destination: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("192.168.10.2")}}
	n.Subnets[0].DHCP.Tags = []netdrv.Tag{{Name: "x", Match: netdrv.OptionMatch{Hostname: "x"}}}
	n.Subnets[0].DHCP.Boot = &netdrv.Boot{Root: t.TempDir(), Files: []netdrv.BootFile{{File: "x.efi"}}}
	n.Subnets[0].DHCP.Relayed = []netdrv.RelayedSubnet{{Subnet: netip.MustParsePrefix("192.168.12.0/24"), Ranges: rangeOf("192.168.12.5", "192.168.12.9")}}
	services, _ := netdrv.ParseService("tcp/8080")
	guest, ports, _ := netdrv.ParseTarget("192.168.10.9:80")
	n.Forwards = []netdrv.Forward{{Listen: services[0], Guest: guest, Ports: ports}}
	put(w, n)
	peer := network("db", "20")
	peer.DNS.Peers = []string{"lab"}
	put(w, peer)
	dhcp, _ := w.DHCP.Of("lab")
	dns, _ := w.DNS.Of("lab")
	if len(dhcp.V4) == 0 || dhcp.V6 == nil || dhcp.RA == nil {
		t.Errorf("DHCP %+v", dhcp)
	}
	if len(dns.Peers) != 1 || dns.Domain != "lab.test" || len(dns.Hosts) != 1 {
		t.Errorf("DNS %+v", dns)
	}
	if _, served := w.Boot.Of("lab"); !served {
		t.Error("no boot files")
	}
	if _, served := w.Proxy.Of("lab"); !served {
		t.Error("no proxy")
	}
	w.Engine.LeaseChanged("lab")
	if err := w.Store.SetLive("lab", false); err != nil {
		t.Fatal(err)
	}
	if err := w.Engine.Reconcile(ctx, "lab"); err != nil {
		t.Fatal(err)
	}
	if _, served := w.DHCP.Of("lab"); served || w.Engine.Status("lab").Phase != event.Stopped {
		t.Error("a stopped network is served")
	}
	if dns, _ = w.DNS.Of("db"); len(dns.Peers) != 0 {
		t.Error("names of a stopped peer are served")
	}
}

func TestFailures(t *testing.T) {
	w := kerneltest.NewWorld(t)
	put(w, network("lab", "10"))
	w.DHCP.Err = errors.New("no socket")
	changed := network("lab", "10")
	changed.Bridge.MAC = netdrv.MAC{0x52, 0x54, 0, 0, 0, 1}
	changed.Subnets[0].DHCP.Ranges = rangeOf("192.168.10.50", "192.168.10.60")
	if _, err := w.Store.Put(changed, true); err != nil {
		t.Fatal(err)
	}
	_ = w.Engine.Reconcile(ctx, "lab")
	if s := w.Engine.Status("lab"); s.Phase != event.Degraded || s.Reason != "no socket" {
		t.Errorf("status %+v", s)
	}
	w.DHCP.Err = nil
	w.Until("retried", func() bool { return w.Engine.Status("lab").Phase == event.Ready })
	w.Kernel.Fail["sysctl -w net/ipv4/ip_forward=1"] = errors.New("read-only")
	w.Kernel.Change(func() { w.Kernel.Settings["net/ipv4/ip_forward"] = "0" })
	w.Until("degraded by the host's plan", func() bool { return w.Engine.Status("lab").Phase == event.Degraded })
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for w.Engine.Alive(cancelled) == nil {
	}
}

func TestTrackedConnectionsAreLimited(t *testing.T) {
	w := kerneltest.NewWorld(t)
	put(w, network("lab", "10"))
	a := netip.MustParseAddr("192.168.10.100")
	w.Kernel.Change(func() {
		w.Kernel.Settings["net/netfilter/nf_conntrack_count"], w.Kernel.Settings["net/netfilter/nf_conntrack_max"] = "900", "1000"
		w.Kernel.Flows[a] = 900
	})
	w.Until("closed", func() bool { return w.Engine.Problems()["conntrack"] != nil })
	w.Kernel.Lock()
	defer w.Kernel.Unlock()
	if w.Kernel.Flows[a] >= 900 {
		t.Error("no connection was ended")
	}
}

func TestMacvtaps(t *testing.T) {
	w := kerneltest.NewWorld(t)
	w.Kernel.Host.Links["eth0"] = netdrv.HostLink{Index: 2, Kind: "device", Up: true, Carrier: true, MTU: 1500, MAC: netdrv.MAC{2, 0, 0, 0, 0, 5}}
	put(w, netdrv.Network{Name: "wan", Mode: netdrv.DirectLink, Direct: netdrv.Direct{Uplinks: []string{"eth0"}, Mode: netdrv.DirectBridge}})
	p := netdrv.Port{Network: "wan", Link: "wan1", Uplink: "eth0", MAC: netdrv.MAC{2, 0, 0, 0, 0, 9}}
	if err := w.Engine.AddPort(ctx, p); err != nil {
		t.Fatal(err)
	}
	if ports := w.Engine.Ports(); len(ports) != 1 || !ports[0].Attached() {
		t.Errorf("ports %+v", ports)
	}
	changed := p
	changed.Guest = "web"
	if err := w.Engine.ChangePort(ctx, p, changed); err != nil {
		t.Error(err)
	}
	if files, err := w.Engine.OpenPort(ctx, p); err != nil || len(files) != 1 {
		t.Error(err)
	}
}

func TestNeighbourEntriesAreLimited(t *testing.T) {
	w := kerneltest.NewWorld(t)
	n := network("lab", "10")
	n.Subnets[0].DHCP.Reservations = []netdrv.Reservation{{MAC: netdrv.MAC{2, 0, 0, 0, 0, 7}, Address: netip.MustParseAddr("192.168.10.9")}}
	put(w, n)
	w.Lease("lab", "02:00:00:00:00:09", "192.168.10.100", "web")
	w.Kernel.Lock()
	for i := range 90 {
		w.Kernel.Neighbours = append(w.Kernel.Neighbours, netdrv.Neighbour{Bridge: "lab0", Address: netip.AddrFrom4([4]byte{192, 168, 10, byte(100 + i)})})
	}
	w.Kernel.Unlock()
	w.Until("limited", func() bool { return w.Engine.Problems()["neighbours"] != nil })
	w.Kernel.Lock()
	defer w.Kernel.Unlock()
	if len(w.Kernel.Neighbours) >= 90 {
		t.Error("no entry was deleted")
	}
}
