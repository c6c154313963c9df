// Package owner gives what vnetd writes as root to the user that vnetd runs as otherwise.
package owner

import (
	"os"
	"path/filepath"
	"syscall"
)

// Inherit gives a file that was just made to the owner of its directory: what root writes
// by `make run` would else be lost to the unit, which runs as a user of its own. It does
// nothing for others than root, who could not.
func Inherit(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fi, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	of, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || of.Uid == 0 && of.Gid == 0 {
		return nil
	}
	return os.Lchown(path, int(of.Uid), int(of.Gid))
}
