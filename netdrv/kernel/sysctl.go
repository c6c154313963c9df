package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls reads and writes settings by path below root, never by dotted name:
// a link's name may hold a dot.
type sysctls struct{ root string }

// get returns a setting, and "" for one that this kernel or link does not have.
func (s sysctls) get(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.root, key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// set writes a setting. On a kernel without IPv6 there is nothing to switch,
// and that is no error.
func (s sysctls) set(key, value string) error {
	err := os.WriteFile(filepath.Join(s.root, key), []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net/ipv6/") && !s.hasIPv6() {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (is /proc/sys mounted read-only, or CAP_NET_ADMIN missing?)", err)
	}
	return err
}

func (s sysctls) hasIPv6() bool {
	_, err := os.Stat(filepath.Join(s.root, "net/ipv6"))
	return err == nil
}
