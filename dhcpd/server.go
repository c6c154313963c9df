package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
)

// Server serves any number of interfaces, in the network namespace of the
// process. Its methods may be called from any goroutine.
type Server struct {
	leases *lease.Table
	log    *slog.Logger

	mu    sync.Mutex
	links map[string]*link // by network
	run   context.Context  // of Run; nil before it
	wg    sync.WaitGroup
}

// New returns a server that serves nothing yet. Leases must be running (see
// lease.Table.Run) for new ones to be given.
func New(leases *lease.Table, log *slog.Logger) *Server {
	return &Server{leases: leases, log: log, links: map[string]*link{}}
}

// Set serves a network, or changes how. Leases stay, and so does the socket,
// unless the interface is another one now: a bridge that was made anew. An
// error names what is wrong, and leaves what was served before.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return fmt.Errorf("serve DHCP on %s: %w", cfg.Interface, err)
	}
	old := s.links[cfg.Network]
	if old != nil && old.sameAs(ifi, cfg.Server) {
		return old.configure(cfg)
	}
	sub, err := v4.Compile(cfg.v4())
	if err != nil {
		return fmt.Errorf("serve DHCP on %s: %w", cfg.Interface, err)
	}
	l, err := openLink(cfg, ifi, s.log)
	if err != nil {
		return fmt.Errorf("serve DHCP on %s: %w", cfg.Interface, err)
	}
	l.table = s.leases
	l.pool = v4.NewPool(sub, s.leases.Network(cfg.Network), time.Now())
	s.replaceLocked(cfg.Network, l)
	return nil
}

func (s *Server) replaceLocked(network string, l *link) {
	if old := s.links[network]; old != nil {
		old.close()
	}
	s.links[network] = l
	if s.run != nil {
		s.startLocked(l)
	}
}

func (s *Server) startLocked(l *link) {
	s.wg.Go(func() { l.serve(s.run) })
	s.wg.Go(func() { l.listenARP(s.run) })
}

// Remove ends the serving of a network; its leases stay. One that is not
// served is no error.
func (s *Server) Remove(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[network]; l != nil {
		l.close()
		delete(s.links, network)
	}
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.run != nil {
		s.mu.Unlock()
		return errors.New("the DHCP server runs already")
	}
	s.run = ctx
	for _, l := range s.links {
		s.startLocked(l)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	for network, l := range s.links {
		l.close()
		delete(s.links, network)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}
