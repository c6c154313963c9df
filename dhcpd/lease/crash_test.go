package lease

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	table := Open(dir, quiet())
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
		table := Open(dir, quiet())
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

// FuzzOpen reads any snapshot with any journals, and what it made of them once
// more.
func FuzzOpen(f *testing.F) {
	journal, _ := journalOf(named(1, "web"), six(1, "web"), lab(2))
	table := Memory(quiet())
	for i := range 3 {
		table.Bind(lab(i), nil)
	}
	snapshot := table.contents()
	for _, name := range []string{"snapshot", "journal"} {
		b, err := os.ReadFile(filepath.Join("testdata", "version1", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b, b)
	}
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
		first := Open(dir, quiet())
		if err := first.Storing(); err != nil {
			t.Fatal(err)
		}
		got := first.All()
		first.Close()
		aside := len(first.Problems())
		second := Open(dir, quiet())
		if diff := cmp.Diff(holders(got), holders(second.All())); diff != "" {
			t.Fatal(diff)
		}
		if again := len(second.Problems()); again != aside {
			t.Fatalf("%d files are set aside, and then %d", aside, again)
		}
		second.Close()
	})
}
