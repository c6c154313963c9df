package nettest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cacheDir is where what was downloaded is kept from one run to the next.
func cacheDir() string {
	if dir := os.Getenv("VNETD_TEST_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "vnetd-test")
	}
	return "/var/cache/vnetd-test"
}

func haveKernel() bool {
	// The directory appears complete or not at all.
	_, err := os.Stat(filepath.Join(cacheDir(), "guest", "vmlinuz"))
	return err == nil
}

// guestKernel returns the directory with the guest's kernel and modules, and
// fetches them if they are not there. Test processes that want them at the same
// time wait for the first.
func guestKernel(ctx context.Context, recipe string) (string, error) {
	cache := cacheDir()
	dir := filepath.Join(cache, "guest")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if haveKernel() {
		return dir, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/sh", filepath.Join(recipe, "fetch.sh"), dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("fetch.sh %s: %w\n%s", dir, err, out)
	}
	return dir, nil
}
