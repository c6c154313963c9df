package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// equal compares leases; two readings of the clocks differ by less than a millisecond.
var equal = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateApproxTime(time.Millisecond)}

func mac(n int) MAC         { return MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }
func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}) }
func soon() time.Time       { return time.Now().Add(time.Hour) }
func quiet() *slog.Logger   { return slog.New(slog.DiscardHandler) }
func lab(n int) Lease       { return Lease{Network: "lab", MAC: mac(n), Address: addr(n), Expires: soon()} }

func named(n int, h string) Lease {
	l := lab(n)
	l.Hostname = h
	return l
}

// running opens dir and runs the table until the test ends or stop is called.
func running(t testing.TB, dir string) (table *Table, stop func()) {
	t.Helper()
	table = Open(dir, quiet())
	return table, run(t, table)
}

func run(t testing.TB, table *Table) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- table.Run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func bind(t testing.TB, table *Table, l Lease) error {
	t.Helper()
	done := make(chan error, 1)
	table.Bind(l, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("Bind was not answered")
		return nil
	}
}

func mustBind(t testing.TB, table *Table, leases ...Lease) {
	t.Helper()
	for _, l := range leases {
		if err := bind(t, table, l); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLeasesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	table, stop := running(t, dir)
	infinite := Lease{Network: "prod", MAC: mac(9), Address: addr(9), ClientID: "\x01\x00id", Start: time.Now()}
	mustBind(t, table, named(1, "web"), lab(2), lab(3), infinite)
	if err := table.Release("lab", addr(2)); err != nil {
		t.Fatal(err)
	}
	want := table.All()
	if len(want) != 3 {
		t.Fatalf("got %d leases, want 3", len(want))
	}
	stop()
	again, _ := running(t, dir)
	if diff := cmp.Diff(want, again.All(), equal); diff != "" {
		t.Error(diff)
	}
	if l, ok := again.Network("lab").ByMAC(mac(2)); !ok || l.Live(time.Now()) {
		t.Errorf("the released lease: got %+v, %v; want it remembered, not live", l, ok)
	}
	if got := again.Network("lab").Addrs("web"); len(got) != 1 || got[0] != addr(1) {
		t.Errorf("web: got %v", got)
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	table, stop := running(t, dir)
	other := lab(2)
	other.Network = "prod"
	mustBind(t, table, lab(1), other)
	if err := table.Forget("lab"); err != nil {
		t.Fatal(err)
	}
	stop()
	again, _ := running(t, dir)
	if got := again.All(); len(got) != 1 || got[0].Network != "prod" {
		t.Errorf("got %v, want only prod's", got)
	}
}

func TestRelease(t *testing.T) {
	table, stop := running(t, t.TempDir())
	if err := table.Release("lab", addr(1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	stop()
	if err := bind(t, table, lab(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Run: got %v, want ErrClosed", err)
	}
}

func TestIndexes(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name  string
		binds []Lease
		want  map[string]string // MAC's last octet to address and name
	}{
		{"a client moves", []Lease{lab(1), {Network: "lab", MAC: mac(1), Address: addr(7)}}, map[string]string{"01": "10.1.0.7 "}},
		{"an address changes hands", []Lease{lab(1), {Network: "lab", MAC: mac(2), Address: addr(1)}}, map[string]string{"02": "10.1.0.1 "}},
		{"a hostname changes hands", []Lease{named(1, "web"), named(2, "web")}, map[string]string{"01": "10.1.0.1 ", "02": "10.1.0.2 web"}},
		{"a client is renamed", []Lease{named(1, "web"), named(1, "db")}, map[string]string{"01": "10.1.0.1 db"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := Memory(quiet())
			mustBind(t, table, tt.binds...)
			n := table.Network("lab")
			got := map[string]string{}
			for _, l := range n.Leases(now) {
				got[l.MAC.String()[15:]] = l.Address.String() + " " + l.Hostname
				if name, _ := n.Name(l.Address); name != l.Hostname {
					t.Errorf("name of %s: got %q, want %q", l.Address, name, l.Hostname)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if len(n.byClient) != len(n.byAddr) || len(n.byAddr) != len(tt.want) {
				t.Errorf("indexes differ: %d clients, %d addresses", len(n.byClient), len(n.byAddr))
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := Memory(quiet())
		events, unwatch := table.Watch(10)
		defer unwatch()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go table.Run(ctx)
		for i, name := range []string{"long", "short"} {
			l := named(i, name)
			l.Expires = time.Now().Add(time.Duration(2-i) * time.Minute)
			mustBind(t, table, l)
		}
		<-events
		<-events
		for _, want := range []string{"short", "long"} {
			ev := <-events
			if ev.Kind != Expired || ev.Lease.Hostname != want {
				t.Errorf("got %s %q, want expired %q", ev.Kind, ev.Lease.Hostname, want)
			}
			if got := table.Network("lab").Addrs(want); got != nil {
				t.Errorf("%s is still answered: %v", want, got)
			}
		}
		oldest, _ := table.Network("lab").Oldest(false, time.Now())
		if oldest.Hostname != "short" {
			t.Errorf("oldest: got %q, want short", oldest.Hostname)
		}
		cancel()
		synctest.Wait()
	})
}

func TestWatchCountsWhatItMissed(t *testing.T) {
	table := Memory(quiet())
	events, unwatch := table.Watch(1)
	for range 4 {
		mustBind(t, table, lab(1))
	}
	if ev := <-events; ev.Kind != Bound || ev.Missed != 0 {
		t.Errorf("first: got %+v", ev)
	}
	mustBind(t, table, lab(1))
	if ev := <-events; ev.Kind != Renewed || ev.Missed != 3 {
		t.Errorf("second: got %s with %d missed, want renewed with 3", ev.Kind, ev.Missed)
	}
	unwatch()
	if _, ok := <-events; ok {
		t.Error("the channel is open after the end of the watch")
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	table := Memory(quiet())
	mustBind(t, table, named(1, "web"))
	n := table.Network("lab")
	if got := testing.AllocsPerRun(100, func() { n.Addrs("web"); n.Name(addr(1)) }); got != 0 {
		t.Errorf("got %v allocations", got)
	}
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	table := Open(dir, quiet())
	table.rotateAt = 4096
	stop := run(t, table)
	for round := range 20 {
		for i := range 50 {
			table.Bind(named(i, fmt.Sprintf("h%d", (i+round)%50)), nil)
		}
		mustBind(t, table, lab(99))
	}
	want := table.All()
	stop()
	if info, err := os.Stat(filepath.Join(dir, "snapshot")); err != nil || info.Size() < 50*30 {
		t.Errorf("snapshot: %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "journal")); err != nil || info.Size() > 40_000 {
		t.Errorf("journal did not shrink: %v, %v", info, err)
	}
	again, _ := running(t, dir)
	if diff := cmp.Diff(want, again.All(), equal); diff != "" {
		t.Error(diff)
	}
}

// The steps of a compaction, with a crash after each.
func TestCrashDuringCompaction(t *testing.T) {
	crashes := map[string]func(t *testing.T, table *Table){
		"after the rename": func(t *testing.T, table *Table) {
			os.Rename(filepath.Join(table.dir, "journal"), filepath.Join(table.dir, "journal.old"))
		},
		"after the rotation": func(t *testing.T, table *Table) {
			if err := table.rotate(); err != nil {
				t.Fatal(err)
			}
		},
		"before the old journal is removed": func(t *testing.T, table *Table) {
			if err := table.rotate(); err != nil {
				t.Fatal(err)
			}
			if err := writeFile(table.dir, "snapshot", table.contents()); err != nil {
				t.Fatal(err)
			}
		},
		"a half-written snapshot": func(t *testing.T, table *Table) {
			if err := table.rotate(); err != nil {
				t.Fatal(err)
			}
			data := table.contents()
			os.WriteFile(filepath.Join(table.dir, "snapshot.new"), data[:len(data)/2], 0o600)
		},
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			table, stop := running(t, dir)
			mustBind(t, table, named(1, "a"), named(2, "b"), named(1, "c"), named(3, "a"))
			table.Release("lab", addr(2))
			want := table.All()
			stop()
			table = Open(dir, quiet())
			crash(t, table)
			table.Close()
			for range 2 { // the second finds what the first cleaned up
				again, stop := running(t, dir)
				if diff := cmp.Diff(want, again.All(), equal, cmpopts.IgnoreFields(Lease{}, "Length")); diff != "" {
					t.Error(diff)
				}
				mustBind(t, again, want[0])
				stop()
			}
			if _, err := os.Stat(filepath.Join(dir, "journal.old")); err == nil {
				t.Error("journal.old is still there")
			}
		})
	}
}

func BenchmarkBind(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("waiting=%d", writers), func(b *testing.B) {
			table, _ := running(b, b.TempDir())
			room := make(chan struct{}, writers)
			b.ReportAllocs()
			for i := range b.N {
				room <- struct{}{}
				table.Bind(named(i%60000, "h"), func(err error) {
					if err != nil {
						b.Error(err)
					}
					<-room
				})
			}
			for range writers {
				room <- struct{}{}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "durable/s")
		})
	}
}

func BenchmarkOpen60000(b *testing.B) {
	dir := b.TempDir()
	table, stop := running(b, dir)
	for i := range 60000 {
		table.Bind(named(i, fmt.Sprintf("h%d", i)), nil)
		if i%1000 == 0 {
			mustBind(b, table, lab(i))
		}
	}
	stop()
	for b.Loop() {
		table := Open(dir, quiet())
		table.Close()
	}
}

func BenchmarkAddrs(b *testing.B) {
	table := Memory(quiet())
	table.Bind(named(1, "web"), nil)
	n := table.Network("lab")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.Addrs("web")
		}
	})
}
