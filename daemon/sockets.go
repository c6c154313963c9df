package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// The names of the sockets: the files below RUNTIME, and with systemd's
// FileDescriptorName= the descriptors that it hands over.
const (
	socketName         = "vnetd"
	readOnlySocketName = "vnetd-ro"
	tapSocketName      = "vnetd-tap"
)

// listeners has the sockets: of the API, for writing and reading, and the tap broker's.
type listeners struct{ write, read, tap net.Listener }

// listen takes the sockets that systemd made, and makes those that it did not.
func listen(runtimeDir string, f File) (listeners, error) {
	given, err := activated()
	if err != nil {
		return listeners{}, err
	}
	var ls listeners
	if ls.write = given[socketName]; ls.write == nil {
		if ls.write, err = listenUnix(filepath.Join(runtimeDir, socketName+".sock"), 0o660, f.AdminGroup); err != nil {
			return listeners{}, err
		}
	}
	if ls.read = given[readOnlySocketName]; ls.read == nil {
		if ls.read, err = listenUnix(filepath.Join(runtimeDir, readOnlySocketName+".sock"), 0o666, ""); err != nil {
			return listeners{}, errors.Join(err, ls.write.Close())
		}
	}
	if ls.tap = given[tapSocketName]; ls.tap == nil {
		if ls.tap, err = listenUnix(filepath.Join(runtimeDir, "tap.sock"), 0o666, ""); err != nil {
			return listeners{}, errors.Join(err, ls.write.Close(), ls.read.Close())
		}
	}
	return ls, nil
}

// activated returns systemd's listeners by name; one with a foreign name is
// a mistake in a unit, and said so.
func activated() (map[string]net.Listener, error) {
	byName, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take systemd's sockets: %w", err)
	}
	names := []string{socketName, readOnlySocketName, tapSocketName}
	out := map[string]net.Listener{}
	for name, ls := range byName {
		if !slices.Contains(names, name) || len(ls) != 1 || ls[0] == nil {
			return nil, fmt.Errorf("take systemd's sockets: %d named %q; FileDescriptorName= is to be one of %s, one stream socket each", len(ls), name, strings.Join(names, ", "))
		}
		out[name] = ls[0]
	}
	return out, nil
}

// listenUnix makes a socket, replacing one without a listener.
func listenUnix(path string, mode os.FileMode, group string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: another vnetd answers there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, giveTo(path, group)
}

// giveTo hands a socket to a group. A host without the group has root only,
// and a daemon that is not in it cannot hand over; both are fine.
func giveTo(path, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return nil
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return nil
	}
	if err := os.Chown(path, -1, gid); err != nil && !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("give %s to group %s: %w", path, group, err)
	}
	return nil
}
