package forward

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// rereadTime bounds how long a change that inotify cannot see goes
	// unnoticed: a bind mount over the file, as in containers.
	rereadTime = 30 * time.Second

	// settleTime lets a program finish what it does to the file.
	settleTime = 50 * time.Millisecond

	watched = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM |
		unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ATTRIB
)

// follow keeps the host's servers as resolv.conf says, until ctx ends. Each
// round begins anew: watch the directories, read the file, wait. So it does not
// matter what an event says, and none can fall between look and watch.
func (p *Pool) follow(ctx context.Context, path string, ready func()) error {
	if path == "" {
		path = "/etc/resolv.conf"
	}
	absent := p.reread(path, false)
	ready()
	for ctx.Err() == nil {
		w, err := watch(path)
		if err != nil {
			p.log.Warn("resolv.conf cannot be watched: read every 30 s", "path", path, "err", err)
		}
		absent = p.reread(path, absent)
		w.wait(ctx)
	}
	return nil
}

// reread takes the servers from the file. When it is missing or names none the
// last ones stay: a file that is being replaced must not cost answers.
func (p *Pool) reread(path string, wasAbsent bool) (absent bool) {
	text, err := os.ReadFile(path)
	servers := ParseResolvConf(string(text))
	if err == nil && len(servers) == 0 {
		err = errors.New("it names no server")
	}
	if err != nil {
		if !wasAbsent {
			p.log.Warn("resolv.conf not used: the servers stay as they were", "path", path, "err", err)
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
