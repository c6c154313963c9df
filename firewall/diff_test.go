package firewall

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

func TestDiff(t *testing.T) {
	nat := example.Network("default", netdrv.NAT, "virbr0", "192.168.122.1/24")
	lab := example.Network("lab", netdrv.NAT, "virbr1", "10.20.0.1/24", "fd00:20::1/64")
	dmz := example.Network("dmz", netdrv.Route, "virbr2", "10.30.0.1/24")
	renamed := nat
	renamed.Name = "other"
	for _, c := range []struct {
		name     string
		old, new []netdrv.Network
		want     string
	}{
		{"nothing", nil, nil, ""},
		{"equal in other memory", []netdrv.Network{nat, lab}, []netdrv.Network{lab, nat}, ""},
		{"the first", nil, []netdrv.Network{nat}, "replace table inet vnetd: 9 chains, 6 elements"},
		{"the last goes", []netdrv.Network{nat}, nil, "delete table inet vnetd"},
		{
			"one more of a kind",
			[]netdrv.Network{nat},
			[]netdrv.Network{nat, lab},
			"edit table inet vnetd: -0 +7 elements",
		},
		{
			"one less",
			[]netdrv.Network{nat, lab},
			[]netdrv.Network{nat},
			"edit table inet vnetd: -7 +0 elements",
		},
		{
			"a name is a comment on elements",
			[]netdrv.Network{nat},
			[]netdrv.Network{renamed},
			"edit table inet vnetd: -3 +3 elements",
		},
		{
			"a range of ports is a chain",
			[]netdrv.Network{nat},
			[]netdrv.Network{example.WithPorts(nat, 5, 9)},
			"edit table inet vnetd: -chain masquerade_1024_65535 +chain masquerade_5_9 -1 +1 elements",
		},
		{
			"a pin is elements, and the first one chains",
			[]netdrv.Network{nat},
			[]netdrv.Network{example.Pinned(nat, "eno1", "eno2")},
			"edit table inet vnetd: +chain leave_pinned_nat -1 +3 elements",
		},
		{
			"the first that limits the host brings a hook",
			[]netdrv.Network{nat},
			[]netdrv.Network{example.WithServices(nat, "ssh")},
			"edit table inet vnetd: +chain input +chain limited +chain served -0 +12 elements",
		},
		{
			"a service more",
			[]netdrv.Network{example.WithServices(nat, "ssh")},
			[]netdrv.Network{example.WithServices(nat, "ssh", "nfs")},
			"edit table inet vnetd: -0 +1 elements",
		},
		{
			"source addresses are a chain",
			[]netdrv.Network{lab},
			[]netdrv.Network{example.WithSources(lab, "203.0.113.5", "203.0.113.9")},
			"edit table inet vnetd: -chain masquerade_1024_65535 +chain snat_203.0.113.5_203.0.113.9_1024_65535 -1 +1 elements",
		},
		{
			"NAT66",
			[]netdrv.Network{lab},
			[]netdrv.Network{example.WithNAT66(lab)},
			"edit table inet vnetd: -chain leave_nat -chain leave_nat_new +chain leave_nat66 +chain leave_nat66_new -1 +2 elements",
		},
		{
			"a route's prefix",
			[]netdrv.Network{nat},
			[]netdrv.Network{example.WithRoute(nat, "10.99.0.0/16", "192.168.122.5")},
			"edit table inet vnetd: -0 +2 elements",
		},
		{
			"the first of another kind",
			[]netdrv.Network{nat},
			[]netdrv.Network{nat, dmz},
			"edit table inet vnetd: +chain enter_route -0 +5 elements",
		},
	} {
		if got := Diff(Compile(c.old), Compile(c.new)).String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := Diff(Compile(c.old), Compile(c.new)).String() == ""; got != (c.want == "") {
			t.Errorf("%s: is empty is %t", c.name, got)
		}
	}
}

// An edit, done by hand on the old sets, gives the new ones.
func TestEditGivesNewElements(t *testing.T) {
	old, new := Compile(example.Many(40)), Compile(example.Many(70)[10:])
	edit := Diff(old, new).Edits[0]
	for _, want := range new.Tables[0].Sets {
		was, _ := find(old.Tables[0].Sets, want.Name, setName)
		del, _ := find(edit.DelElements, want.Name, setName)
		add, _ := find(edit.AddElements, want.Name, setName)
		got := slices.DeleteFunc(slices.Clone(was.Elements), func(e Element) bool { return slices.Contains(del.Elements, e) })
		got = append(got, add.Elements...)
		slices.SortFunc(got, func(a, b Element) int { return want.Compare(&a, &b) })
		if diff := cmp.Diff(want.Elements, got, cmp.Comparer(func(a, b Element) bool { return a == b })); diff != "" {
			t.Errorf("%s: (-new +edited)\n%s", want.Name, diff)
		}
	}
}

// A chain that stays under its name and says something else cannot be edited.
func TestOtherRulesReplace(t *testing.T) {
	old, new := Compile(goldens["nat"]), Compile(goldens["nat"])
	new.Tables[0].Chains[0].Rules[0].Comment = "else"
	if c := Diff(old, new); len(c.Replace) != 1 || len(c.Edits) != 0 {
		t.Errorf("got %s, want a replacement", c)
	}
	new = Compile(goldens["nat"])
	new.Tables[0].Sets[0].Counter = false
	if c := Diff(old, new); len(c.Replace) != 1 || len(c.Edits) != 0 {
		t.Errorf("got %s, want a replacement", c)
	}
}
