package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A root is a directory by its path.
type root string

// hidden are the directories that the daemon's unit hides from it: ProtectHome= and
// PrivateTmp= of systemd.exec(5).
var hidden = []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"}

// check returns why nothing can be served from the root, or nil.
func (r root) check() error {
	dir, err := os.OpenRoot(string(r))
	if err == nil {
		defer dir.Close()
		var list *os.File
		if list, err = dir.Open("."); err == nil {
			defer list.Close()
			_, err = list.Readdirnames(1)
		}
	}
	if err == nil || err.Error() == "EOF" {
		return nil
	}
	return fmt.Errorf("boot root %s: %w%s", r, cause(err), r.hint(err))
}

// cause returns an error without the path of a path error.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (r root) hint(err error) string {
	for _, h := range hidden {
		if r == root(h) || strings.HasPrefix(string(r), h+"/") {
			return "; the daemon's systemd unit hides " + h + " from it: put the files under /srv, for example"
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("; the daemon runs as user %d, who must be able to read it", os.Geteuid())
	}
	return ""
}

// A file is open, and a regular one.
type file struct {
	*os.File
	info fs.FileInfo
}

func (f *file) Size() int64 { return f.info.Size() }

// open opens a file by the name that a client uses. Names are from the root,
// with or without a slash in front; a Windows loader's has the other slash.
func (r root) open(name string) (*file, error) {
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
	if name == "" {
		return nil, fmt.Errorf("%w: the root itself", fs.ErrNotExist)
	}
	dir, err := os.OpenRoot(string(r))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// Not blocking: a FIFO may have no writer.
	f, err := dir.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: %w", name, fs.ErrPermission)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &file{f, info}, nil
}
