package forward

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where name servers listen.
const (
	DefaultPort    = 53
	DefaultTLSPort = 853 // RFC 7858 §3.1
)

// maxServers of resolv.conf are used. The C library takes three.
const maxServers = 8

// ParseResolvConf returns the name servers of a resolv.conf(5). Lines that it
// does not know, and addresses that are none, are skipped, as the C library
// does.
func ParseResolvConf(text string) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(servers) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a.Unmap(), DefaultPort))
		}
	}
	return servers
}

const maxLinks = 16

// watchDirs returns the directories in which a change can make path another
// file: its own, and those of all symbolic links on the way. For one that does
// not exist yet it is the nearest that does.
func watchDirs(path string) []string {
	var dirs []string
	for range maxLinks {
		dir := filepath.Dir(path)
		exists := dir
		for exists != filepath.Dir(exists) {
			if info, err := os.Stat(exists); err == nil && info.IsDir() {
				break
			}
			exists = filepath.Dir(exists)
		}
		dirs = append(dirs, exists)
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return dirs
}

const (
	// rereadTime bounds how long a change that inotify cannot see goes
	// unnoticed: a bind mount over the file, as in containers.
	rereadTime = 30 * time.Second

	// settleTime lets a program finish writing the file.
	settleTime = 50 * time.Millisecond

	watched = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM |
		unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ATTRIB
)

// followResolvConf keeps the host's servers as in resolv.conf, until ctx ends. Each
// round watches the directories, reads the file, and waits: so the contents of an event do
// not matter, and none is missed between reading and watching.
func (p *Pool) followResolvConf(ctx context.Context, path string, ready func()) {
	if path == "" {
		path = "/etc/resolv.conf"
	}
	absent := p.reread(path, false)
	ready()
	for ctx.Err() == nil {
		w, err := watch(path)
		if err != nil {
			p.log.Warn("resolv.conf cannot be watched; polling every 30 s", "path", path, "err", err)
		}
		absent = p.reread(path, absent)
		w.wait(ctx)
	}
}

// reread takes the servers from the file. When it is missing or has none the
// last ones stay: a file that is being replaced must not cost answers.
func (p *Pool) reread(path string, wasAbsent bool) (absent bool) {
	text, err := os.ReadFile(path)
	servers := ParseResolvConf(string(text))
	if err == nil && len(servers) == 0 {
		err = errors.New("no nameserver line")
	}
	if err != nil {
		if !wasAbsent {
			p.log.Warn("resolv.conf not usable; keeping the previous servers", "path", path, "err", err)
		}
		return true
	}
	if p.SetHost(servers) {
		p.log.Info("resolv.conf read", "path", path, "servers", servers)
		if p.Changed != nil {
			p.Changed(servers)
		}
	}
	return false
}

// A watcher is an inotify descriptor; nil waits for the time only.
type watcher struct{ file *os.File }

func watch(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "inotify")}
	for _, dir := range slices.Compact(watchDirs(path)) {
		if _, err := unix.InotifyAddWatch(fd, dir, watched); err != nil {
			_ = w.file.Close()
			return nil, fmt.Errorf("inotify watch %s: %w", dir, err)
		}
	}
	return w, nil
}

// wait returns after a change, after rereadTime, or when ctx ends.
func (w *watcher) wait(ctx context.Context) {
	if w == nil {
		sleep(ctx, rereadTime)
		return
	}
	defer w.file.Close()
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = w.file.SetReadDeadline(time.Now().Add(rereadTime))
	if ctx.Err() != nil {
		return
	}
	var events [4096]byte
	if _, err := w.file.Read(events[:]); err == nil {
		sleep(ctx, settleTime)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
