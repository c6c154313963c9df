package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Server serves any number of interfaces, in the network namespace of the
// process. Its methods may be called from any goroutine.
type Server struct {
	leases *lease.Table
	log    *slog.Logger
	full   fullPools
	ports  Ports // nil: nobody can tell

	inUse reservationsInUse

	mu      sync.Mutex
	served  map[string]*served // by network
	tallies map[string]*tally  // the same
	run     context.Context    // of Run; nil before it
	wg      sync.WaitGroup
}

// New returns a server that serves nothing yet. Leases must be running (see
// lease.Table.Run) for new ones to be given.
func New(leases *lease.Table, log *slog.Logger) *Server {
	return &Server{
		leases: leases, log: log, served: map[string]*served{}, tallies: map[string]*tally{},
		full:  fullPools{log: log, all: map[poolKey]*fullPool{}},
		inUse: reservationsInUse{log: log, leases: leases, told: map[reserved]time.Time{}},
	}
}

// SetPorts says who can tell where guests are; without, there are no limits to
// what one of them may ask and hold. Call it before Set.
func (s *Server) SetPorts(p Ports) { s.ports = p }

// Set serves a network, or changes how. Leases stay, and so do the sockets,
// unless the interface is another one now: a bridge that was made anew. An
// error names what is wrong, and leaves what was served before.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.served[cfg.Network]
	if old == nil {
		old = &served{}
	}
	next, err := s.plan(cfg, old)
	if err != nil {
		return fmt.Errorf("serve DHCP on %s: %w", cfg.Interface, err)
	}
	s.served[cfg.Network] = next
	return next.replace(s.run, old, &s.wg)
}

// Remove ends the serving of a network; its leases stay. Its guests are told
// that the router is gone before Remove returns. A network that is not served
// is no error.
func (s *Server) Remove(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.served[network]; v != nil {
		if v.six != nil {
			v.six.farewell(time.Now())
		}
		v.close()
		delete(s.served, network)
		delete(s.tallies, network)
		s.full.forget(network)
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
	for _, v := range s.served {
		v.start(ctx, &s.wg)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	for network, v := range s.served { // without a word: networks outlive us
		v.close()
		delete(s.served, network)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}
