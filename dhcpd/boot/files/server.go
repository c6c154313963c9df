package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
)

// ErrClosed is returned by Set after Run has ended.
var ErrClosed = errors.New("boot file server is closed")

// A Server serves boot files on any number of networks. Get one from New.
type Server struct {
	log *slog.Logger

	mu       sync.Mutex
	run      bool
	closed   bool
	networks map[string]*network
	loops    sync.WaitGroup
}

// A network has the sockets of one network.
type network struct {
	sources map[netip.Addr]*source
	servers map[endpoint]server
	tftp    counts
	http    counts
}

// An endpoint is the address of a server.
type endpoint struct {
	protocol string // tftp or http
	at       netip.AddrPort
}

func (e endpoint) String() string { return fmt.Sprintf("%s://%s", e.protocol, e.at) }

// A server has one socket. serve returns when it is
// closed; active transfers end.
type server interface {
	serve()
	refilter(filter) error
	close()
}

// New returns a server that serves nothing yet, and nothing before Run.
func New(log *slog.Logger) *Server {
	return &Server{log: log, networks: map[string]*network{}}
}

// Set serves a network's files, or changes how. The sockets of addresses that do not
// change are kept, also when the bridge is another one of the same name, and active
// transfers continue.
//
// An error names what cannot be served; everything else is. A directory that does not exist
// is an error, and is served once it exists.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	accept, err := newFilter(cfg.Interface)
	if err != nil {
		return fmt.Errorf("boot files of network %s: %w", cfg.Network, err)
	}
	n := s.networks[cfg.Network]
	if n == nil {
		n = &network{sources: map[netip.Addr]*source{}, servers: map[endpoint]server{}}
		s.networks[cfg.Network] = n
	}
	var errs []error
	want := map[endpoint]bool{}
	for i := range cfg.Shares {
		share := &cfg.Shares[i]
		errs = append(errs, share.check())
		for _, e := range n.configure(share, cfg.Interface, socket{accept}) {
			want[e] = true
			errs = append(errs, s.serveLocked(cfg.Network, n, e, accept))
		}
	}
	n.keep(want)
	return errors.Join(errs...)
}

// configure changes the source of a share's address, and returns its endpoints.
func (n *network) configure(share *Share, bridge string, sock socket) []endpoint {
	addr := share.Address.Addr()
	if !addr.IsValid() {
		return nil
	}
	if n.sources[addr] == nil {
		n.sources[addr] = &source{}
	}
	n.sources[addr].content.Store(&content{Share: *share, bridge: bridge, socket: sock})
	return []endpoint{
		{"tftp", netip.AddrPortFrom(addr, tftpPort)},
		{"http", netip.AddrPortFrom(addr, cmp.Or(share.HTTPPort, defaultHTTPPort))},
	}
}

// serveLocked opens an endpoint, or replaces its filter if it is open.
func (s *Server) serveLocked(name string, n *network, e endpoint, accept filter) error {
	if old := n.servers[e]; old != nil {
		return old.refilter(accept)
	}
	var srv server
	var err error
	from, sock, log := n.sources[e.at.Addr()], socket{accept}, s.log.With("network", name)
	if e.protocol == "tftp" {
		srv, err = openTFTP(e.at, from, sock, &n.tftp, log)
	} else {
		var l *net.TCPListener
		if l, err = sock.listenTCP(e.at); err == nil {
			srv = newHTTP(l, from.open, &n.http, log)
		}
	}
	if err != nil {
		return fmt.Errorf("serve boot files: %w", err)
	}
	n.servers[e] = srv
	if s.run {
		s.loops.Go(srv.serve)
	}
	s.log.Info("boot files served", "network", name, "at", e)
	return nil
}

// keep closes all other endpoints.
func (n *network) keep(want map[endpoint]bool) {
	for e, srv := range n.servers {
		if !want[e] {
			srv.close()
			delete(n.servers, e)
		}
	}
}

// Remove stops serving a network. One that is not served is no error.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[name]
	if n == nil {
		return
	}
	n.keep(nil)
	delete(s.networks, name)
	s.log.Info("boot files no longer served", "network", name)
}

// Run serves until ctx ends, and returns when all that it started has stopped.
// It can be called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.run {
		s.mu.Unlock()
		return errors.New("boot file server: Run called twice")
	}
	s.run = true
	for _, n := range s.networks {
		for _, srv := range n.servers {
			s.loops.Go(srv.serve)
		}
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	for _, n := range s.networks {
		n.keep(nil)
	}
	s.mu.Unlock()
	s.loops.Wait()
	return nil
}
