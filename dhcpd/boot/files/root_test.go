package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tree is a root with everything in it that a guest could try, beside a secret
// that it must not get.
func tree(t testing.TB) root {
	t.Helper()
	dir := t.TempDir()
	r := filepath.Join(dir, "root")
	for _, d := range []string{"root", "root/efi", "root-2"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"secret": "secret", "root-2/secret": "secret", "root/a": "a", "root/efi/b": "b", "root/efi/with space": "c",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"inside": "efi/b", "efi/up": "../a", "out": "../secret", "absolute": filepath.Join(dir, "secret"),
		"dir-out": "..", "chain": "out", "efi/sibling": "../../root-2", "passwd": "/etc/passwd",
	} {
		if err := os.Symlink(to, filepath.Join(r, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(r, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root(r)
}

func TestNothingOutsideTheRoot(t *testing.T) {
	r := tree(t)
	for name, want := range map[string]string{
		"a": "a", "/a": "a", "//a": "a", "./a": "a", "efi/b": "b", `efi\b`: "b", `\efi\b`: "b", "efi/../a": "a",
		"../a": "a", "../../../a": "a", "inside": "b", "efi/up": "a", "efi/with space": "c",
	} {
		f, err := r.open(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
		f.Close()
	}
	for _, name := range []string{
		"", "/", ".", "..", "efi", "efi/", "fifo", "missing", "out", "absolute", "dir-out/secret", "chain", "efi/sibling/secret",
		"passwd", "../secret", "../root-2/secret", "efi/../../secret", `..\secret`, "/etc/passwd", "a/b", "a\x00b", strings.Repeat("a/", 5000),
	} {
		if f, err := r.open(name); err == nil {
			got, _ := io.ReadAll(f)
			t.Errorf("%q was opened: %q", name, got)
			f.Close()
		}
	}
	if _, err := r.open("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// Whatever the name, the secret beside the root stays one.
func FuzzOpen(f *testing.F) {
	r := tree(f)
	for _, name := range []string{"a", "../secret", "dir-out/secret", "efi/sibling/secret", `..\..\secret`, "efi/up/..", "/./../root-2/secret"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		file, err := r.open(name)
		if err != nil {
			return
		}
		defer file.Close()
		if got, _ := io.ReadAll(file); string(got) == "secret" || len(got) != 1 {
			t.Errorf("%q is %q", name, got)
		}
	})
}

func TestCheck(t *testing.T) {
	r := tree(t)
	if err := r.check(); err != nil {
		t.Error(err)
	}
	if err := root(t.TempDir()).check(); err != nil {
		t.Errorf("an empty one: %v", err)
	}
	for path, want := range map[string]string{
		"/nonexistent":          "boot root /nonexistent: no such file or directory",
		"/home/nobody-at-all/x": "put the files under /srv",
		string(r) + "/a":        "not a directory",
	} {
		if err := root(path).check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
