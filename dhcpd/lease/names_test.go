package lease

import (
	"slices"
	"testing"
	"time"
)

// A wish is a guest's message by a link with a name.
type wish struct {
	n    int
	port int32
	name string
	ipv6 bool
}

// ask binds leases one after the other, as the server does, which looks first
// whether another guest keeps the name.
func ask(t *testing.T, table *Table, wishes ...wish) {
	t.Helper()
	for _, w := range wishes {
		l := lab(w.n)
		l.Port, l.Wanted = w.port, w.name
		if w.ipv6 {
			l.Address, l.DUID = addr6(w.n), "duid"
		}
		if holder, held := table.Network("lab").Holder(w.name, time.Now()); !held || holder == l.MAC {
			l.Hostname = w.name
		}
		mustBind(t, table, l)
	}
}

func links(indexes ...int32) map[int32]bool {
	out := map[int32]bool{}
	for _, i := range indexes {
		out[i] = true
	}
	return out
}

// A name is a live port's: what each step leaves of it.
func TestNamesFollowPorts(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, table *Table)
		want int // the guest that has the name
	}{
		{"the first keeps it", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false})
			table.SetPorts("lab", links(11, 12), table.Mark())
			ask(t, table, wish{2, 12, "web", false}, wish{1, 11, "web", false})
		}, 1},
		{"its link went before another asked", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false})
			table.SetPorts("lab", links(11), table.Mark())
			table.SetPorts("lab", links(), table.Mark())
			ask(t, table, wish{2, 12, "web", false})
		}, 2},
		{"its link goes after another asked", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false})
			table.SetPorts("lab", links(11, 12), table.Mark())
			table.SetPorts("lab", links(12), table.Mark())
		}, 2},
		{"none else wants it", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "db", false})
			table.SetPorts("lab", links(12), table.Mark())
		}, 1},
		{"it is back too late", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false})
			table.SetPorts("lab", links(12), table.Mark())
			ask(t, table, wish{1, 13, "web", false})
		}, 2},
		{"released", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false}, wish{3, 13, "web", false})
			if err := table.Release("lab", addr(1)); err != nil {
				t.Fatal(err)
			}
		}, 2},
		{"the first that waits is gone, too", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false}, wish{3, 13, "web", false})
			table.SetPorts("lab", links(13), table.Mark())
		}, 3},
		{"it calls itself otherwise", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false}, wish{1, 11, "db", false})
		}, 2},
		{"the other does not want it any more", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false}, wish{2, 12, "db", false})
			table.SetPorts("lab", links(12), table.Mark())
		}, 1},
		{"behind a relay there is no link", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 0, "web", false}, wish{2, 12, "web", false})
			table.SetPorts("lab", links(12), table.Mark())
		}, 1},
		{"bound after the look", func(t *testing.T, table *Table) {
			mark := table.Mark()
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false})
			table.SetPorts("lab", links(), mark)
		}, 1},
		{"and gone by the next", func(t *testing.T, table *Table) {
			mark := table.Mark()
			ask(t, table, wish{1, 11, "web", false}, wish{2, 12, "web", false})
			table.SetPorts("lab", links(12), mark)
			table.SetPorts("lab", links(12), table.Mark())
		}, 2},
		{"one of its two leases is by a live link", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{1, 12, "web", true}, wish{2, 13, "web", false})
			table.SetPorts("lab", links(12, 13), table.Mark())
		}, 1},
		{"none of its two", func(t *testing.T, table *Table) {
			ask(t, table, wish{1, 11, "web", false}, wish{1, 12, "web", true}, wish{2, 13, "web", false}, wish{2, 13, "web", true})
			table.SetPorts("lab", links(13), table.Mark())
		}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			table, stop := running(t, dir)
			events, unwatch := table.Watch(100)
			tt.run(t, table)
			check := func(table *Table) {
				t.Helper()
				var has []int
				for _, l := range table.Leases("lab") {
					if l.Hostname == "web" {
						has = append(has, int(l.MAC[5]))
					}
				}
				has = slices.Compact(has)
				addrs := table.Network("lab").Addrs("web")
				if len(has) != 1 || has[0] != tt.want || len(addrs) == 0 {
					t.Fatalf("guests %v have it at %v, want %d", has, addrs, tt.want)
				}
			}
			check(table)
			// The last event about the guest says that it has the name.
			unwatch()
			var last Lease
			for e := range events {
				if int(e.Lease.MAC[5]) == tt.want {
					last = e.Lease
				}
			}
			if last.Hostname != "web" {
				t.Errorf("told last of %+v", last)
			}
			ports := table.Network("lab").ports
			stop()
			again := Open(dir, quiet())
			again.SetPorts("lab", ports, again.Mark())
			if ports != nil {
				check(again)
			}
			again.Close()
		})
	}
}

// A name that is free because its lease ran out is for the guest that waits.
func TestNameOfAnExpiredLeaseIsPassedOn(t *testing.T) {
	dir := t.TempDir()
	table, stop := running(t, dir)
	first := named(1, "web")
	first.Expires = time.Now().Add(20 * time.Millisecond)
	mustBind(t, table, first)
	ask(t, table, wish{2, 12, "web", false})
	events, unwatch := table.Watch(10)
	defer unwatch()
	for e := range events {
		if e.Kind == Renewed && e.Lease.MAC == mac(2) && e.Lease.Hostname == "web" {
			break
		}
	}
	if a := table.Network("lab").Addrs("web"); len(a) != 1 || a[0] != addr(2) {
		t.Errorf("web is %v", a)
	}
	stop()
	again := Open(dir, quiet())
	if a := again.Network("lab").Addrs("web"); len(a) != 1 || a[0] != addr(2) {
		t.Errorf("after a restart web is %v", a)
	}
}
