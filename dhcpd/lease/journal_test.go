package lease

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vnetd/vnetd/internal/hostclock"
	"golang.org/x/sys/unix"
)

// journalOf returns a journal of one lease to a frame, and the offsets where
// frames end. The first is the header's.
func journalOf(leases ...Lease) (data []byte, ends []int) {
	c := newClock(hostclock.Read())
	data, m := header(journalMagic)
	ends = []int{len(data)}
	for _, l := range leases {
		l.Wanted, l.Length = l.Hostname, time.Hour
		f := appendBind(make([]byte, frameStart), &l, c)
		sealFrame(f, m, c.stamp(time.Now()))
		data = append(data, f...)
		ends = append(ends, len(data))
	}
	return data, ends
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestJournalCutAtEveryByte(t *testing.T) {
	data, ends := journalOf(named(1, "one"), six(1, "one"), named(2, "two"), lab(3), six(4, ""))
	for cut := range len(data) + 1 {
		dir := t.TempDir()
		left := bytes.Clone(data[:cut])
		if cut >= ends[0] && cut < len(data) && data[cut] != 0 {
			left = append(left, make([]byte, 100)...) // written ahead
		}
		write(t, dir, "journal", left)
		table := Open(dir, quiet())
		want := 0
		for want+1 < len(ends) && ends[want+1] <= cut {
			want++
		}
		if got := len(table.All()); got != want || table.Storing() != nil || len(table.Problems()) > 0 {
			t.Fatalf("cut at %d: got %d leases, want %d; %v, %v", cut, got, want, table.Storing(), table.Problems())
		}
		table.Close()

		// What is written behind the cut must be found again.
		again, stop := running(t, dir)
		mustBind(t, again, lab(9))
		stop()
		third := Open(dir, quiet())
		if got := len(third.All()); got != want+1 {
			t.Fatalf("cut at %d, second start: got %d leases, want %d", cut, got, want+1)
		}
		third.Close()
	}
}

// A sector of the last frame may not have reached the disk although later
// ones did: zeros anywhere in it are a torn tail too.
func TestJournalWithAHoleInTheLastFrame(t *testing.T) {
	head, _ := journalOf(lab(100))
	f := openFile(head, journalMagic)
	c := newClock(hostclock.Read())
	batch := make([]byte, frameStart)
	for i := range 20 {
		l := lab(i)
		batch = appendBind(batch, &l, c)
	}
	sealFrame(batch, f.marker, c.stamp(time.Now()))
	for at := range len(batch) - 16 {
		data := append(bytes.Clone(head), batch...)
		hole := data[len(head)+at:][:16]
		if len(bytes.Trim(hole, "\x00")) == 0 {
			continue
		}
		clear(hole)
		dir := t.TempDir()
		write(t, dir, "journal", data)
		table := Open(dir, quiet())
		if got := len(table.All()); got != 1 {
			t.Fatalf("hole at %d: got %d leases, want 1", at, got)
		}
		table.Close()
	}
}

// damaged opens a directory with one file that is damaged, and expects of the table
// that it serves, has these clients, keeps the damaged file beside the new one, and
// says so; and after a restart the same.
func damaged(t *testing.T, dir, name string, data []byte, want ...int) {
	t.Helper()
	var log strings.Builder
	table := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
	has := func(table *Table) {
		t.Helper()
		if got := table.All(); len(got) != len(want) {
			t.Fatalf("%d leases, want %d", len(got), len(want))
		}
		for _, n := range want {
			if l, ok := table.Network("lab").ByMAC(mac(n)); !ok || l.Address != addr(n) {
				t.Fatalf("lease %d: %v, %v", n, l, ok)
			}
		}
	}
	has(table)
	aside := filepath.Join(dir, name+".damaged")
	if kept, err := os.ReadFile(aside); err != nil || !bytes.Equal(kept, data) {
		t.Fatalf("the damaged file is not kept: %v", err)
	}
	if p := table.Problems(); len(p) != 1 || !strings.Contains(p[0], aside) {
		t.Fatalf("problems: %q", p)
	}
	if !strings.Contains(log.String(), filepath.Join(dir, name)) || !strings.Contains(log.String(), "level=ERROR") {
		t.Fatalf("logged: %s", log.String())
	}
	table.Close()
	again := Open(dir, quiet())
	has(again)
	if p := again.Problems(); len(p) != 1 {
		t.Fatalf("problems after a restart: %q", p)
	}
	stop := run(t, again)
	mustBind(t, again, lab(77))
	stop()
	want = append(want, 77)
	again = Open(dir, quiet())
	has(again)
	if err := errors.Join(again.Close(), os.Remove(aside)); err != nil || len(again.Problems()) > 0 {
		t.Fatalf("the problem stays: %v", err)
	}
}

// A bit that flips anywhere costs the frame that it is in, and never makes another
// lease. In the last frame it is a torn tail.
func TestFlippedBits(t *testing.T) {
	all := []Lease{lab(0), named(1, "web"), lab(2), lab(3), lab(4)}
	data, ends := journalOf(all...)
	for at := range data {
		flipped := bytes.Clone(data)
		flipped[at] ^= 1 << (at % 8)
		dir := t.TempDir()
		write(t, dir, "journal", flipped)
		var want []int
		for i := range all {
			if at < ends[i] || at >= ends[i+1] {
				want = append(want, i)
			}
		}
		if at >= ends[len(ends)-2] {
			table := Open(dir, quiet())
			if got := len(table.All()); got != len(want) || table.Storing() != nil {
				t.Fatalf("octet %d: %d leases; %v", at, got, table.Storing())
			}
			table.Close()
			continue
		}
		damaged(t, dir, "journal", flipped, want...)
	}
}

// Whatever a client sends, it is no frame: not even all that can be in one.
func TestGuestOctetsAreNoFrame(t *testing.T) {
	forged := appendBind(make([]byte, frameStart), &Lease{Network: "lab", MAC: mac(66), Address: addr(66)}, newClock(hostclock.Read()))
	_, guess := header(journalMagic)
	sealFrame(forged, guess, stamp{})
	old := forged[markerLen:] // as in version 1
	for _, octets := range [][]byte{forged, old} {
		l := lab(1)
		l.ClientID = string(octets)
		data, ends := journalOf(lab(2), l)
		for cut := ends[1] + 1; cut < ends[2]; cut++ {
			dir := t.TempDir()
			write(t, dir, "journal", append(bytes.Clone(data[:cut]), make([]byte, ends[2]-cut)...))
			table := Open(dir, quiet())
			if got := table.All(); len(got) != 1 || got[0].MAC != mac(2) || len(table.Problems()) > 0 {
				t.Fatalf("cut at %d: %v, %v", cut, got, table.Problems())
			}
			table.Close()
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	journal, ends := journalOf(lab(1), lab(2), lab(3))
	table := Memory(quiet())
	mustBind(t, table, lab(1), lab(2))
	snapshot := table.contents()
	unknown, m := header(journalMagic)
	unknown = append(append(unknown, make([]byte, frameStart)...), 77)
	sealFrame(unknown[len(unknown)-frameStart-1:], m, stamp{})
	tests := []struct {
		name, file string
		data       []byte
		want       []int
	}{
		{"two damaged frames", "journal", flip(journal, ends[0]+9, ends[1]+20), []int{3}},
		{"a damaged old journal", "journal.old", flip(journal, ends[1]+20), []int{1, 3}},
		{"a foreign file", "journal", []byte("1732000000 52:54:00:aa:bb:01 192.168.122.5 * *\n"), nil},
		{"a record of the future", "journal", unknown, nil},
		{"a foreign snapshot", "snapshot", []byte("{}"), nil},
		{"a snapshot without its end", "snapshot", snapshot[:len(snapshot)-1], nil},
		{"an empty snapshot", "snapshot", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, tt.file, tt.data)
			damaged(t, dir, tt.file, tt.data, tt.want...)
		})
	}
}

func flip(b []byte, at ...int) []byte {
	b = bytes.Clone(b)
	for _, i := range at {
		b[i] ^= 1
	}
	return b
}

// A journal that is a directory cannot be read; it is set aside like a damaged file.
func TestJournalIsADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "journal", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	table, stop := running(t, dir)
	mustBind(t, table, lab(1))
	stop()
	if _, err := os.Stat(filepath.Join(dir, "journal.damaged", "x")); err != nil || len(table.Problems()) != 1 {
		t.Errorf("%v, %v", err, table.Problems())
	}
	if again := Open(dir, quiet()); len(again.All()) != 1 {
		t.Errorf("%d leases", len(again.All()))
	}
}

// A directory that is removed while the table runs is made again, with all leases.
func TestDirectoryIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	table, stop := running(t, dir)
	mustBind(t, table, lab(1))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	mustBind(t, table, lab(2))
	want := table.All()
	stop()
	if diff := cmp.Diff(want, Open(dir, quiet()).All(), equal); diff != "" || len(want) != 2 {
		t.Errorf("%d leases: %s", len(want), diff)
	}
}

// A directory that cannot be made serves, gives no lease, and says why; when it can
// be made, it is, without a restart.
func TestOpenWithoutADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, filepath.Dir(file), "file", nil)
	table := Open(filepath.Join(file, "leases"), quiet())
	told := make(chan struct{}, 10)
	table.OnStoring(func() { told <- struct{}{} })
	stop := run(t, table)
	if err := table.Storing(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("storing: %v", err)
	}
	if err := bind(t, table, lab(1)); err == nil {
		t.Error("a lease was given that is stored nowhere")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	<-told // without anything to store
	if err := table.Storing(); err != nil {
		t.Error(err)
	}
	mustBind(t, table, lab(2))
	stop()
	if again := Open(filepath.Join(file, "leases"), quiet()); len(again.All()) != 1 {
		t.Errorf("%d leases", len(again.All()))
	}
}

// smallDisk is a file system with room for size octets, mounted nowhere.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	fsfd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Skipf("no tmpfs of our own: %v", err)
	}
	defer unix.Close(fsfd)
	if err := errors.Join(unix.FsconfigSetString(fsfd, "size", size), unix.FsconfigCreate(fsfd)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "tmpfs")
	t.Cleanup(func() { f.Close() })
	return filepath.Join("/proc/self/fd", strconv.Itoa(fd))
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, "64k")
	ballast := filepath.Join(dir, "ballast")
	os.WriteFile(ballast, make([]byte, 32<<10), 0o600)
	table, stop := running(t, dir)
	mustBind(t, table, lab(1))

	// What was written ahead still has room.
	i := 2
	err := bind(t, table, lab(i))
	for err == nil && i < 2000 {
		i++
		err = bind(t, table, lab(i))
	}
	if !errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrNotExtended) {
		t.Fatalf("a new lease: got %v, want ENOSPC", err)
	}
	if l, ok := table.Network("lab").ByMAC(mac(i)); ok && l.Live(time.Now()) {
		t.Error("a lease that was not stored is live")
	}
	longer := lab(1)
	longer.Expires = longer.Expires.Add(time.Hour)
	if err := bind(t, table, longer); !errors.Is(err, ErrNotExtended) {
		t.Errorf("a renewal: got %v, want ErrNotExtended", err)
	}
	if err := bind(t, table, lab(i)); errors.Is(err, ErrNotExtended) || err == nil {
		t.Errorf("the new lease again: got %v, want a plain error", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustBind(t, table, lab(3000))
	want := table.All()
	stop()
	again, _ := running(t, dir)
	if got := again.All(); len(got) != len(want) {
		t.Errorf("after a restart: got %d leases, want %d", len(got), len(want))
	}
}

// After a failed sync nobody knows what the file holds: it is made anew.
func TestSuspectJournalIsRenewed(t *testing.T) {
	dir := t.TempDir()
	table := Open(dir, quiet())
	stop := run(t, table)
	mustBind(t, table, lab(1))
	stop()
	table = Open(dir, quiet())
	table.journal.f.Close() // every write fails, and so does cutting back
	stop = run(t, table)
	if err := bind(t, table, lab(2)); err == nil {
		t.Fatal("a write to a closed file was stored")
	}
	mustBind(t, table, lab(3))
	want := table.All()
	stop()
	again, _ := running(t, dir)
	if diff := cmp.Diff(want, again.All(), equal); diff != "" || len(want) != 2 {
		t.Errorf("got %d leases: %s", len(want), diff)
	}
}

// holders are leases without their dates, which may be out of any range.
func holders(leases []Lease) (out []string) {
	for _, l := range leases {
		out = append(out, fmt.Sprintf("%s %v %s %q %q %q", l.Network, l.Client(), l.Address, l.ClientID, l.Hostname, l.Wanted))
	}
	return out
}

// FuzzRecords reads any octets as the records of a frame, in files of both versions.
func FuzzRecords(f *testing.F) {
	c := newClock(hostclock.Read())
	l, l6 := named(1, "web"), six(1, "web")
	good := appendBind(appendBind(nil, &l, c), &l6, c)
	f.Add(good)
	f.Add(appendString(append(appendEnd(appendEnd(good, &l, time.Now(), c), &l6, time.Now(), c), recForget), "x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sealed, m := header(journalMagic)
		at := len(sealed)
		sealed = append(append(sealed, make([]byte, frameStart)...), data...)
		sealFrame(sealed[at:], m, c.stamp(time.Now()))
		old := binary.BigEndian.AppendUint32([]byte(strings.Replace(journalMagic, "2", "1", 1)), uint32(len(data)))
		at = len(old) - 4
		old = append(append(old, 0, 0, 0, 0), data...)
		binary.BigEndian.PutUint32(old[at+4:], frameSum(old[at:]))
		for _, b := range [][]byte{sealed, old} {
			dir := t.TempDir()
			write(t, dir, "journal", b)
			first := Open(dir, quiet())
			got := first.All()
			first.Close()
			second := Open(dir, quiet())
			if diff := cmp.Diff(holders(got), holders(second.All())); diff != "" {
				t.Fatal(diff)
			}
			second.Close()
		}
	})
}

func TestRunEndsWithNothingToDo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Memory(quiet()).Run(ctx); err != nil {
		t.Error(err)
	}
}
