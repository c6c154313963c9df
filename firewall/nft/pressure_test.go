package nft

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/firewall"
)

// The restrictions of new connections are added and removed by an edit, are not drift, and are
// in the kernel as nft makes them from our text, which it loads again.
func TestPressureComesAndGoes(t *testing.T) {
	networks := goldens["mix"]
	rules := firewall.Compile(networks, guests("mix")...)
	ns, other := newNamespace(t), newNamespace(t)
	d := ns.open(t)
	must(t, d.Apply(t.Context(), rules))
	before := ns.list(t)
	var closed []string
	for _, n := range networks {
		if firewall.Tracked(&n) {
			closed = append(closed, n.Name)
		}
	}
	for _, p := range []firewall.Pressure{{Strict: true}, {Strict: true, Closed: closed[:1]}, {Strict: true, Closed: closed}, {Closed: closed[1:]}, {}} {
		want := rules.UnderPressure(networks, p)
		if c := firewall.Diff(d.last, want); len(c.Replace) > 0 || c.String() == "" {
			t.Errorf("%+v: %s, want an edit", p, c)
		}
		must(t, d.Apply(t.Context(), want))
		if drift := verify(t, d); drift != "" {
			t.Errorf("%+v: %s", p, drift)
		}
		file := filepath.Join(t.TempDir(), "ruleset")
		must(t, os.WriteFile(file, []byte(ns.run(t, "nft", "-n", "list", "ruleset")), 0o600))
		if out, err := other.try("nft", "-c", "-f", file); err != nil {
			t.Errorf("%+v: %v\n%.1000s", p, err, out)
		}
		if p.Equal(firewall.Pressure{}) {
			continue
		}
		// As one transaction makes it, in the order of making.
		whole := newNamespace(t)
		must(t, whole.open(t).Apply(t.Context(), want))
		if diff := cmp.Diff(want.String(), whole.list(t)); diff != "" {
			t.Errorf("%+v: (-compiled +nft)\n%s", p, diff)
		}
	}
	if diff := cmp.Diff(before, ns.list(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}
