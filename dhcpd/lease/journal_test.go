package lease

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// journalOf returns a journal of one lease to a frame, and the offsets where
// frames end.
func journalOf(leases ...Lease) (data []byte, ends []int) {
	data = []byte(journalMagic)
	ends = []int{len(data)}
	for _, l := range leases {
		f := appendBind(make([]byte, frameHeader), &l)
		sealFrame(f)
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
		if cut >= len(journalMagic) && cut < len(data) && data[cut] != 0 {
			left = append(left, make([]byte, 100)...) // written ahead
		}
		write(t, dir, "journal", left)
		table, err := Open(dir, quiet())
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		want := 0
		for want+1 < len(ends) && ends[want+1] <= cut {
			want++
		}
		if got := len(table.All()); got != want {
			t.Fatalf("cut at %d: got %d leases, want %d", cut, got, want)
		}
		table.Close()

		// What is written behind the cut must be found again.
		again, stop := running(t, dir)
		mustBind(t, again, lab(9))
		stop()
		third, err := Open(dir, quiet())
		if err != nil {
			t.Fatalf("cut at %d, second start: %v", cut, err)
		}
		if got := len(third.All()); got != want+1 {
			t.Fatalf("cut at %d, second start: got %d leases, want %d", cut, got, want+1)
		}
		third.Close()
	}
}

// A sector of the last frame may not have reached the disk although later
// ones did: zeros anywhere in it are a torn tail too.
func TestJournalWithAHoleInTheLastFrame(t *testing.T) {
	batch := make([]byte, frameHeader)
	for i := range 20 {
		l := lab(i)
		batch = appendBind(batch, &l)
	}
	sealFrame(batch)
	head, _ := journalOf(lab(100))
	for at := range len(batch) - 16 {
		data := append(bytes.Clone(head), batch...)
		clear(data[len(head)+at:][:16])
		dir := t.TempDir()
		write(t, dir, "journal", data)
		table, err := Open(dir, quiet())
		if err != nil {
			t.Fatalf("hole at %d: %v", at, err)
		}
		if got := len(table.All()); got != 1 {
			t.Fatalf("hole at %d: got %d leases, want 1", at, got)
		}
		table.Close()
	}
}

func TestOpenRefuses(t *testing.T) {
	good, ends := journalOf(lab(1), lab(2), lab(3))
	damaged := bytes.Clone(good)
	damaged[ends[1]+20] ^= 1
	of6, ends6 := journalOf(lab(1), lab(2), six(3, ""))
	of6[ends6[1]+20] ^= 1
	unknown := append([]byte(journalMagic), 0, 0, 0, 0, 0, 0, 0, 0, 77)
	sealFrame(unknown[len(journalMagic):])
	snap := append([]byte(snapshotMagic), good[ends[0]:]...)
	tests := []struct {
		name, file string
		data       []byte
		want       string
	}{
		{"damage in the middle", "journal", damaged, "damaged at offset"},
		{"damage before a lease of IPv6", "journal", of6, "damaged at offset"},
		{"a foreign file", "journal", []byte("1732000000 52:54:00:aa:bb:01 192.168.122.5 * *\n"), "not a lease file"},
		{"a record of the future", "journal", unknown, "unreadable record"},
		{"a foreign snapshot", "snapshot", []byte("{}"), "not a lease file"},
		{"a snapshot without its end", "snapshot", snap, "incomplete"},
		{"an empty snapshot", "snapshot", nil, "incomplete"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, tt.file, tt.data)
			_, err := Open(dir, quiet())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Join(dir, tt.file)) {
				t.Errorf("got %v, want %q and the file's name", err, tt.want)
			}
			if left, _ := os.ReadFile(filepath.Join(dir, tt.file)); !bytes.Equal(left, tt.data) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpenNamesTheDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, filepath.Dir(file), "file", nil)
	if _, err := Open(filepath.Join(file, "leases"), quiet()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
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
	table, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, table)
	mustBind(t, table, lab(1))
	stop()
	table, err = Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
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

func FuzzReplay(f *testing.F) {
	good, ends := journalOf(named(1, "web"), six(1, "web"), lab(2), Lease{Network: "x", MAC: mac(3), Address: addr(3)})
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(good[:ends[0]])
	end := appendForget(appendEnd(make([]byte, frameHeader), &Lease{Network: "lab", MAC: mac(1), Address: addr(1)}, time.UnixMilli(5)), "x")
	was := six(1, "web")
	end = appendEnd(end, &was, time.UnixMilli(6))
	sealFrame(end)
	f.Add(append(bytes.Clone(good), end...))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		// As it is, and with what follows the header made a good frame, so
		// that the records are reached.
		replayed(t, data)
		sealed := append([]byte(journalMagic), make([]byte, frameHeader)...)
		sealed = append(sealed, data...)
		sealFrame(sealed[len(journalMagic):])
		replayed(t, sealed)
	})
}

// replayed checks that what was read and written again reads the same.
func replayed(t *testing.T, data []byte) {
	now := time.UnixMilli(1)
	table := Memory(quiet())
	good, err := replay(data, journalMagic, func(r record) error { return table.apply(r, now) })
	if good > len(data) {
		t.Fatalf("%d of %d octets were good", good, len(data))
	}
	if err != nil {
		return
	}
	again := Memory(quiet())
	if _, err := replay(table.snapshot(), snapshotMagic, func(r record) error {
		if r.kind == recCount {
			return nil
		}
		return again.apply(r, now)
	}); err != nil {
		t.Fatal(err)
	}
	for _, n := range table.networks() {
		if diff := cmp.Diff(n.Leases(now), again.Network(n.name).Leases(now), equal); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestRunEndsWithNothingToDo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Memory(quiet()).Run(ctx); err != nil {
		t.Error(err)
	}
}
