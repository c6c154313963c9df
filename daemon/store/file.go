package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lasting is whether a file outlives the boot. What does not needs no stable
// storage: it is gone with what a loss of power would lose.
type lasting bool

// writeFile replaces path with data, so that after any crash or full disk
// there is the old content or the new, whole; on stable storage, if it is to last.
func writeFile(path string, data []byte, l lasting) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if l {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return l.syncDir(filepath.Dir(path))
}

// removeFile makes path be gone, also after a crash if it was to last. A missing
// file is no error.
func removeFile(path string, l lasting) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.syncDir(filepath.Dir(path))
}

func (l lasting) syncDir(dir string) error {
	if !l {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
