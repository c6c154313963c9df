package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
)

// ErrClosed is returned by Set after Run has ended.
var ErrClosed = errors.New("proxy is closed")

// A Server serves any number of networks. Get one from New.
type Server struct {
	log  *slog.Logger
	room chan struct{} // for calls of all endpoints

	mu       sync.Mutex
	closed   bool
	networks map[string]map[place]socket
	loops    sync.WaitGroup
}

// A socket is one endpoint that is open. Serve returns when it is closed, and has
// ended what it began.
type socket interface {
	serve()
	change(Endpoint)
	close()
}

// New returns a server that serves nothing yet. It has at most most callers at a time, of
// all endpoints, each of which may cost two descriptors.
func New(most int, log *slog.Logger) *Server {
	return &Server{log: log, room: make(chan struct{}, most), networks: map[string]map[place]socket{}}
}

// Run returns when ctx ends and everything is closed.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	for name := range s.networks {
		s.removeLocked(name)
	}
	s.mu.Unlock()
	s.loops.Wait()
	return ctx.Err()
}

// Set begins to serve a network, or changes what is served. Sockets whose address
// stays are kept, and connections whose target does. An error says what cannot be
// served, and everything else is.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	want := map[place]Endpoint{}
	for _, e := range cfg.Endpoints {
		want[e.place()] = e
	}
	have := s.networks[cfg.Network]
	for at, open := range have {
		if _, stays := want[at]; !stays {
			open.close()
			delete(have, at)
		}
	}
	if have == nil {
		have = map[place]socket{}
		s.networks[cfg.Network] = have
	}
	var errs []error
	for at, e := range want {
		errs = append(errs, s.setLocked(have, at, e))
	}
	return errors.Join(errs...)
}

func (s *Server) setLocked(have map[place]socket, at place, e Endpoint) error {
	if open, ok := have[at]; ok {
		open.change(e)
		return nil
	}
	open, err := s.open(e)
	switch {
	case err != nil && e.Self:
		s.log.Warn("guests do not reach their own published port", "protocol", e.Protocol, "at", e.Listen, "err", err)
		return nil
	case err != nil:
		return fmt.Errorf("publish %s on %s: %w", e.Protocol, e.Listen, err)
	}
	have[at] = open
	s.loops.Go(open.serve)
	return nil
}

func (s *Server) open(e Endpoint) (socket, error) {
	if e.Protocol == UDP {
		return listenUDP(e, s.room, s.log)
	}
	return listenTCP(e, s.room, s.log)
}

// Remove ends what is served for a network, connections with it.
func (s *Server) Remove(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(network)
}

func (s *Server) removeLocked(network string) {
	for _, open := range s.networks[network] {
		open.close()
	}
	delete(s.networks, network)
}

// Serves reports whether a socket of the server's own is at an address.
func (s *Server) Serves(p Protocol, at netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.networks {
		if _, ok := open[place{p, at}]; ok {
			return true
		}
	}
	return false
}
