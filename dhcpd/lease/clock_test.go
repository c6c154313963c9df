package lease

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/vnetd/vnetd/internal/hostclock"
)

// shifted is t with another wall clock, and the same monotonic reading.
func shifted(t time.Time, d time.Duration) time.Time {
	inner := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	inner.wall += uint64(d/time.Second) << 30
	return t
}

// A host has clocks of its own, for a table: boots, wall clocks that are wrong, and
// time that passes while no daemon runs.
type host struct {
	boot string
	mono time.Duration
	wall time.Duration // beside the real one
}

func (h *host) read() hostclock.Reading {
	r := hostclock.Read()
	return hostclock.Reading{Boot: h.boot, Mono: r.Mono + h.mono, Now: shifted(r.Now, h.wall)}
}

func (h *host) now() time.Time { return shifted(time.Now(), h.wall) }

func (h *host) sleep(d time.Duration) { h.mono += d; h.wall += d }

func (h *host) reboot(id string) { h.boot, h.mono = id, -hostclock.Read().Mono+5*time.Second }

// bootID makes one that can be stored.
func bootID(n int) string { return fmt.Sprintf("%032x", n) }

// lease of an hour, given now.
func hour(n int, r hostclock.Reading) Lease {
	return Lease{Network: "lab", MAC: mac(n), Address: addr(n), Start: r.Now, Expires: r.Now.Add(time.Hour)}
}

// A wall clock that is set while the daemon runs ends no lease and extends none; what
// is shown follows it, in the journal too.
func TestWallClockStepsWhileRunning(t *testing.T) {
	for _, step := range []time.Duration{2 * time.Hour, -2 * time.Hour, 3 * 365 * 24 * time.Hour, -46 * 365 * 24 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			var log bytes.Buffer
			h := &host{boot: bootID(1), wall: -step}
			dir := t.TempDir()
			table := open(dir, slog.New(slog.NewTextHandler(&log, nil)), h.now, h.read)
			stop := run(t, table)
			mustBind(t, table, hour(1, h.read()))
			events, unwatch := table.Watch(10)
			defer unwatch()

			h.wall = 0 // the clock is set right
			got := table.All()
			left := time.Until(got[0].Expires.Round(0)).Round(time.Minute)
			if len(got) != 1 || left != time.Hour || time.Since(got[0].Start.Round(0)).Round(time.Minute) != 0 {
				t.Errorf("leases %v, %s left", got, left)
			}
			mustBind(t, table, hour(2, h.read()))
			if e := <-events; e.Kind != Bound || e.Lease.MAC != mac(2) {
				t.Errorf("%s of %s", e.Kind, e.Lease.MAC)
			}
			want := table.All()
			stop()
			again := open(dir, quiet(), h.now, h.read)
			if diff := cmp.Diff(want, again.All(), equal); diff != "" {
				t.Error(diff)
			}
			again.Close()
			if n := strings.Count(log.String(), "wall clock was stepped"); n != 1 || !strings.Contains(log.String(), "expected=") || !strings.Contains(log.String(), "now=") {
				t.Errorf("logged %d times: %s", n, log.String())
			}

			// The next boot goes by the clock that was set.
			h.reboot(bootID(2))
			h.wall += 10 * time.Minute
			booted := open(dir, quiet(), h.now, h.read)
			for _, l := range booted.All() {
				if left := time.Until(l.Expires).Round(time.Minute); left != 50*time.Minute {
					t.Errorf("after a reboot of 10 minutes %s are left of %s", left, l.Address)
				}
			}
			if len(booted.All()) != 2 {
				t.Errorf("after a reboot there are %v", booted.All())
			}
			booted.Close()
		})
	}
}

// Between two starts in one boot the wall clock does not count.
func TestWallClockStepsBetweenStarts(t *testing.T) {
	for _, step := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour, 3 * 365 * 24 * time.Hour, -46 * 365 * 24 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			h := &host{boot: bootID(1)}
			dir := t.TempDir()
			table := open(dir, quiet(), h.now, h.read)
			stop := run(t, table)
			forever := hour(3, h.read())
			forever.Expires = time.Time{}
			mustBind(t, table, hour(1, h.read()), hour(2, h.read()), forever)
			if err := table.Release("lab", addr(2)); err != nil {
				t.Fatal(err)
			}
			stop()
			for range 3 { // three restarts, each after ten minutes
				h.sleep(10 * time.Minute)
				h.wall += step / 3
				var log bytes.Buffer
				table = open(dir, slog.New(slog.NewTextHandler(&log, nil)), h.now, h.read)
				if logged := strings.Contains(log.String(), "wall clock was stepped"); logged != (step != 0) {
					t.Errorf("logged: %s", log.String())
				}
				run(t, table)()
			}
			table = open(dir, quiet(), h.now, h.read)
			defer table.Close()
			all := table.All()
			if len(all) != 2 || !all[1].Expires.IsZero() {
				t.Fatalf("got %v", all)
			}
			if left := time.Until(all[0].Expires).Round(time.Minute); left != 30*time.Minute {
				t.Errorf("%s are left", left)
			}
			if date := all[0].Expires.Round(0).Sub(h.read().Now.Round(0)).Round(time.Minute); date != 30*time.Minute {
				t.Errorf("it is shown to end in %s", date)
			}
		})
	}
}

// Between two boots only the wall clock tells, and it may be wrong.
func TestWallClockAfterAReboot(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, c := range []struct {
		what string
		off  time.Duration // that the host was off
		step time.Duration // that its clock is wrong afterwards
		left time.Duration // of the lease of an hour; 0: it has ended
	}{
		{"ten minutes", 10 * time.Minute, 0, 50 * time.Minute},
		{"two hours", 2 * time.Hour, 0, 0},
		{"in 1980", 10 * time.Minute, -46 * year, time.Hour},
		{"in 1980, two hours", 2 * time.Hour, -46 * year, time.Hour},
		{"an hour behind", 10 * time.Minute, -time.Hour, time.Hour},
		{"years ahead", 10 * time.Minute, 5 * year, 0}, // cannot be told from years
	} {
		t.Run(c.what, func(t *testing.T) {
			h := &host{boot: bootID(1)}
			dir := t.TempDir()
			table := open(dir, quiet(), h.now, h.read)
			stop := run(t, table)
			over := hour(2, h.read())
			over.Expires = h.read().Now.Add(time.Millisecond)
			short := hour(3, h.read())
			short.Port = 7
			mustBind(t, table, hour(1, h.read()), over, short)
			for len(table.All()) > 2 {
				time.Sleep(time.Millisecond)
			}
			stop()
			h.reboot(bootID(2))
			h.wall += c.off + c.step
			for range 3 { // what was decided once holds
				table = open(dir, quiet(), h.now, h.read)
				all := table.All()
				if (len(all) > 0) != (c.left > 0) {
					t.Fatalf("got %v", all)
				}
				if len(all) > 0 {
					if left := time.Until(all[0].Expires).Round(time.Minute); left != c.left || len(all) != 2 || all[1].Port != goneLink {
						t.Errorf("%s are left of %v", left, all)
					}
				}
				run(t, table)()
			}
			// The clock is set right, and the host boots again: nothing starts over.
			h.reboot(bootID(3))
			h.wall += -c.step + 30*time.Minute
			table = open(dir, quiet(), h.now, h.read)
			if c.left > 0 {
				want := c.left - 30*time.Minute
				if c.step < 0 {
					want = 0 // by then the host was off for longer
					if c.off+30*time.Minute < time.Hour {
						want = time.Hour - c.off - 30*time.Minute
					}
				}
				for _, l := range table.All() {
					if left := time.Until(l.Expires).Round(time.Minute); left > c.left {
						t.Errorf("%s are left, want %s", left, want)
					}
				}
			}
			table.Close()
		})
	}
}

// Files of version 1 have wall clock times, and go over into version 2.
func TestVersion1(t *testing.T) {
	given := time.Date(2036, 1, 1, 12, 0, 0, 0, time.UTC) // when the leases of the files were
	for _, c := range []struct {
		what  string
		wall  time.Time
		alive string
	}{
		{"at once", given.Add(10 * time.Second), "10.1.0.1 10.1.0.3 10.1.0.4 fd00:10::1 10.9.0.9"},
		{"ten minutes later", given.Add(10 * time.Minute), "10.1.0.1 10.1.0.3 fd00:10::1 10.9.0.9"},
		{"a day later", given.Add(24 * time.Hour), "10.9.0.9"},
		{"clock behind", given.Add(-30 * 365 * 24 * time.Hour), "10.1.0.1 10.1.0.3 10.1.0.4 fd00:10::1 10.9.0.9"},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := &host{boot: bootID(1), wall: time.Until(c.wall).Round(time.Second)}
			dir := t.TempDir()
			for _, name := range []string{"snapshot", "journal"} {
				b, err := os.ReadFile(filepath.Join("testdata", "version1", name))
				if err != nil {
					t.Fatal(err)
				}
				write(t, dir, name, b)
			}
			var first string
			for range 2 {
				table := open(dir, quiet(), h.now, h.read)
				var got []string
				for _, n := range table.networks() {
					for _, l := range n.Leases(time.Now()) {
						got = append(got, l.Address.String())
						if !l.Expires.IsZero() && time.Until(l.Expires) > l.Length+time.Second {
							t.Errorf("%s ends in %s", l.Address, time.Until(l.Expires))
						}
					}
				}
				if first = strings.Join(got, " "); first != c.alive {
					t.Errorf("got %s, want %s", first, c.alive)
				}
				if l, ok := table.Network("lab").ByMAC(mac(2)); !ok || l.Live(time.Now()) || l.Hostname != "db" {
					t.Errorf("the released lease: %+v, %v", l, ok)
				}
				if web := table.Network("lab").Addrs("web"); strings.Contains(c.alive, "fd00") && len(web) != 2 {
					t.Errorf("web is %v", web)
				}
				if len(table.Problems()) > 0 || table.Storing() != nil {
					t.Errorf("problems: %v, %v", table.Problems(), table.Storing())
				}
				stop := run(t, table)
				mustBind(t, table, Lease{Network: "lab", MAC: mac(9), Address: addr(9), Start: h.read().Now, Expires: h.read().Now.Add(-time.Second)})
				stop()
			}
		})
	}
}

// A frame of version 1 ends where it says: octets of a client in it are no frame.
// What cannot be read is set aside, and what can be counts.
func TestVersion1Damage(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "version1", "journal"))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{boot: bootID(1), wall: time.Until(time.Date(2036, 1, 1, 12, 0, 10, 0, time.UTC)).Round(time.Second)}
	starts := []int{0x17, 0x4a, 0xaa, 0xdf, 0x10a, len(b)}
	for at := range b {
		dir := t.TempDir()
		write(t, dir, "journal", flip(b, at))
		table := open(dir, quiet(), h.now, h.read)
		want := 5 // frames with one live lease each, but for the first: two
		for i, start := range starts[:5] {
			switch {
			case at >= start && at < start+4 && i < 4: // a length: the rest is lost
				want = i
			case at >= start && at < starts[i+1]:
				want = 4
			}
		}
		if got := len(table.All()); got < want-1 || got > want || len(table.Problems()) != 1 || table.Storing() != nil {
			t.Fatalf("octet %#x: %d leases, want some %d; %v, %v", at, got, want, table.Problems(), table.Storing())
		}
		table.Close()
	}
}
