package lease

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is the program that TestKilledUnderLoad kills, when it is told so.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LEASE_TEST_DIR"); dir != "" {
		bindForEver(dir)
	}
	os.Exit(m.Run())
}

// bindForEver binds leases from several goroutines, and prints each when it was
// told that the lease is stored, as a server would send its ACK then.
func bindForEver(dir string) {
	table, err := Open(dir, quiet())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	table.rotateAt = 16 << 10 // snapshots all the time
	go table.Run(context.Background())
	first, _ := strconv.Atoi(os.Getenv("LEASE_TEST_FIRST"))
	for worker := range 8 {
		go func() {
			for i := first + worker; ; i += 8 {
				stored := make(chan error, 1)
				table.Bind(lab(i%60_000), func(err error) { stored <- err })
				if err := <-stored; err != nil {
					fmt.Println("failed:", err)
				}
				_, _ = os.Stdout.WriteString(strconv.Itoa(i%60_000) + "\n")
			}
		}()
	}
	select {}
}

// Killed at any moment under load, again and again, what was acknowledged is
// there.
func TestKilledUnderLoad(t *testing.T) {
	dir := t.TempDir()
	acked := map[int]bool{}
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LEASE_TEST_DIR="+dir, fmt.Sprintf("LEASE_TEST_FIRST=%d", round*9000))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(150+37*round)*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("it said %q", lines.Text())
			}
			acked[n] = true
		}
		_ = cmd.Wait()
		kill.Stop()
		table, err := Open(dir, quiet())
		if err != nil {
			t.Fatal(err)
		}
		for n := range acked {
			if l, ok := table.Network("lab").ByMAC(mac(n)); !ok || l.Address != addr(n) {
				t.Fatalf("round %d: lease %d was acknowledged and is lost: %v", round, n, l)
			}
		}
		table.Close()
	}
	t.Logf("%d leases acknowledged and found", len(acked))
	if len(acked) < 100 {
		t.Errorf("only %d leases were acknowledged", len(acked))
	}
}

// A bit that flips anywhere in a file of many frames is noticed: it is a torn
// tail in the last frame, and damage before it; never another lease.
func TestFlippedBits(t *testing.T) {
	want := map[string]bool{}
	var all []Lease
	for i := range 6 {
		l := lab(i)
		all = append(all, l)
		want[fmt.Sprint(l.MAC, l.Address, l.Hostname, l.ClientID)] = true
	}
	data, ends := journalOf(all...)
	for at := range data {
		flipped := bytes.Clone(data)
		flipped[at] ^= 1 << (at % 8)
		dir := t.TempDir()
		write(t, dir, "journal", flipped)
		table, err := Open(dir, quiet())
		if last := at >= ends[len(ends)-2]; last != (err == nil) {
			t.Fatalf("octet %d: %v", at, err)
		}
		if err != nil {
			continue
		}
		if got := table.All(); len(got) != len(all)-1 {
			t.Fatalf("octet %d: %d leases", at, len(got))
		}
		for _, l := range table.All() {
			if !want[fmt.Sprint(l.MAC, l.Address, l.Hostname, l.ClientID)] {
				t.Fatalf("octet %d: there is %+v", at, l)
			}
		}
		table.Close()
	}
}

// FuzzOpen reads any snapshot with any journals, and what it made of them once
// more.
func FuzzOpen(f *testing.F) {
	journal, _ := journalOf(named(1, "web"), six(1, "web"), lab(2))
	table := Memory(quiet())
	for i := range 3 {
		table.Bind(lab(i), nil)
	}
	snapshot := table.snapshot()
	f.Add(snapshot, journal, journal[:len(journal)-5])
	f.Add([]byte(nil), journal, []byte(nil))
	f.Add(snapshot[:len(snapshot)-1], []byte(nil), []byte(journalMagic))
	f.Fuzz(func(t *testing.T, snapshot, old, journal []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"snapshot": snapshot, "journal.old": old, "journal": journal} {
			if len(data) > 0 {
				write(t, dir, name, data)
			}
		}
		first, err := Open(dir, quiet())
		if err != nil {
			if !strings.Contains(err.Error(), dir) {
				t.Fatalf("%v does not say where", err)
			}
			return
		}
		got := first.All()
		first.Close()
		second, err := Open(dir, quiet())
		if err != nil {
			t.Fatalf("opened once, and not again: %v", err)
		}
		if len(second.All()) != len(got) {
			t.Fatalf("%d leases, and then %d", len(got), len(second.All()))
		}
		second.Close()
	})
}
