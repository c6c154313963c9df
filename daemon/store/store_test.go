package store

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vnetd/vnetd/netdrv"
)

func quiet(name string) netdrv.Network {
	return netdrv.Network{Name: name, Mode: netdrv.Isolated, Bridge: netdrv.Bridge{Name: name + "0", MAC: netdrv.MAC{2, 0, 0, 0, 1, 1}}}
}

func nat(name string) netdrv.Network {
	n := quiet(name)
	n.Mode = netdrv.NAT
	n.Subnets = []netdrv.Subnet{{Address: netip.MustParsePrefix("192.168.10.1/24")}}
	return n
}

type dirs struct{ state, runtime string }

func newDirs(t *testing.T) dirs {
	return dirs{filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "run")}
}

func (d dirs) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(d.state, d.runtime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func put(t *testing.T, s *Store, n netdrv.Network, live bool) Entry {
	t.Helper()
	e, err := s.Put(n, live)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var exact = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})}

func TestEntriesOutliveTheDaemon(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	if !s.Fresh() || !s.Booted() {
		t.Errorf("fresh %v, booted %v on new directories, want both", s.Fresh(), s.Booted())
	}
	put(t, s, nat("a"), true)
	put(t, s, quiet("b"), false)
	transient := quiet("c")
	transient.Transient = true
	put(t, s, transient, true)
	want := s.List()
	s.Close()

	s = d.open(t)
	if s.Fresh() || s.Booted() {
		t.Errorf("fresh %v, booted %v after a restart, want neither", s.Fresh(), s.Booted())
	}
	if diff := cmp.Diff(want, s.List(), exact); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	if e := put(t, s, quiet("d"), false); e.Revision != 4 {
		t.Errorf("revision %d after three, want 4", e.Revision)
	}
	s.Close()

	// The host boots: what is below RUNTIME is gone.
	if err := os.RemoveAll(d.runtime); err != nil {
		t.Fatal(err)
	}
	s = d.open(t)
	if !s.Booted() {
		t.Error("a boot was not noticed")
	}
	if _, ok := s.Get("c"); ok {
		t.Error("a transient network outlived the boot")
	}
	for _, e := range s.List() {
		if e.Live {
			t.Errorf("network %s is live after a boot", e.Network.Name)
		}
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	d := newDirs(t)
	d.open(t)
	_, err := Open(d.state, filepath.Join(t.TempDir(), "other"))
	if err == nil || !strings.Contains(err.Error(), "is held by another vnetd") {
		t.Errorf("got %v, want an error about the other daemon", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	d := newDirs(t)
	d.open(t).Close()
	if err := os.WriteFile(filepath.Join(d.state, "format"), []byte("2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(d.state, d.runtime); err == nil || !strings.Contains(err.Error(), `format "2"`) {
		t.Errorf("got %v, %v, want an error about the format", s, err)
	}
}

func TestTornFileIsKeptAndReported(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	put(t, s, nat("a"), true)
	put(t, s, quiet("b"), true)
	s.Close()
	path := filepath.Join(d.state, "networks", "a.yaml")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := whole[:len(whole)/2]
	if err := os.WriteFile(path, torn, 0o644); err != nil {
		t.Fatal(err)
	}

	s = d.open(t)
	if _, ok := s.Get("b"); !ok {
		t.Error("a torn file took its neighbour along")
	}
	if err := s.Broken()["a"]; err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
	if now, _ := os.ReadFile(path); string(now) != string(torn) {
		t.Error("the torn file was touched")
	}
	put(t, s, nat("a"), true)
	if s.Broken()["a"] != nil {
		t.Error("a network put again is still broken")
	}
}

func TestFileOfAnotherName(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	put(t, s, quiet("a"), false)
	s.Close()
	if err := os.Rename(filepath.Join(d.state, "networks", "a.yaml"), filepath.Join(d.state, "networks", "z.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := d.open(t).Broken()["z"]; err == nil || !strings.Contains(err.Error(), "the file's name says z") {
		t.Errorf("got %v, want an error about the two names", err)
	}
}

func TestDelete(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	put(t, s, nat("a"), true)
	for range 2 {
		if err := s.Delete("a"); err != nil {
			t.Fatal(err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(d.state, "networks", "*"))
	live, _ := filepath.Glob(filepath.Join(d.runtime, "live", "*"))
	if len(left)+len(live)+len(s.List()) != 0 {
		t.Errorf("left behind: %q %q %v", left, live, s.List())
	}
}

func TestFullDiskLeavesTheOldDefinition(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	put(t, s, nat("a"), false)
	// A directory that takes no new file is as good as a full disk, also for
	// root, whom file modes do not stop.
	networks := filepath.Join(d.state, "networks")
	if err := os.Rename(networks, networks+".away"); err != nil {
		t.Fatal(err)
	}
	changed := nat("a")
	changed.Bridge.MTU = 1400
	if _, err := s.Put(changed, true); err == nil || !strings.Contains(err.Error(), networks) {
		t.Fatalf("got %v, want an error that names %s", err, networks)
	}
	if e, _ := s.Get("a"); e.Network.Bridge.MTU != 0 || e.Live {
		t.Errorf("the failed change stayed: %+v", e)
	}
	if live, _ := filepath.Glob(filepath.Join(d.runtime, "live", "*")); len(live) != 0 {
		t.Errorf("marked live by a change that failed: %q", live)
	}
}
