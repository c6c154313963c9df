package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

func (s *Store) loadPorts(dir string) error {
	files, err := list(dir, ".yaml")
	if err != nil {
		return fmt.Errorf("read ports: %w", err)
	}
	for _, path := range files {
		link := strings.TrimSuffix(filepath.Base(path), ".yaml")
		p, err := readPort(path, link)
		if err != nil {
			s.brokenPorts[link] = err
			continue
		}
		s.ports[link] = p
	}
	return nil
}

func readPort(path, link string) (netdrv.Port, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return netdrv.Port{}, err
	}
	var m vnetv1.Port
	if err := definition.Unmarshal(path, b, &m); err != nil {
		return netdrv.Port{}, err
	}
	p, unread := wire.FromPort(&m)
	switch {
	case unread != nil:
		return p, fmt.Errorf("%s: %w", path, unread.Err())
	case p.Link != link || netdrv.LinkNameProblem(link) != "":
		return p, fmt.Errorf("%s: link: is %q, and the file's name says %s", path, p.Link, link)
	}
	return p, nil
}

// Ports returns all ports, sorted by network and link.
func (s *Store) Ports() []netdrv.Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.ports), func(a, b netdrv.Port) int {
		return strings.Compare(a.Network+"/"+a.Link, b.Network+"/"+b.Link)
	})
}

// PortsOf returns the ports of one network, sorted by link.
func (s *Store) PortsOf(network string) []netdrv.Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.portsOf == nil {
		s.portsOf = map[string][]netdrv.Port{}
		for _, p := range s.ports {
			s.portsOf[p.Network] = append(s.portsOf[p.Network], p)
		}
		for _, ports := range s.portsOf {
			slices.SortFunc(ports, func(a, b netdrv.Port) int { return strings.Compare(a.Link, b.Link) })
		}
	}
	return slices.Clone(s.portsOf[network])
}

// PortRevision grows with every change to a port of a network.
func (s *Store) PortRevision(network string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.portRevision[network]
}

// setPort and unsetPort change a port in memory; the lock is the caller's.
func (s *Store) setPort(p netdrv.Port) {
	s.unsetPort(p.Link)
	s.ports[p.Link], s.portsOf = p, nil
	s.portRevision[p.Network]++
}

func (s *Store) unsetPort(link string) {
	if p, ok := s.ports[link]; ok {
		delete(s.ports, link)
		s.portsOf = nil
		s.portRevision[p.Network]++
	}
}

// BrokenPorts returns the links of ports with files that cannot be read, with the
// reasons.
func (s *Store) BrokenPorts() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.brokenPorts)
}

// PutPort stores a port, and replaces a file that could not be read.
func (s *Store) PutPort(p netdrv.Port) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := definition.Marshal(wire.ToPort(&p))
	if err == nil {
		err = writeFile(s.portPath(p), b, lasting(!p.Transient))
	}
	if err != nil {
		return fmt.Errorf("write port %s: %w", p.Link, err)
	}
	s.setPort(p)
	delete(s.brokenPorts, p.Link)
	return s.unmarkRemoved(s.removed.Links, "links", p.Link)
}

// DeletePort forgets a port; its link is to be removed. One that is not there is no
// error.
func (s *Store) DeletePort(link string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.ports[link]
	if !ok {
		return nil
	}
	err := s.markRemoved(s.removed.Links, "links", link)
	if err == nil {
		err = removeFile(s.portPath(p), lasting(!p.Transient))
	}
	if err != nil {
		err = errors.Join(err, s.unmarkRemoved(s.removed.Links, "links", link))
		return fmt.Errorf("delete port %s: %w", link, err)
	}
	s.unsetPort(link)
	return nil
}

// DisownPort forgets a port, and leaves its link alone. One that is not there is no
// error.
func (s *Store) DisownPort(link string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.ports[link]
	if !ok {
		return nil
	}
	if err := removeFile(s.portPath(p), lasting(!p.Transient)); err != nil {
		return fmt.Errorf("delete port %s: %w", link, err)
	}
	s.unsetPort(link)
	return nil
}

func (s *Store) portPath(p netdrv.Port) string {
	if p.Transient {
		return s.runtimePath("ports", p.Link+".yaml")
	}
	return s.statePath("ports", p.Link+".yaml")
}
