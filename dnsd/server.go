package dnsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/cache"
	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/internal/limit"
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
	waiting  state = iota // for Run: sockets are open, not read
	starting              // the same: Run was called, upstreams are not known yet
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

// OnUpstreams has f called with the host's name servers whenever those in resolv.conf
// change, for the first time soon after Run. Call it before Run.
func (s *Server) OnUpstreams(f func([]netip.AddrPort)) { s.pool.Changed = f }

// SetPorts has capacity shared by ports, which p looks up. Without it a client
// is an address. Call it before Set.
func (s *Server) SetPorts(p Ports) { s.ports = p }

// Set adds a network, or changes it. It can be called
// before Run and while it runs. Sockets of unchanged addresses are kept, also when
// the bridge is another one of the same name; no query is lost.
//
// After an error nothing has changed.
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

func (s *Server) setLocked(cfg Config) (err error) {
	if err := cfg.validate(); err != nil {
		return err
	}
	z, err := zone.New(cfg.Zone())
	if err != nil {
		return err
	}
	svc := &service{zone: z}
	if cfg.Forward {
		if svc.resolver, err = s.pool.Resolver(cfg.rules(), forward.Policy{NoPrivate: cfg.RebindProtection}); err != nil {
			return err
		}
	}
	n, known := s.networks[cfg.Network]
	if !known {
		n = newNetwork(cfg.Network, s.log)
	}
	from, err := ingressOf(&cfg)
	var opened []*listener
	if err == nil {
		opened, err = s.openLocked(n, &cfg, from)
	}
	if err != nil {
		s.release(svc)
		return err
	}
	n.clients.set(s.ports, int(from.link), cfg.Listen)
	s.networks[cfg.Network] = n
	for _, err := range z.LeftOut() {
		if text := err.Error(); !n.warned[text] {
			n.warned[text] = true
			n.log.Warn("name not served", "err", text)
		}
	}
	svc.counts = n.counts
	s.release(n.service.Swap(svc))
	for _, l := range opened {
		n.listeners[l.at] = l
	}
	for at, l := range n.listeners {
		if !slices.Contains(cfg.endpoints(), at) {
			l.close()
			delete(n.listeners, at)
		}
	}
	if s.state == running {
		n.start(&s.loops)
	}
	if len(opened) > 0 {
		s.log.Info("DNS started", "network", cfg.Network, "domain", cfg.Domain, "listen", cfg.endpoints())
	}
	return nil
}

func (s *Server) release(svc *service) {
	if svc != nil && svc.resolver != nil {
		s.pool.Release(svc.resolver)
	}
}

// openLocked opens the missing sockets and replaces the filter of the others. If
// one fails, none stays open.
func (s *Server) openLocked(n *network, cfg *Config, from ingress) (opened []*listener, err error) {
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
			if err := l.accept(from); err != nil {
				return opened, err
			}
			continue
		}
		for name, other := range s.networks {
			if other.listeners[at] != nil {
				return opened, fmt.Errorf("listen on %s: already in use by network %s", at, name)
			}
		}
		l, err := listen(at, from)
		if err != nil {
			return opened, err
		}
		opened = append(opened, l)
	}
	return opened, nil
}

func (s *Server) endpointsLocked() []netip.AddrPort {
	var list []netip.AddrPort
	for _, n := range s.networks {
		list = slices.AppendSeq(list, maps.Keys(n.listeners))
	}
	return list
}

// Remove stops serving a network, if it is served.
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
	s.log.Info("DNS stopped", "network", network)
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

	// Sockets are closed first: the next daemon answers queries that arrive from here on.
	defer context.AfterFunc(ctx, s.close)()
	err := s.pool.Run(ctx, s.resolvConf, s.serve)
	s.close()
	s.loops.Wait()
	return err
}

// serve starts to answer, when upstreams are known: queries that arrive while the daemon
// restarts wait in the sockets.
func (s *Server) serve() {
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
	return slices.Sorted(maps.Keys(s.networks))
}

// Counts returns the counters of each network.
func (s *Server) Counts() map[string]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Counts{}
	for name, n := range s.networks {
		var c Counts
		for i := range c.Queries {
			c.Queries[i] = n.counts.queries[i].Load()
		}
		for i := range c.Replies {
			c.Replies[i] = n.counts.replies[i].Load()
		}
		out[name] = c
	}
	return out
}

// Upstreams returns the counters of upstreams, sorted by address.
func (s *Server) Upstreams() []forward.Counts { return s.pool.Counts() }

// Cache returns the size of the cache of all networks.
func (s *Server) Cache() cache.Size { return s.pool.Cache() }

// A network has the sockets of one network, and the current service that answers on them.
type network struct {
	log     *slog.Logger
	service atomic.Pointer[service]
	conns   limit.Conns
	counts  *counts
	clients clientPorts
	idle    time.Duration // in which a TCP client must send a query

	// Guarded by Server.mu.
	listeners map[netip.AddrPort]*listener
	warned    map[string]bool // messages about names that are not served
}

func newNetwork(name string, log *slog.Logger) *network {
	return &network{
		log:       log.With("network", name),
		conns:     limit.Conns{Max: maxConns, MaxClient: maxClientConns, MinClient: minClientConns},
		idle:      idleTime,
		counts:    &counts{},
		clients:   clientPorts{network: name},
		listeners: map[netip.AddrPort]*listener{},
		warned:    map[string]bool{},
	}
}

// start starts the goroutines of new listeners, which end when their sockets are closed.
func (n *network) start(loops *sync.WaitGroup) {
	for _, l := range n.listeners {
		if l.started {
			continue
		}
		l.started = true
		for _, sock := range l.udp.socks {
			loops.Go(func() { n.serveUDP(l.udp, sock) })
		}
		loops.Go(func() { n.serveTCP(l.tcp, loops) })
	}
}

func (n *network) close() {
	for _, l := range n.listeners {
		l.close()
	}
	n.conns.CloseAll()
}
