package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/owner"
)

// dirs are the directories that have files of ours.
func (s *Store) dirs() []string {
	return []string{
		s.state, s.statePath("networks"), s.statePath("ports"), s.statePath("trials"),
		s.runtime, s.runtimePath("networks"), s.runtimePath("ports"), s.runtimePath("live"),
		s.runtimePath("removed"), s.runtimePath("removed", "networks"), s.runtimePath("removed", "links"),
	}
}

// makeDir makes a directory, with the owner of the one that it is in. What is in its
// place and no directory is set aside, but for that of the definitions: without those,
// there is nothing to be done.
func (s *Store) makeDir(dir string) error {
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() && dir != s.statePath("networks") {
		s.setAside(dir, errors.New("is not a directory"))
	}
	_, absent := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if absent != nil && dir != s.state && dir != s.runtime {
		return owner.Inherit(dir)
	}
	return nil
}

// setAside keeps a file that cannot be used for the administrator, under another name.
func (s *Store) setAside(path string, why error) {
	to := path + ".unreadable"
	if err := os.Rename(path, to); err != nil {
		s.notes = append(s.notes, fmt.Sprintf("%s %v, and cannot be set aside: %v", path, why, err))
		return
	}
	s.notes = append(s.notes, fmt.Sprintf("%s was unreadable (%v), and is %s now; remove that when it is of no use", path, why, to))
}

var leftover = regexp.MustCompile(`^(\.new-[0-9]+|\.old-.*~)$`)

// removeLeftovers removes what interrupted writes left behind.
func (s *Store) removeLeftovers(dir string) {
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if f.Type().IsRegular() && leftover.MatchString(f.Name()) {
			_ = os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}

// list returns the paths of a directory's files with a suffix. Unlike filepath.Glob, it
// does not take a directory that cannot be read for an empty one.
func list(dir, suffix string) (paths []string, err error) {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if strings.HasSuffix(f.Name(), suffix) {
			paths = append(paths, filepath.Join(dir, f.Name()))
		}
	}
	return paths, err
}

// Problems says what of the state cannot be read or written, for status.
func (s *Store) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.notes)
	for _, link := range slices.Sorted(maps.Keys(s.brokenPorts)) {
		out = append(out, fmt.Sprintf("port %s: its definition cannot be read, and its link is left alone: %v", link, s.brokenPorts[link]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.brokenTrials)) {
		out = append(out, fmt.Sprintf("network %s: a change waits to be confirmed and cannot be rolled back: %v; keep it with `vnetctl network confirm %s`", name, s.brokenTrials[name], name))
	}
	for _, name := range slices.Sorted(maps.Keys(s.unstored)) {
		out = append(out, fmt.Sprintf("network %s: what is in force is not stored yet, and would not be after a restart: %v", name, s.unstored[name]))
	}
	for _, dir := range s.dirs() {
		if err := writable(dir); err != nil {
			out = append(out, fmt.Sprintf("%s cannot be written: %v; changes are refused until that is repaired", dir, err))
		}
	}
	return out
}

// writable finds why no file can be written in a directory, without writing one.
func writable(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	if fs.Blocks > 0 && fs.Bavail == 0 || fs.Files > 0 && fs.Ffree == 0 {
		return unix.ENOSPC
	}
	return nil
}
