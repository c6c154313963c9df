package nft

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// script feeds a script to nft.
func (ns *namespace) script(t testing.TB, script string) (string, error) {
	t.Helper()
	file := t.TempDir() + "/script.nft"
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	return ns.try("nft", "-f", file)
}

// A series of intents, each applied on top of the one before: the kernel must
// hold what it would hold had it been applied to nothing.
func TestEditsArriveWhereAReplacementWould(t *testing.T) {
	nat := example.Network("default", netdrv.NAT, "virbr0", "192.168.122.1/24")
	lab := example.Network("lab", netdrv.NAT, "virbr1", "10.20.0.1/24", "fd00:20::1/64")
	dmz := example.Network("dmz", netdrv.Route, "virbr2", "10.30.0.1/24")
	steps := []struct {
		name     string
		networks []netdrv.Network
	}{
		{"one", []netdrv.Network{nat}},
		{"one more", []netdrv.Network{nat, lab}},
		{"a range of ports", []netdrv.Network{nat, example.WithPorts(lab, 3000, 4000)}},
		{"another range", []netdrv.Network{nat, example.WithPorts(lab, 5000, 5000)}},
		{"a wider subnet", []netdrv.Network{example.Network("default", netdrv.NAT, "virbr0", "192.168.122.1/23"), lab}},
		{"a subnet moves to another bridge", []netdrv.Network{example.Network("default", netdrv.NAT, "virbr5", "192.168.122.1/23"), lab}},
		{"two swap bridges", []netdrv.Network{
			example.Network("default", netdrv.NAT, "virbr1", "192.168.122.1/23"), example.Network("lab", netdrv.NAT, "virbr5", "10.20.0.1/24"),
		}},
		{"a routed one", []netdrv.Network{nat, dmz}},
		{"pinned", []netdrv.Network{example.Pinned(nat, "eno1"), example.Pinned(dmz, "eno1")}},
		{"to two", []netdrv.Network{example.Pinned(nat, "eno1", "eno2"), dmz}},
		{"to the other", []netdrv.Network{example.Pinned(nat, "eno2"), dmz}},
		{"source addresses", []netdrv.Network{example.WithSources(nat, "203.0.113.5", "203.0.113.9"), lab}},
		{"other source addresses", []netdrv.Network{example.WithSources(nat, "203.0.113.5", "203.0.113.5"), lab}},
		{"NAT66", []netdrv.Network{nat, example.WithSources(example.WithNAT66(lab), "2001:db8::5", "2001:db8::9")}},
		{"a prefix behind a guest", []netdrv.Network{example.WithRoute(nat, "10.99.0.0/16", "192.168.122.5"), dmz}},
		{"that swallows a subnet", []netdrv.Network{example.WithRoute(nat, "192.168.0.0/16", "192.168.122.5"), dmz}},
		{"services of the host", []netdrv.Network{example.WithServices(nat, "ssh", "udp/5000-5010"), dmz}},
		{"other services", []netdrv.Network{example.WithServices(nat, "udp/5000-5011", "udp/5012"), dmz}},
		{"one service more than a range", []netdrv.Network{example.WithServices(nat, "udp/5000-5012"), dmz}},
		{"nat turns into route", []netdrv.Network{example.Network("default", netdrv.Route, "virbr0", "192.168.122.1/24"), dmz}},
		{"route turns into isolated", []netdrv.Network{example.Network("default", netdrv.Isolated, "virbr0", "192.168.122.1/24")}},
		{"and back to nat", []netdrv.Network{nat}},
		{"the last addresses there are", []netdrv.Network{example.Network("end", netdrv.NAT, "virbr9", "223.255.255.1/24", "fdff:ffff:ffff:ffff::1/64")}},
		{"none", nil},
		{"many", example.Many(600)},
		{"half of them", example.Many(300)},
	}
	ns := newNamespace(t)
	d := ns.open(t)
	for _, s := range steps {
		was := d.last
		change := firewall.Diff(was, firewall.Compile(s.networks))
		apply(t, d, s.networks...)
		if len(was.Tables) > 0 && len(change.Replace) > 0 {
			t.Errorf("%s: replaced, want an edit: %s", s.name, change)
		}
		if drift := verify(t, d); drift != "" {
			t.Errorf("%s: %s", s.name, drift)
		}
	}
}

// The kernel holds for our messages what it holds for nft's own, made from our
// text: the text says what the rules do.
func TestMessagesAreWhatNftWouldSend(t *testing.T) {
	for name, networks := range goldens {
		if name == "clean" || name == "rules" || name == "bridged" || name == "fixed-mac" {
			continue // in bridge tables nft matches the Ethernet header and we the meta data, which have the type behind a VLAN tag
		}
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			script, err := os.ReadFile(filepath.Join("..", "testdata", name+".nft"))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := ns.script(t, string(script)); err != nil {
				t.Fatal(out)
			}
			theirs, err := ns.open(t).sock.read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, ours, err := new(Driver).encode(firewall.Compile(networks))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(comparable(ours), comparable(theirs.image)); diff != "" {
				t.Errorf("(-ours +nft's)\n%s", diff)
			}
		})
	}
}

// comparable leaves out what nft adds for its own use: sets' user data, the end
// before the first interval, and the turning round of numbers of one byte.
var turning = regexp.MustCompile(`byteorder\([^)]*4:00000001;5:00000002;\)`)

func comparable(im image) map[string]string {
	out := map[string]string{}
	for k, v := range im.objects {
		if strings.HasPrefix(k, "set ") {
			v = regexp.MustCompile("13=[0-9a-f]*;").ReplaceAllString(v, "")
		}
		v = turning.ReplaceAllString(v, "")
		if k = printName(k); !strings.HasSuffix(k, " 00000000 (end)") {
			out[k] = v
		}
	}
	return out
}

// Another process cannot flush, delete or extend a table with an owner.
func TestOwnerTableResistsOthers(t *testing.T) {
	ns := newNamespace(t)
	d := ns.open(t)
	if d.flags == 0 {
		t.Skip("the kernel has no persistent tables with an owner")
	}
	apply(t, d, goldens["mix"]...)
	before := ns.list(t)
	if out, err := ns.try("nft", "flush", "ruleset"); err != nil {
		t.Log("nft flush ruleset:", out)
	}
	for _, script := range []string{
		"delete table inet vnetd\n",
		"add element inet vnetd local { \"evil0\" }\n",
		"flush chain inet vnetd forward\n",
	} {
		if out, err := ns.script(t, script); err == nil || !strings.Contains(out, "Operation not permitted") {
			t.Errorf("%q by another: %v %s, want it not permitted", script, err, out)
		}
	}
	if diff := cmp.Diff(before, ns.list(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

// A Driver that comes after finds all as it should be, takes it over and changes
// nothing: the rules keep their handles, and with them their counters.
func TestReopenAdopts(t *testing.T) {
	ns := newNamespace(t)
	first := ns.open(t)
	apply(t, first, goldens["mix"]...)
	handles := ns.run(t, "nft", "-a", "list", "table", "inet", "vnetd")
	first.Close()
	second := ns.open(t)
	apply(t, second, goldens["mix"]...)
	if diff := cmp.Diff(owned(handles), owned(ns.run(t, "nft", "-a", "list", "table", "inet", "vnetd"))); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	if second.flags != 0 {
		if out, err := ns.script(t, "delete table inet vnetd\n"); err == nil {
			t.Errorf("the adopted table has no owner: %s", out)
		}
	}
	apply(t, second, goldens["nat"]...)
	if drift := verify(t, second); drift != "" {
		t.Error(drift)
	}
}

// owned drops the lines that are about the owner.
func owned(list string) string {
	_, rest, _ := strings.Cut(list, "set inside")
	return rest
}

func TestSecondDriverIsToldWhoHolds(t *testing.T) {
	ns := newNamespace(t)
	first, second := ns.open(t), ns.open(t)
	if first.flags == 0 {
		t.Skip("the kernel has no persistent tables with an owner")
	}
	apply(t, first, goldens["nat"]...)
	err := second.Apply(context.Background(), firewall.Compile(goldens["route"]))
	if !errors.Is(err, ErrHeld) {
		t.Errorf("Apply of the second: %v, want ErrHeld", err)
	}
	if err := second.Apply(context.Background(), firewall.Ruleset{}); !errors.Is(err, ErrHeld) {
		t.Errorf("Remove of the second: %v, want ErrHeld", err)
	}
	first.Close()
	apply(t, second, goldens["route"]...)
}

// plain makes a Driver that works as on a kernel without owners.
func plain(t *testing.T, ns *namespace) *Driver {
	d := ns.open(t)
	d.flags = 0
	return d
}

// Each change of a table without an owner is found and repaired.
func TestPlainTableIsRepaired(t *testing.T) {
	for name, script := range map[string]string{
		"flushed":           "flush ruleset\n",
		"deleted":           "delete table inet vnetd\n",
		"dormant":           "add table inet vnetd { flags dormant; }\n",
		"a chain flushed":   "flush chain inet vnetd refuse\n",
		"a rule inserted":   "insert rule inet vnetd forward accept\n",
		"a rule replaced":   "flush chain inet vnetd postrouting\nadd rule inet vnetd postrouting ip daddr . iifname vmap @translate4\n",
		"an element gone":   "delete element inet vnetd leave { \"virbr0\" }\n",
		"an element added":  "add element inet vnetd local { \"evil0\" }\n",
		"a verdict changed": "delete element inet vnetd leave { \"virbr0\" }\nadd element inet vnetd leave { \"virbr0\" comment \"default\" : accept }\n",
		"a prefix added":    "add element inet vnetd subnets4 { 0.0.0.0/0 . \"virbr0\" }\n",
		"a policy changed":  "add chain inet vnetd forward { policy drop; }\n",
		"input unfiltered":  "flush chain inet vnetd input\n",
		"a service added":   "add element inet vnetd service_ranges { \"virbr4\" . tcp . 1-65535 }\n",
		"a gateway added":   "add element inet vnetd gateways4 { \"virbr4\" . 203.0.113.1 }\n",
		"a type added":      "add element inet vnetd neighbours { nd-redirect }\n",
		"another mtu":       "flush chain inet vnetd enter_route\nadd rule inet vnetd enter_route tcp flags syn / syn,rst counter tcp option maxseg size set 1400\n",
		"a chain added":     "add chain inet vnetd evil { type filter hook forward priority -5; }\n",
		"a set added":       "add set inet vnetd evil { type ifname; }\n",
		"a bridge table":    "add table bridge vnetd\n",
	} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			d := plain(t, ns)
			apply(t, d, goldens["mix"]...)
			before := ns.list(t)
			if out, err := ns.script(t, script); err != nil {
				t.Fatal(out)
			}
			drift := verify(t, d)
			if drift == "" {
				t.Fatal("nothing was noticed")
			}
			t.Log(drift)
			apply(t, d, goldens["mix"]...)
			if found, done := d.Repaired(); found != drift || !strings.HasPrefix(done, "replace table inet vnetd") {
				t.Errorf("repaired %q by %q, want %q by replacing the table", found, done, drift)
			}
			if drift := verify(t, d); drift != "" {
				t.Errorf("after Apply: %s", drift)
			}
			apply(t, d, goldens["mix"]...)
			if found, done := d.Repaired(); found != "" || done != "" {
				t.Errorf("nothing was wrong, and it repaired %q by %q", found, done)
			}
			if diff := cmp.Diff(before, ns.list(t)); diff != "" {
				t.Errorf("(-before +repaired)\n%s", diff)
			}
		})
	}
}

// An Apply without a Verify before it does not edit a table that was changed.
func TestEditNoticesForeignChange(t *testing.T) {
	ns := newNamespace(t)
	d := plain(t, ns)
	apply(t, d, goldens["nat"]...)
	if out, err := ns.script(t, "flush ruleset\n"); err != nil {
		t.Fatal(out)
	}
	apply(t, d, append(example.Many(2), goldens["nat"]...)...)
	if drift := verify(t, d); drift != "" {
		t.Error(drift)
	}
}

// Tables of others come and go without our noticing more than that.
func TestOthersTablesAreLeftAlone(t *testing.T) {
	ns := newNamespace(t)
	d := ns.open(t)
	apply(t, d, goldens["nat"]...)
	for _, family := range []string{"ip", "ip6", "inet", "bridge"} {
		ns.run(t, "nft", "add", "table", family, "docker")
	}
	ns.run(t, "nft", "add", "table", "ip", "vnetd") // not a family of ours
	handles := ns.run(t, "nft", "-a", "list", "table", "inet", "vnetd")
	apply(t, d, goldens["nat"]...)
	if diff := cmp.Diff(handles, ns.run(t, "nft", "-a", "list", "table", "inet", "vnetd")); diff != "" {
		t.Errorf("ours was touched: %s", diff)
	}
	if err := d.Apply(context.Background(), firewall.Ruleset{}); err != nil {
		t.Fatal(err)
	}
	want := "table ip docker\ntable ip6 docker\ntable inet docker\ntable bridge docker\ntable ip vnetd\n"
	if diff := cmp.Diff(want, ns.run(t, "nft", "list", "tables")); diff != "" {
		t.Errorf("(-want +after removal)\n%s", diff)
	}
	if err := d.Apply(context.Background(), firewall.Ruleset{}); err != nil {
		t.Errorf("removal of what is gone: %v", err)
	}
}

// A transaction that the kernel refuses changes nothing, and the error names the
// object.
func TestRefusedTransactionChangesNothing(t *testing.T) {
	ns := newNamespace(t)
	d := ns.open(t)
	apply(t, d, goldens["nat"]...)
	before := ns.list(t)
	bad := firewall.Compile(goldens["mix"])
	bad.Tables[0].Chains[1].Rules[1].Exprs = []firewall.Expr{firewall.Verdict{Kind: firewall.Jump, Chain: "nowhere"}}
	err := d.Apply(context.Background(), bad)
	var oe *ObjectError
	if !errors.As(err, &oe) || !strings.HasPrefix(oe.Object, "add rule to chain inet vnetd leave_nat") {
		t.Errorf("got %v, want an error that names the rule of leave_nat", err)
	}
	t.Log(err)
	if diff := cmp.Diff(before, ns.list(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	apply(t, d, goldens["mix"]...)
	if drift := verify(t, d); drift != "" {
		t.Error(drift)
	}
}

// Watch wakes for others' transactions and not for our own.
func TestWatch(t *testing.T) {
	ns := newNamespace(t)
	d := ns.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	woken, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- d.Watch(ctx, func() { woken <- struct{}{} }) }()
	for n := range 20 {
		apply(t, d, example.Many(1+n*100)...)
	}
	ns.run(t, "nft", "add", "table", "ip", "docker")
	wait := func() {
		t.Helper()
		select {
		case <-woken:
		case err := <-ended:
			t.Fatal("Watch ended:", err)
		case <-time.After(10 * time.Second):
			t.Fatal("not woken")
		}
	}
	wait()
	if n := len(woken); n != 0 {
		t.Errorf("woken %d times for our own transactions", n)
	}
	apply(t, d, goldens["nat"]...)
	ns.run(t, "nft", "delete", "table", "ip", "docker")
	wait()
	if n := len(woken); n != 0 {
		t.Errorf("woken %d times too often", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch after its context ended: %v", err)
	}
}
