package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What cannot be read is kept and reported, and costs nothing else.
func TestUnreadableStateIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(t *testing.T, d dirs)
		want   []string // each is in a problem
		kept   string   // below the parent of both directories
	}{
		"a trial torn":            {func(t *testing.T, d dirs) { write(t, d.state+"/trials/a.json", `{"Name":"a","Dead`) }, []string{"trials/a.json", "network confirm a"}, "state/trials/a.json"},
		"a trial empty":           {func(t *testing.T, d dirs) { write(t, d.state+"/trials/a.json", "") }, []string{"trials/a.json"}, "state/trials/a.json"},
		"a trial of another":      {func(t *testing.T, d dirs) { write(t, d.state+"/trials/a.json", `{"Name":"b"}`) }, []string{`it is about network "b"`}, "state/trials/a.json"},
		"a trial's definition":    {func(t *testing.T, d dirs) { write(t, d.state+"/trials/a.json", `{"Name":"a","Before":"}"}`) }, []string{"trials/a.json"}, "state/trials/a.json"},
		"a trial is a directory":  {func(t *testing.T, d dirs) { os.MkdirAll(d.state+"/trials/a.json", 0o755) }, []string{"trials/a.json"}, "state/trials/a.json"},
		"a port":                  {func(t *testing.T, d dirs) { write(t, d.state+"/ports/vnet0.yaml", "\x00\xff") }, []string{"port vnet0"}, "state/ports/vnet0.yaml"},
		"ports are a file":        {func(t *testing.T, d dirs) { os.RemoveAll(d.state + "/ports"); write(t, d.state+"/ports", "x") }, []string{"ports.unreadable"}, "state/ports.unreadable"},
		"trials are a file":       {func(t *testing.T, d dirs) { os.RemoveAll(d.state + "/trials"); write(t, d.state+"/trials", "x") }, []string{"trials.unreadable"}, "state/trials.unreadable"},
		"live is a file":          {func(t *testing.T, d dirs) { os.RemoveAll(d.runtime + "/live"); write(t, d.runtime+"/live", "x") }, []string{"live.unreadable"}, "run/live.unreadable"},
		"members":                 {func(t *testing.T, d dirs) { write(t, d.runtime+"/members.json", "[{") }, []string{"members.json.unreadable"}, "run/members.json.unreadable"},
		"members are a directory": {func(t *testing.T, d dirs) { os.MkdirAll(d.runtime+"/members.json", 0o755) }, []string{"members.json.unreadable"}, "run/members.json.unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			d := dirs{filepath.Join(root, "state"), filepath.Join(root, "run")}
			s := d.open(t)
			put(t, s, nat("a"), true)
			s.Close()
			c.break_(t, d)
			s = d.open(t)
			s.Members()
			problems := strings.Join(s.Problems(), "\n")
			for _, want := range c.want {
				if !strings.Contains(problems, want) || strings.Contains(problems, "%!") {
					t.Errorf("problems are %q, want %q in them", problems, want)
				}
			}
			if _, err := os.Stat(filepath.Join(root, c.kept)); err != nil {
				t.Errorf("not kept: %v", err)
			}
			if _, ok := s.Get("a"); !ok {
				t.Error("the network is lost")
			}
			// The administrator decides about a trial, and a new one replaces it.
			if err := s.EndTrial("a"); err != nil {
				t.Error(err)
			}
			if trial, err := NewTrial("a", nil, time.Now(), time.Minute); err != nil || s.PutTrial(trial) != nil {
				t.Errorf("no new trial: %v", err)
			}
			if err := s.PutPort(netdrv.Port{Network: "a", Link: "vnet0"}); err != nil {
				t.Error(err)
			}
			if err := s.ForceLive("a", false); err != nil {
				t.Error(err)
			}
			if err := s.PutMembers(nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A directory of definitions that cannot be read is not an empty one: its bridges would
// be taken for deleted.
func TestDefinitionsThatCannotBeListedStopTheStart(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	put(t, s, nat("a"), true)
	s.Close()
	networks := filepath.Join(d.state, "networks")
	if err := errors.Join(os.RemoveAll(networks), os.WriteFile(networks, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(d.state, d.runtime); err == nil || !strings.Contains(err.Error(), networks) {
		t.Errorf("got %v, %v, want an error that names %s", s, err, networks)
	}
}

func TestLeftoversOfInterruptedWritesAreRemoved(t *testing.T) {
	d := newDirs(t)
	d.open(t).Close()
	ours := []string{".new-123", "networks/.new-4", "networks/.old-a.yaml~", "ports/.new-5", "trials/.new-6"}
	others := []string{".new-x", "networks/.keep", "networks/a.yaml~", "new-1"}
	for _, f := range slices.Concat(ours, others) {
		write(t, filepath.Join(d.state, f), "x")
	}
	write(t, filepath.Join(d.runtime, "live", ".new-7"), "x")
	s := d.open(t)
	if b := s.Broken(); len(b) > 0 {
		t.Errorf("leftovers are taken for networks: %v", b)
	}
	for _, f := range ours {
		if _, err := os.Stat(filepath.Join(d.state, f)); err == nil {
			t.Errorf("%s is still there", f)
		}
	}
	for _, f := range others {
		if _, err := os.Stat(filepath.Join(d.state, f)); err != nil {
			t.Errorf("%s is gone, and was not ours", f)
		}
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

// fill leaves no room on a disk, and empties it again.
func fill(t *testing.T, disk string) (empty func()) {
	t.Helper()
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	return func() { os.Remove(ballast) }
}

// A change that is undone leaves network and file as they were, also where the disk
// takes nothing more, and so does one that cannot be written.
func TestUndoneChangesAreNowhere(t *testing.T) {
	disk := smallDisk(t, "256k")
	d := dirs{disk, filepath.Join(t.TempDir(), "run")}
	s := d.open(t)
	put(t, s, nat("a"), true)
	before, _ := s.Get("a")
	changed := nat("a")
	changed.Bridge.MTU = 1400

	same := func(when string) {
		t.Helper()
		if e, _ := s.Get("a"); e.Network.Bridge.MTU != 0 || !e.Live || e.Revision != before.Revision {
			t.Errorf("%s: %+v", when, e)
		}
		if _, ok := s.Get("b"); ok {
			t.Errorf("%s: a network that was not created is there", when)
		}
		s.Close()
		s = d.open(t)
		if e, _ := s.Get("a"); e.Network.Bridge.MTU != 0 || !e.Live {
			t.Errorf("%s, after a restart: %+v", when, e)
		}
		if _, ok := s.Get("b"); ok {
			t.Errorf("%s, after a restart: a network that was not created is there", when)
		}
		if left, _ := filepath.Glob(filepath.Join(disk, "networks", ".*")); len(left) > 0 {
			t.Errorf("%s: left behind %q", when, left)
		}
	}
	for _, n := range []netdrv.Network{changed, nat("b")} {
		c, err := s.Begin(n, false)
		if err := errors.Join(err, c.Stored()); err != nil {
			t.Fatal(err)
		}
		empty := fill(t, disk)
		if err := c.Undo(); err != nil {
			t.Errorf("undo of %s on a full disk: %v", n.Name, err)
		}
		same("undone")
		fill(t, disk) // what was undone has left room
		if _, err := s.Begin(n, false); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("got %v, want ENOSPC", err)
		}
		if !slices.ContainsFunc(s.Problems(), func(p string) bool { return strings.Contains(p, "no space left") }) {
			t.Errorf("problems are %q", s.Problems())
		}
		same("not stored")
		empty()
	}
}

// A roll-back is in force also where it cannot be stored, and is stored later.
func TestRevertOnAFullDisk(t *testing.T) {
	disk := smallDisk(t, "256k")
	d := dirs{disk, filepath.Join(t.TempDir(), "run")}
	s := d.open(t)
	changed, before := nat("a"), nat("a")
	changed.Bridge.MTU = 1400
	put(t, s, changed, true)
	empty := fill(t, disk)
	if err := s.Revert("a", &before, true); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if e, _ := s.Get("a"); e.Network.Bridge.MTU != 0 || !s.Unstored("a") {
		t.Errorf("not reverted: %+v", e)
	}
	if err := s.StoreAgain(); err == nil || !s.Unstored("a") {
		t.Error("stored on a full disk")
	}
	empty()
	if err := s.StoreAgain(); err != nil || s.Unstored("a") {
		t.Errorf("not stored with room again: %v", err)
	}
	s.Close()
	if e, _ := d.open(t).Get("a"); e.Network.Bridge.MTU != 0 {
		t.Errorf("after a restart: %+v", e)
	}
}

// What root writes belongs to the owner of the directory: "make run" before and after
// "make install" leaves nothing that the daemon's own user cannot replace.
func TestFilesBelongToTheOwnerOfTheirDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	d := newDirs(t)
	for _, dir := range []string{d.state, d.runtime} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, 4242, 4243)); err != nil {
			t.Fatal(err)
		}
	}
	s := d.open(t)
	put(t, s, nat("a"), true)
	transient := nat("t")
	transient.Transient = true
	put(t, s, transient, true)
	trial, _ := NewTrial("a", nil, time.Now(), time.Minute)
	err := errors.Join(s.PutTrial(trial), s.PutPort(netdrv.Port{Network: "a", Link: "vnet0"}), s.PutMembers(nil), s.Remove([]string{"x"}, []string{"y"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{d.state, d.runtime} {
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil || st.Uid != 4242 || st.Gid != 4243 {
				t.Errorf("%s belongs to %d:%d, %v", path, st.Uid, st.Gid, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A daemon that ended while it stored a new network has made links of it, perhaps: they
// count as deleted until the host has none. What was being changed, or adopted, is kept.
func TestInterruptedCreationCountsAsDeletion(t *testing.T) {
	d := newDirs(t)
	s := d.open(t)
	put(t, s, nat("a"), true)
	for _, name := range []string{"a", "b", "c", "t"} {
		n, begin := nat(name), s.Begin
		switch n.Transient = name == "t"; name {
		case "c":
			begin = s.Adopt
		}
		c, err := begin(n, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Stored(); err != nil {
			t.Fatal(err)
		}
		if name == "a" {
			c.Keep()
			continue
		}
		// As it was a moment before.
		if err := os.Rename(s.path(n), pendingOf(s.path(n))); err != nil {
			t.Fatal(err)
		}
		if name == "c" {
			os.Rename(pendingOf(s.path(n)), filepath.Join(d.state, "networks", ".new-77"))
		}
	}
	write(t, pendingOf(filepath.Join(d.state, "networks", "a.yaml")), "half")
	s.Close()
	for range 2 { // also if the next daemon ends before it has removed the links
		s = d.open(t)
		if removed := s.Removed().Networks; len(removed) != 2 || !removed["b"] || !removed["t"] {
			t.Fatalf("to be removed: %v, want b and t", removed)
		}
		s.Close()
	}
	s = d.open(t)
	put(t, s, nat("b"), true)
	if err := s.ForgetRemoved(nil, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = d.open(t)
	if removed := s.Removed().Networks; len(removed) > 0 {
		t.Errorf("still to be removed: %v", removed)
	}
	if _, ok := s.Get("b"); !ok {
		t.Error("b is lost")
	}
	for _, dir := range []string{d.state, d.runtime} {
		if left, _ := filepath.Glob(filepath.Join(dir, "networks", ".*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}
