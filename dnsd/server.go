package dnsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/vnetd/vnetd/dnsd/forward"
)

// ErrClosed is returned by Set after Run has ended.
var ErrClosed = errors.New("dns server is closed")

// A Server serves names on any number of networks. Get one from New.
type Server struct {
	log        *slog.Logger
	resolvConf string
	pool       *forward.Pool
	ports      Ports

	mu       sync.Mutex
	state    state
	networks map[string]*network
	loops    sync.WaitGroup
}

type state uint8

const (
	waiting  state = iota // for Run: sockets are open, nobody reads
	starting              // the same: Run was called, but nobody can be asked yet
	running
	closed
)

// New returns a server that follows the host's name servers in resolvConf; ""
// is /etc/resolv.conf. It does nothing before Run.
func New(resolvConf string, log *slog.Logger) *Server {
	return &Server{
		log: log, resolvConf: resolvConf, pool: forward.NewPool(log),
		networks: map[string]*network{},
	}
}

// OnUpstreams has f called with the host's name servers whenever resolv.conf
// names others, for the first time soon after Run. Call it before Run.
func (s *Server) OnUpstreams(f func([]netip.AddrPort)) { s.pool.Changed = f }

// SetPorts has capacity divided among ports, which p tells apart. Without it a client
// is an address. Call it before Set.
func (s *Server) SetPorts(p Ports) { s.ports = p }

// Set begins to serve a network, or changes how it is served. It can be called
// before Run and while it runs. Sockets whose address stays are kept, also when
// the bridge is another one of the same name; no query is lost.
//
// An error means that nothing has changed: what was served before still is.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return ErrClosed
	}
	if err := s.setLocked(cfg); err != nil {
		return fmt.Errorf("dns of network %s: %w", cfg.Network, err)
	}
	s.pool.SetOwn(s.endpointsLocked())
	return nil
}

func (s *Server) setLocked(cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	svc, err := s.service(&cfg)
	if err != nil {
		return err
	}
	n, known := s.networks[cfg.Network]
	if !known {
		n = newNetwork(cfg.Network, s.log)
	}
	from, err := ingressOf(&cfg)
	if err != nil {
		s.release(svc)
		return err
	}
	opened, err := s.socketsLocked(n, &cfg, from)
	if err != nil {
		s.release(svc)
		return err
	}
	n.clients.set(s.ports, int(from.link), cfg.Listen)
	s.networks[cfg.Network] = n
	for _, err := range svc.zone.LeftOut() {
		if text := err.Error(); !n.warned[text] {
			n.warned[text] = true
			n.log.Warn("name not served", "err", text)
		}
	}
	svc.counts = n.counts
	s.release(n.service.Swap(svc))
	n.take(opened, cfg.endpoints())
	if s.state == running {
		n.start(&s.loops)
	}
	if len(opened) > 0 {
		s.log.Info("names served", "network", cfg.Network, "domain", cfg.Domain, "listen", cfg.endpoints())
	}
	return nil
}

func (s *Server) service(cfg *Config) (*service, error) {
	z, err := cfg.zone()
	if err != nil {
		return nil, err
	}
	svc := &service{zone: z}
	if cfg.Forward {
		svc.resolver, err = s.pool.Resolver(cfg.rules(), forward.Policy{NoPrivate: cfg.RebindProtection})
	}
	return svc, err
}

func (s *Server) release(svc *service) {
	if svc != nil && svc.resolver != nil {
		s.pool.Release(svc.resolver)
	}
}

// socketsLocked opens what is missing and puts the filter on what is there. If
// one fails, none stays open.
func (s *Server) socketsLocked(n *network, cfg *Config, from ingress) (opened []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range opened {
				l.close()
			}
			opened = nil
		}
	}()
	for _, at := range cfg.endpoints() {
		if l := n.listeners[at]; l != nil {
			if err := l.take(from); err != nil {
				return opened, err
			}
			continue
		}
		if other := s.holderLocked(at); other != "" {
			return opened, fmt.Errorf("listen on %s: network %s is served there", at, other)
		}
		l, err := listen(at, from)
		if err != nil {
			return opened, err
		}
		opened = append(opened, l)
	}
	return opened, nil
}

func (s *Server) holderLocked(at netip.AddrPort) string {
	for name, n := range s.networks {
		if n.listeners[at] != nil {
			return name
		}
	}
	return ""
}

func (s *Server) endpointsLocked() []netip.AddrPort {
	var list []netip.AddrPort
	for _, n := range s.networks {
		for at := range n.listeners {
			list = append(list, at)
		}
	}
	return list
}

// Remove stops serving a network. One that is not served is no error.
func (s *Server) Remove(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[network]
	if n == nil {
		return
	}
	delete(s.networks, network)
	s.pool.SetOwn(s.endpointsLocked())
	n.close()
	s.release(n.service.Load())
	s.log.Info("names no longer served", "network", network)
}

// Run serves until ctx ends, and returns when all that it started has stopped.
// It can be called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.state != waiting {
		s.mu.Unlock()
		return errors.New("dns server: Run called twice")
	}
	s.state = starting
	s.mu.Unlock()

	// First of all nothing more is read: what is asked now, the next one answers.
	defer context.AfterFunc(ctx, s.close)()
	err := s.pool.Run(ctx, s.resolvConf, s.read)
	s.close()
	s.loops.Wait()
	return err
}

// read begins to read what clients ask. Not before somebody can be asked for them:
// what came while the daemon was restarted waits in the sockets.
func (s *Server) read() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return
	}
	s.state = running
	for _, n := range s.networks {
		n.start(&s.loops)
	}
}

func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = closed
	for _, n := range s.networks {
		n.close()
	}
}

// Networks returns the names of the networks that are served, sorted.
func (s *Server) Networks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.networks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
