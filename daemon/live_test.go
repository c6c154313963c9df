package daemon_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// Every field of a running network changes live: the guest keeps its link, its
// lease and its connection. What is said is the plan, field by field; and it
// becomes so.
func TestLiveChanges(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig", "nft")
	w, d := labWorld(t)
	g, l := guest(t, w, "web", "lab0")
	conn := dialEcho(t, g)
	was := d.Ctl(t, "network", "show", "lab")
	index := w.Host.Ifindex(t, "lab0")
	address := l.Address.Addr().String()
	for _, c := range []struct {
		set    []string // KEY=VALUE
		says   string   // of the dry run
		mended string   // a command on the host that succeeds then
	}{
		{[]string{"bridge.mtu=1400"}, "bridge.mtu: (not set) -> 1400", "ip link show dev lab0 | grep -q 'mtu 1400'"},
		{[]string{"bridge.mtu=auto"}, "bridge.mtu: 1400 -> auto", "ip link show dev lab0 | grep -q 'mtu 1500'"},
		{[]string{"bridge.mac=02:00:00:00:0a:77"}, "bridge.mac", "ip link show dev lab0 | grep -q 02:00:00:00:0a:77"},
		{[]string{"dns.domain=new.test"}, "dns.domain: lab.test -> new.test", "dig +short @192.168.10.1 web.new.test | grep -qx " + address},
		{[]string{"dns.enabled=false"}, "dns.enabled: (not set) -> false", "! dig +time=1 +tries=1 @192.168.10.1 web.new.test"},
		{[]string{"dns.enabled=", "dns.domain=lab.test"}, "dns.enabled: false -> (not set)", "dig +short @192.168.10.1 web.lab.test | grep -qx " + address},
		{[]string{"subnets[0].dhcp.leaseTime=2h"}, "subnets[0].dhcp.leaseTime: 1h -> 2h", "true"},
		{[]string{"subnets[0].dhcp.ranges[0].end=192.168.10.220"}, "ranges[0].end: 192.168.10.200 -> 192.168.10.220", "true"},
		{[]string{"subnets[0].dhcp.reservations[0].hostname=scanner"}, "printer -> scanner", "dig +short @192.168.10.1 scanner.lab.test | grep -qx 192.168.10.15"},
		{[]string{"subnets[1].address=fd00:10::1/64"}, "subnets[1]", "ip addr show dev lab0 | grep -q fd00:10::1/64"},
		{[]string{"subnets[1]="}, "subnets[1]", "! ip addr show dev lab0 | grep -q fd00:10"},
		{[]string{"subnets[1].address=192.168.11.1/24"}, "subnets[1]", "ip addr show dev lab0 | grep -q 192.168.11.1/24"},
		{[]string{"routes[0].destination=10.99.0.0/16", "routes[0].via=192.168.10.5"}, "routes[0]", "ip route show 10.99.0.0/16 | grep -q 192.168.10.5"},
		{[]string{"routes[0].via=192.168.11.5"}, "routes[0].via: 192.168.10.5 -> 192.168.11.5", "ip route show 10.99.0.0/16 | grep -q 192.168.11.5"},
		{[]string{"routes=", "subnets[1]="}, "routes", "test -z \"$(ip route show 10.99.0.0/16)\""},
		{[]string{"uplinks[0]=up0"}, "uplinks[0]: (not set) -> up0", "true"},
		{[]string{"uplinks="}, "uplinks", "true"},
		{[]string{"nat.ports.start=2000", "nat.ports.end=3000"}, "nat", "nft list ruleset | grep -q 2000-3000"},
		{[]string{"nat="}, "nat", "! nft list ruleset | grep -q 2000-3000"},
		{[]string{"hostServices[0]=ssh"}, "hostServices[0]: (not set) -> tcp/22", "true"},
		{[]string{"hostServices="}, "hostServices", "true"},
		{[]string{"autostart=false"}, "autostart: true -> false", "true"},
		{[]string{"autostart=true"}, "autostart: false -> true", "true"},
	} {
		dryRun(t, d, c.set, c.says)
		d.Ctl(t, append([]string{"network", "set", "lab"}, c.set...)...)
		nettest.Eventually(t, fmt.Sprint(c.set), func() error {
			_, err := w.Host.Try(t.Context(), c.mended)
			return err
		})
		conn.works(fmt.Sprint(c.set))
	}
	if now := w.Host.Ifindex(t, "lab0"); now != index {
		t.Errorf("the bridge was made anew")
	}

	// The bridge's own name is the one thing that needs another bridge.
	d.Ctl(t, "network", "set", "lab", "bridge.name=lab9")
	conn.works("after the bridge was renamed")
	d.Ctl(t, "network", "set", "lab", "bridge.name=lab0")
	conn.works("after it was renamed back")

	// The gateway moves within its subnet, and to where it was.
	d.Ctl(t, "network", "set", "lab", "subnets[0].address=192.168.10.3/24")
	w.Host.Run(t, "ip addr show dev lab0 | grep -q 192.168.10.3/24")
	d.Ctl(t, "network", "set", "lab", "subnets[0].address=192.168.10.1/24")
	conn.works("after the gateway came back")

	d.CtlInput(t, was, "network", "apply", "-f", "-")
	if now := d.Ctl(t, "network", "show", "lab"); now != was {
		t.Errorf("the definition is\n%s\nand was\n%s", now, was)
	}
	if got := d.Ctl(t, "lease", "list"); !strings.Contains(got, address) {
		t.Errorf("the lease is gone:\n%s", got)
	}
}

// dryRun asks what a change would do, which is to exit 2 and change nothing.
func dryRun(t *testing.T, d *nettest.Daemon, set []string, says string) {
	t.Helper()
	before := d.Ctl(t, "network", "show", "lab")
	out, err := d.TryCtl(t.Context(), "", append([]string{"network", "set", "--dry-run", "lab"}, set...)...)
	if e, ok := err.(*nettest.CtlError); !ok || e.Code != 2 || !strings.Contains(out, says) {
		t.Errorf("dry run of %v: %v, and said %q; want exit 2 and %q", set, err, out, says)
	}
	if after := d.Ctl(t, "network", "show", "lab"); after != before {
		t.Errorf("a dry run of %v changed something", set)
	}
}

// A change that cannot be made leaves everything as it was.
func TestFailedChangeLeavesTheOld(t *testing.T) {
	nettest.Need(t, "udhcpc", "dnsmasq", "nft")
	w, d := labWorld(t)
	g, _ := guest(t, w, "web", "lab0")
	conn := dialEcho(t, g)
	// Somebody sits on port 53 of all addresses; the network's own socket came
	// first, but a new one fails.
	w.Host.Run(t, "ip addr add 192.168.10.9/32 dev lo")
	p := w.Host.Start(t, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root", "--conf-file=/dev/null", "--pid-file=", "--listen-address=192.168.10.9", "--bind-interfaces")
	if err := p.WaitFor(t.Context(), "started"); err != nil {
		t.Fatal(err)
	}
	was, show := picture(t, w), d.Ctl(t, "network", "show", "lab")
	refused(t, d, "", 1, []string{"network", "set", "lab", "subnets[0].address=192.168.10.9/24", "bridge.mtu=1400"}, "192.168.10.9")
	if now := picture(t, w); now != was {
		t.Errorf("the host was\n%s\nand is\n%s", was, now)
	}
	if now := d.Ctl(t, "network", "show", "lab"); now != show {
		t.Errorf("the definition was\n%s\nand is\n%s", show, now)
	}
	conn.works("after a change that failed")
}

// The editor opens again with what is wrong on top, and what it leaves is applied
// live.
func TestEdit(t *testing.T) {
	w, d := labWorld(t)
	w.Host.WriteFile(t, "/run/editor", `#!/bin/sh
if grep -q "leaseTime: soon" "$1"; then
	grep -q "^#.*leaseTime" "$1" || exit 1
	sed -i 's/leaseTime: soon/leaseTime: 2h/' "$1"
else
	sed -i 's/leaseTime: 1h/leaseTime: soon/' "$1"
fi
`)
	out := w.Host.Run(t, "EDITOR='sh /run/editor' "+d.Program("vnetctl")+" --socket "+d.Socket()+" network edit lab")
	if !strings.Contains(out, "network lab changed") {
		t.Errorf("edit says %q", out)
	}
	if got := d.Ctl(t, "network", "show", "lab"); !strings.Contains(got, "leaseTime: 2h") {
		t.Errorf("the definition is\n%s", got)
	}
}

// A prefix that the host takes into use later is reported, and the report goes
// when the clash does.
func TestLaterClashIsReported(t *testing.T) {
	w, d := labWorld(t)
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch")
	w.Host.Run(t, "ip addr add 192.168.10.77/24 dev up0")
	if err := events.WaitFor(t.Context(), "192.168.10.1/24 is in use by the host: address 192.168.10.77/24 on up0"); err != nil {
		t.Error(err)
	}
	w.Host.Run(t, "ip addr del 192.168.10.77/24 dev up0")
	nettest.Eventually(t, "ready again", func() error {
		if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "ready") {
			return fmt.Errorf("list says\n%s", got)
		}
		return nil
	})
	w.Host.Run(t, "ip route add 192.168.0.0/16 via 203.0.113.1")
	nettest.Eventually(t, "a route is found, too", func() error {
		if got := d.Ctl(t, "status"); !strings.Contains(got, "route to 192.168.0.0/16 by up0") {
			return fmt.Errorf("status says\n%s", got)
		}
		return nil
	})
}

// Two auto networks never meet, and the file applied again picks nothing new.
func TestAutoSubnets(t *testing.T) {
	_, d := labWorld(t)
	text := func(name string) string {
		return fmt.Sprintf("{name: %s, mode: nat, subnets: [{address: auto, dhcp: {}}, {address: auto6}]}", name)
	}
	d.CtlInput(t, text("one"), "network", "create", "-f", "-")
	d.CtlInput(t, text("two"), "network", "create", "-f", "-")
	one, two := d.Ctl(t, "network", "show", "one"), d.Ctl(t, "network", "show", "two")
	if !strings.Contains(one, "192.168.128.1/24") || !strings.Contains(two, "192.168.129.1/24") {
		t.Errorf("picked\n%s\nand\n%s", one, two)
	}
	if got := d.CtlInput(t, text("two"), "network", "apply", "-f", "-"); !strings.Contains(got, "unchanged") {
		t.Errorf("applied again: %s", got)
	}
}
