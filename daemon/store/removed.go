package store

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Removed names what this state declared and has deleted, while the host may still
// hold links of it. A link that belongs to nothing that is declared is removed if
// it is named here, and left alone otherwise: then another state declared it.
//
// It lives in the runtime directory, for links do not outlive the boot either.
type Removed struct {
	Networks map[string]bool
	Links    map[string]bool // of ports
}

// Removed returns the deletions that may not have reached the host yet.
func (s *Store) Removed() Removed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Removed{maps.Clone(s.removed.Networks), maps.Clone(s.removed.Links)}
}

// Remove declares that links of networks, and single links, are to be removed from
// the host although no definition is left.
func (s *Store) Remove(networks, links []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, name := range networks {
		err = errors.Join(err, s.markRemoved(s.removed.Networks, "networks", name))
	}
	for _, name := range links {
		err = errors.Join(err, s.markRemoved(s.removed.Links, "links", name))
	}
	return err
}

// ForgetRemoved drops the deletions that have reached the host: those of which it
// holds nothing, by name. A network that is being stored keeps its mark.
func (s *Store) ForgetRemoved(networks, links map[string]bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for name := range s.removed.Networks {
		if _, declared := s.entries[name]; !declared && !networks[name] {
			err = errors.Join(err, s.unmarkRemoved(s.removed.Networks, "networks", name))
		}
	}
	for name := range s.removed.Links {
		if !links[name] {
			err = errors.Join(err, s.unmarkRemoved(s.removed.Links, "links", name))
		}
	}
	return err
}

// keepDeclared takes the mark off a network that could not be deleted.
func (s *Store) keepDeclared(network string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unmarkRemoved(s.removed.Networks, "networks", network)
}

func (s *Store) markRemoved(names map[string]bool, kind, name string) error {
	names[name] = true
	return mark(s.runtimePath("removed", kind, name))
}

func (s *Store) unmarkRemoved(names map[string]bool, kind, name string) error {
	if !names[name] {
		return nil
	}
	delete(names, name)
	err := removeFile(s.runtimePath("removed", kind, name), false)
	if kind == "networks" && s.interrupted[name] {
		delete(s.interrupted, name)
		file := name + ".yaml"
		err = errors.Join(err, removeFile(pendingOf(s.statePath("networks", file)), false), removeFile(pendingOf(s.runtimePath("networks", file)), false))
	}
	return err
}

// loadRemoved reads the marks, and the pending files of networks that were being stored
// when the last daemon ended: those count as marks. What is declared is not to be
// removed, whenever its mark was made.
func (s *Store) loadRemoved() error {
	s.removed = Removed{Networks: map[string]bool{}, Links: map[string]bool{}}
	for kind, names := range map[string]map[string]bool{"networks": s.removed.Networks, "links": s.removed.Links} {
		files, err := os.ReadDir(s.runtimePath("removed", kind))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, f := range files {
			names[filepath.Base(f.Name())] = true
		}
	}
	for _, dir := range []string{s.statePath("networks"), s.runtimePath("networks")} {
		pending, err := list(dir, ".yaml~")
		if err != nil {
			return err
		}
		for _, path := range pending {
			if name, ok := strings.CutPrefix(strings.TrimSuffix(filepath.Base(path), ".yaml~"), ".new-"); ok {
				s.removed.Networks[name], s.interrupted[name] = true, true
			}
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(s.entries)), slices.Collect(maps.Keys(s.broken))) {
		if err := s.unmarkRemoved(s.removed.Networks, "networks", name); err != nil {
			return err
		}
	}
	for link := range s.ports {
		if err := s.unmarkRemoved(s.removed.Links, "links", link); err != nil {
			return err
		}
	}
	return nil
}
