package netdrv

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Who is first with a MAC that nobody has gets it, a known guest before others, and
// what was told once stays.
func TestIntroduce(t *testing.T) {
	mac := func(n byte) MAC { return MAC{2, 0, 0, 0, 0, n} }
	networks := []Network{
		{Name: "lab", Mode: NAT, Bridge: Bridge{MAC: mac(1)}, Filter: Filter{Preset: CleanTraffic}},
		{Name: "wild", Mode: NAT, Bridge: Bridge{MAC: mac(2)}},
	}
	members := []Member{
		{Network: "lab", Index: 10, Bridge: "lab0", MAC: mac(10)},
		{Network: "lab", Index: 11, Bridge: "lab0"},
		{Network: "lab", Index: 12, Bridge: "lab0"},
		{Network: "lab", Index: 13, Bridge: "lab0"},
		{Network: "lab", Index: 14},
		{Network: "wild", Index: 20, Bridge: "wild0"},
	}
	heard := []FDBEntry{
		{10, mac(99)},                             // heard already
		{11, mac(10)}, {11, mac(1)}, {11, mac(7)}, // a neighbour's, the bridge's, its own
		{12, mac(5)}, {12, mac(6)}, // 6 has a lease
		{13, MAC{1, 0, 0, 0, 0, 1}}, // nobody's
		{20, mac(20)},
	}
	who := WithoutMAC(members, networks, nil)
	if diff := cmp.Diff([]int{11, 12, 13}, who); diff != "" {
		t.Errorf("unheard (-want +got)\n%s", diff)
	}
	known := func(_ string, m MAC) bool { return m == mac(6) }
	got := map[int]MAC{}
	for _, m := range AssignMACs(members, who, heard, networks, known) {
		got[m.Index] = m.MAC
	}
	want := map[int]MAC{10: mac(10), 11: mac(7), 12: mac(6), 13: {}, 14: {}, 20: {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
