package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vnetd/vnetd/netdrv"
)

// One MAC is remembered for a link; several are no guest's, and take no room.
func TestMemory(t *testing.T) {
	a, b := netdrv.MAC{2, 1}, netdrv.MAC{2, 2}
	var m learnedMACs
	m.learn(1, a)
	m.learn(1, a)
	m.learn(2, a)
	for i := range 1000 {
		m.learn(3, netdrv.MAC{2, 9, byte(i >> 8), byte(i)})
	}
	m.learn(2, b)
	now := map[int][]netdrv.MAC{4: {a}, 5: {a, b}}
	m.merge(now)
	if diff := cmp.Diff(map[int][]netdrv.MAC{1: {a}, 4: {a}, 5: {a, b}}, now); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := len(m.known()); got != 4 {
		t.Errorf("%d entries for four links", got)
	}
	m.merge(map[int][]netdrv.MAC{2: {b}}) // the other one has aged
	m.forget(1)
	now = map[int][]netdrv.MAC{}
	m.merge(now)
	if diff := cmp.Diff(map[int][]netdrv.MAC{2: {b}, 4: {a}}, now); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
