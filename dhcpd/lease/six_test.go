package lease

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addr6(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 14: byte(n >> 8), 15: byte(n)})
}

// six is the IPv6 lease of guest n.
func six(n int, hostname string) Lease {
	return Lease{
		Network: "lab", MAC: mac(n), Address: addr6(n), DUID: "\x00\x03\x00\x01" + string(mac(n).String()), IAID: uint32(n),
		Hostname: hostname, Expires: soon(),
	}
}

func TestLeasesOfBothFamiliesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	table, stop := running(t, dir)
	mustBind(t, table, named(1, "web"), six(1, "web"), six(2, "db"), six(3, ""))
	if err := table.Release("lab", addr6(3)); err != nil {
		t.Fatal(err)
	}
	want := table.All()
	stop()
	again, _ := running(t, dir)
	if diff := cmp.Diff(want, again.All(), equal); diff != "" || len(want) != 3 {
		t.Errorf("%d leases: %s", len(want), diff)
	}
	n := again.Network("lab")
	if a := n.Addrs("web"); !slices.Contains(a, addr(1)) || !slices.Contains(a, addr6(1)) || len(a) != 2 {
		t.Errorf("web has %v", a)
	}
	if l, ok := n.ByAddr(addr6(3)); !ok || l.Live(time.Now()) || l.IAID != 3 {
		t.Errorf("the released lease: %v, %v", l, ok)
	}
	if name, ok := n.Name(addr6(2)); !ok || name != "db" {
		t.Errorf("name %q", name)
	}
	if n.Count6() != 3 {
		t.Errorf("%d leases of IPv6", n.Count6())
	}
	if err := again.Forget("lab"); err != nil || len(again.All()) != 0 || n.Count6() != 0 || n.Addrs("web") != nil {
		t.Errorf("after Forget: %v, %v", again.All(), err)
	}
}

func TestNamesOfBothFamilies(t *testing.T) {
	other := six(1, "web")
	other.DUID, other.Address = "another DUID", addr6(100)
	second := six(1, "web")
	second.IAID, second.Address = 77, addr6(101)
	tests := []struct {
		name string
		bind []Lease
		end  []netip.Addr
		want []netip.Addr // of "web"
	}{
		{"one of each", []Lease{named(1, "web"), six(1, "web")}, nil, []netip.Addr{addr(1), addr6(1)}},
		{"IPv4 ended", []Lease{named(1, "web"), six(1, "web")}, []netip.Addr{addr(1)}, []netip.Addr{addr6(1)}},
		{"IPv6 ended", []Lease{six(1, "web"), named(1, "web")}, []netip.Addr{addr6(1)}, []netip.Addr{addr(1)}},
		{"all ended", []Lease{six(1, "web"), named(1, "web")}, []netip.Addr{addr6(1), addr(1)}, nil},
		{"another guest takes it", []Lease{named(1, "web"), six(1, "web"), named(2, "web")}, nil, []netip.Addr{addr(2)}},
		{"installed anew", []Lease{named(1, "web"), six(1, "web"), other}, nil, []netip.Addr{addr(1), addr6(100)}},
		{"two associations", []Lease{six(1, "web"), second}, nil, []netip.Addr{addr6(1), addr6(101)}},
		{"the middle one ended", []Lease{six(1, "web"), second, named(1, "web")}, []netip.Addr{addr6(101)}, []netip.Addr{addr(1), addr6(1)}},
		{"renamed", []Lease{named(1, "web"), six(1, "web"), six(1, "db")}, nil, []netip.Addr{addr(1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := Memory(quiet())
			mustBind(t, table, tt.bind...)
			for _, a := range tt.end {
				if err := table.Release("lab", a); err != nil {
					t.Fatal(err)
				}
			}
			got := slices.Clone(table.Network("lab").Addrs("web"))
			slices.SortFunc(got, netip.Addr.Compare)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A lease that is over is not answered, although no timer has ended it.
func TestNameOfAnExpiredLeaseBesideALiveOne(t *testing.T) {
	table := Memory(quiet())
	over := six(1, "web")
	over.Expires = time.Now().Add(-time.Second)
	mustBind(t, table, named(1, "web"), over)
	if got := table.Network("lab").Addrs("web"); len(got) != 1 || got[0] != addr(1) {
		t.Errorf("got %v", got)
	}
}

func TestLookupsOfBothFamiliesDoNotAllocate(t *testing.T) {
	table := Memory(quiet())
	mustBind(t, table, named(1, "web"), six(1, "web"))
	n := table.Network("lab")
	if a := testing.AllocsPerRun(100, func() {
		if len(n.Addrs("web")) != 2 {
			t.Error("not two addresses")
		}
		n.Name(addr6(1))
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// Neither family takes the other's ended leases for its own.
func TestOldestOfEachFamily(t *testing.T) {
	table := Memory(quiet())
	mustBind(t, table, lab(1), six(2, ""))
	for _, a := range []netip.Addr{addr(1), addr6(2)} {
		if err := table.Release("lab", a); err != nil {
			t.Fatal(err)
		}
	}
	n := table.Network("lab")
	if l, ok := n.Oldest(false, time.Now()); !ok || l.Address != addr(1) {
		t.Errorf("IPv4: %v", l.Address)
	}
	if l, ok := n.Oldest(true, time.Now()); !ok || l.Address != addr6(2) {
		t.Errorf("IPv6: %v", l.Address)
	}
}

func TestEndLeaseWantsTheHolder(t *testing.T) {
	table := Memory(quiet())
	events, stop := table.Watch(10)
	defer stop()
	mustBind(t, table, six(1, ""))
	foreign := six(1, "")
	foreign.IAID++
	for _, tt := range []struct {
		l    Lease
		want error
	}{{foreign, ErrNotFound}, {six(1, ""), nil}, {six(1, ""), ErrNotFound}} {
		var got error
		table.EndLease(Declined, tt.l, time.Now(), func(err error) { got = err })
		if !errors.Is(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
	if e := <-events; e.Kind != Bound || e.Lease.IAID != 1 || e.Lease.DUID == "" {
		t.Errorf("%v", e)
	}
	if e := <-events; e.Kind != Declined || e.Lease.Address != addr6(1) {
		t.Errorf("%v", e)
	}
}
