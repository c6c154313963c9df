package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vnetd/vnetd/internal/owner"
)

// lasting is whether a file outlives the boot. What does not needs no stable
// storage: it is gone with what a loss of power would lose.
type lasting bool

// writeFile replaces path with data, so that after any crash or full disk
// there is the old content or the new, whole; on stable storage, if it is to last.
func writeFile(path string, data []byte, l lasting) error {
	f, err := newFile(path, data)
	if err == nil {
		if err = f.replace(l); err != nil {
			f.drop()
		}
	}
	return err
}

// A pendingFile has what a file is to hold, and room on the disk.
type pendingFile struct {
	*os.File
	path string
}

func newFile(path string, data []byte) (*pendingFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	return begin(f, err, path, data)
}

// newFileAt is newFile under a name that tells which file it is to replace.
func newFileAt(name, path string, data []byte) (*pendingFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	return begin(f, err, path, data)
}

func begin(f *os.File, err error, path string, data []byte) (*pendingFile, error) {
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, reason(err))
	}
	p := &pendingFile{f, path}
	if _, err = f.Write(data); err == nil {
		err = owner.Inherit(f.Name())
	}
	if err != nil {
		p.drop()
		return nil, fmt.Errorf("write %s: %w", path, reason(err))
	}
	return p, nil
}

// reason is an error without the name of a file that is there for the moment of a write.
func reason(err error) error {
	if e := new(fs.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (p *pendingFile) drop() {
	_ = p.Close()
	_ = os.Remove(p.Name())
}

// replace puts the file in the place of the old one. After an error it is still there.
func (p *pendingFile) replace(l lasting) (err error) {
	if l {
		err = p.Sync()
	}
	if err = errors.Join(err, p.Close()); err == nil {
		err = os.Rename(p.Name(), p.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p.path, reason(err))
	}
	return l.syncDir(filepath.Dir(p.path))
}

// mark makes an empty file, which says something by being there. What a mark is about is
// volatile.
func mark(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return owner.Inherit(path)
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
