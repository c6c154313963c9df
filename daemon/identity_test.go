package daemon_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// apply gives the network lab other words for some of its own.
func apply(t *testing.T, d *nettest.Daemon, oldnew ...string) {
	t.Helper()
	d.CtlInput(t, strings.NewReplacer(oldnew...).Replace(lab), "network", "apply", "-f", "-")
}

// leased is what `vnetctl lease list -o json` says of a lease.
type leased struct{ MAC, Address, Hostname, ClientID, ExpireTime string }

func leases(t *testing.T, d *nettest.Daemon, filter ...string) (all []leased) {
	t.Helper()
	if err := json.Unmarshal([]byte(d.Ctl(t, append([]string{"lease", "list", "-o", "json"}, filter...)...)), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// A reservation wins over a lease that runs: its holder hears NAK at its next
// word, and the owner has the address at once.
func TestReservationWinsAtOnce(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w, d := labWorld(t)
	holder := w.Guest(t, "holder")
	holder.Attach(t, "lab0")
	client := holder.Udhcpc(t, nettest.ClientConfig{})
	had, err := client.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owner := w.Guest(t, "owner")
	owner.Attach(t, "lab0")
	apply(t, d, "reservations:", fmt.Sprintf("reservations:\n        - {mac: %q, address: %s}", owner.MAC, had.Address.Addr()))
	if l, err := client.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "nak") && !strings.Contains(err.Error(), "deconfig") {
		t.Errorf("the holder renewed: %v, %v", l.Address, err)
	}
	got, err := owner.Udhcpc(t, nettest.ClientConfig{}).Lease(t.Context())
	if err != nil || got.Address != had.Address {
		t.Errorf("the owner got %v, %v; want %v", got.Address, err, had.Address)
	}
	d.Ctl(t, "lease", "wait", holder.MAC, "--timeout", "20s")
	if again := leases(t, d, "--mac", holder.MAC); len(again) != 1 || again[0].Address == had.Address.Addr().String() {
		t.Errorf("the former holder has %v", again)
	}
}

// Two clones of a machine send one client identifier. They never share an
// address; what is reserved for it goes to who comes first.
func TestClones(t *testing.T) {
	nettest.Need(t, "dhclient")
	w, d := labWorld(t)
	lease := func(name string) (nettest.Client, nettest.Lease) {
		g := w.Guest(t, name)
		g.Attach(t, "lab0")
		g.WriteFile(t, "/etc/dhcp/dhclient.conf", "send dhcp-client-identifier \"clone\";\nrequest subnet-mask, routers, domain-name-servers, domain-name;\n")
		c := g.Dhclient(t, nettest.ClientConfig{})
		l, err := c.Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c, l
	}
	one, first := lease("one")
	two, second := lease("two")
	if first.Address == second.Address {
		t.Fatalf("both have %s", first.Address)
	}
	all := leases(t, d)
	if len(all) != 2 || all[0].ClientID != all[1].ClientID || all[0].ClientID != "636c6f6e65" {
		t.Errorf("leases: %+v", all)
	}
	for name, c := range map[string]nettest.Client{first.Address.String(): one, second.Address.String(): two} {
		if l, err := c.Renew(t.Context()); err != nil || l.Address.String() != name {
			t.Errorf("%s renewed to %v, %v", name, l.Address, err)
		}
	}
	apply(t, d, "reservations:", "reservations:\n        - {clientId: clone, address: 192.168.10.77}")
	if _, third := lease("three"); third.Address.Addr().String() != "192.168.10.77" {
		t.Errorf("the first who asks has %s", third.Address)
	}
	if _, fourth := lease("four"); fourth.Address.Addr().String() == "192.168.10.77" {
		t.Error("two have what is reserved for one identifier")
	}
}

// One reservation for each way in which a guest is known.
func TestReservationsByIdentity(t *testing.T) {
	nettest.Need(t, "dhclient", "udhcpc", "systemd-networkd", "networkctl", "dbus-daemon")
	w, d := labWorld(t)
	attach := func(name string) *nettest.Guest {
		g := w.Guest(t, name)
		g.Attach(t, "lab0")
		return g
	}
	text, named, duid := attach("text"), attach("named"), attach("duid")
	text.WriteFile(t, "/etc/dhcp/dhclient.conf", "send dhcp-client-identifier \"my id\";\nrequest subnet-mask, routers;\n")
	networkd := duid.Networkd(t, nettest.ClientConfig{})
	if _, err := networkd.Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := leases(t, d, "--mac", duid.MAC)[0].ClientID
	if !strings.HasPrefix(id, "ff") {
		t.Fatalf("networkd's identifier is %s", id)
	}
	apply(t, d, "reservations:", fmt.Sprintf(`reservations:
        - {clientId: my id, address: 192.168.10.31, hostname: first}
        - {duid: %q, address: 192.168.10.32}
        - {hostname: named, address: 192.168.10.33}`, id[10:]))
	for _, c := range []struct {
		client nettest.Client
		want   string
	}{
		{text.Dhclient(t, nettest.ClientConfig{}), "192.168.10.31"},
		{networkd, "192.168.10.32"},
		{named.Udhcpc(t, nettest.ClientConfig{}), "192.168.10.33"},
	} {
		if l, err := c.client.Lease(t.Context()); err != nil || l.Address.Addr().String() != c.want {
			t.Errorf("got %v, %v; want %s", l.Address, err, c.want)
		}
	}
	if all := leases(t, d, "--hostname", "FIRST"); len(all) != 1 || all[0].Address != "192.168.10.31" {
		t.Errorf("first is %+v", all)
	}
}

const twoSubnets = `
name: lab
mode: nat
bridge: {name: lab0}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.101}, {start: 192.168.10.200, end: 192.168.10.202}]
      exclude: [{start: 192.168.10.101, end: 192.168.10.101}, {start: 192.168.10.201, end: 192.168.10.202}]
      leaseTime: infinite
  - address: 192.168.20.1/24
    dhcp:
      ranges: [{start: 192.168.20.100, end: 192.168.20.100}]
      reservations: [{hostname: kept, address: 192.168.20.5}]
dns: {domain: lab.test}
`

// Several ranges with exclusions, and a second subnet when the first is full;
// leases for ever; a full pool says so.
func TestSubnetsInTurn(t *testing.T) {
	nettest.Need(t, "udhcpc")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, twoSubnets, "network", "create", "-f", "-")
	if out := d.Ctl(t, "network", "show", "lab"); !strings.Contains(out, "leaseTime: infinite") {
		t.Errorf("show: %s", out)
	}
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "lab")
	got, guests := map[string]string{}, map[string]*nettest.Guest{}
	for _, name := range []string{"a", "b", "c", "kept"} {
		g, l := guest(t, w, name, "lab0")
		guests[name] = g
		got[name] = fmt.Sprintf("%s by %s for %s", l.Address, l.Gateway, l.Time)
	}
	seen := map[string]bool{got["a"]: true, got["b"]: true}
	const forever = "1193046h28m15s" // 2^32-1 seconds
	if !seen["192.168.10.100/24 by 192.168.10.1 for "+forever] || !seen["192.168.10.200/24 by 192.168.10.1 for "+forever] ||
		got["c"] != "192.168.20.100/24 by 192.168.20.1 for 1h0m0s" || got["kept"] != "192.168.20.5/24 by 192.168.20.1 for 1h0m0s" {
		t.Errorf("got %v", got)
	}
	if out := d.Ctl(t, "lease", "list", "--address", "192.168.10.0/24"); strings.Count(out, "never") != 2 || strings.Contains(out, "192.168.20.") {
		t.Errorf("leases: %s", out)
	}
	late := w.Guest(t, "late")
	late.Attach(t, "lab0")
	late.Start(t, "udhcpc", "-f", "-i", "eth0", "-s", "/bin/true", "-T", "1", "-A", "1")
	for _, want := range []string{
		"pool-exhausted lab DHCP pool 192.168.10.0/24 of network lab is exhausted: a request got none of its 2 addresses",
		"pool-exhausted lab DHCP pool 192.168.20.0/24 of network lab is exhausted: a request got none of its 1 addresses",
	} {
		if err := events.WaitFor(t.Context(), want); err != nil {
			t.Errorf("%v; got\n%s", err, events.Output())
		}
	}
	if out := d.Ctl(t, "status"); !strings.Contains(out, "DHCP pool 192.168.10.0/24 of network lab is exhausted") {
		t.Errorf("status: %s", out)
	}
	guests["c"].Down(t, "eth0") // or it would go on to use its address, and be noticed
	d.Ctl(t, "lease", "release", "lab", "c")
	d.Ctl(t, "lease", "wait", late.MAC, "--timeout", "20s")
	if out := d.Ctl(t, "status"); strings.Contains(out, "192.168.20.0/24 of network lab is exhausted") {
		t.Errorf("a pool that gives is exhausted: %s", out)
	}
	if n := strings.Count(events.Output(), "pool-exhausted lab DHCP pool 192.168.10.0/24"); n != 1 {
		t.Errorf("said %d times", n)
	}
	refused(t, d, "", 3, []string{"lease", "release", "lab", "nobody"}, "no lease of nobody")
	refused(t, d, "", 1, []string{"lease", "list", "--address", "x"}, "neither an address nor a prefix")
}
