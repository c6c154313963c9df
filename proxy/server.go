package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Config is what is published for one network.
type Config struct {
	Network   string
	Endpoints []Endpoint
}

// Protocol is the protocol of an endpoint: "tcp" or "udp", as in package net.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// An Endpoint is a published port.
type Endpoint struct {
	Protocol Protocol
	Listen   netip.AddrPort
	// Targets are the destinations: the first one of the family of Listen is used, or if
	// there is none the first.
	Targets []netip.AddrPort
	// Self sends each client to the target with its own address, and refuses
	// others. An endpoint of this kind that cannot be opened is no error.
	Self bool
}

// target returns the destination of a client; false if there is none.
func (e *Endpoint) target(client netip.Addr) (netip.AddrPort, bool) {
	match := func(t netip.AddrPort) bool { return t.Addr().Is4() == e.Listen.Addr().Is4() }
	if e.Self {
		match = func(t netip.AddrPort) bool { return t.Addr() == client.Unmap() }
	}
	i := slices.IndexFunc(e.Targets, match)
	switch {
	case i >= 0:
		return e.Targets[i], true
	case e.Self || len(e.Targets) == 0:
		return netip.AddrPort{}, false
	}
	return e.Targets[0], true
}

// ErrClosed is returned by Set after Run has ended.
var ErrClosed = errors.New("proxy is closed")

// A Server serves any number of networks. Get one from New.
type Server struct {
	log   *slog.Logger
	slots chan struct{} // for sessions of all endpoints

	mu       sync.Mutex
	closed   bool
	networks map[string]map[key]socket
	loops    sync.WaitGroup
}

type key struct {
	protocol Protocol
	listen   netip.AddrPort
}

// A socket is an open endpoint. Serve returns when it is closed, and its sessions have ended.
type socket interface {
	serve()
	change(Endpoint)
	close()
}

// New returns a server without endpoints. limit is the limit of sessions of
// all endpoints, each of which may use two descriptors.
func New(limit int, log *slog.Logger) *Server {
	return &Server{log: log, slots: make(chan struct{}, limit), networks: map[string]map[key]socket{}}
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

// Set adds a network, or changes it. Sockets with unchanged addresses are kept, and
// connections with unchanged targets. The error has the endpoints that cannot be
// served; all others are.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	want := map[key]Endpoint{}
	for _, e := range cfg.Endpoints {
		want[key{e.Protocol, e.Listen}] = e
	}
	have := s.networks[cfg.Network]
	for at, open := range have {
		if _, stays := want[at]; !stays {
			open.close()
			delete(have, at)
		}
	}
	if have == nil {
		have = map[key]socket{}
		s.networks[cfg.Network] = have
	}
	var errs []error
	for at, e := range want {
		if open, ok := have[at]; ok {
			open.change(e)
			continue
		}
		listen := listenTCP
		if e.Protocol == UDP {
			listen = listenUDP
		}
		open, err := listen(e, s.slots, s.log)
		switch {
		case err != nil && e.Self:
			s.log.Warn("guests cannot reach their own published port", "protocol", e.Protocol, "at", e.Listen, "err", err)
		case err != nil:
			errs = append(errs, fmt.Errorf("publish %s on %s: %w", e.Protocol, e.Listen, err))
		default:
			have[at] = open
			s.loops.Go(open.serve)
		}
	}
	return errors.Join(errs...)
}

// Remove closes the endpoints and connections of a network.
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

// Serves reports whether the server has a socket at an address.
func (s *Server) Serves(p Protocol, at netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.networks {
		if _, ok := open[key{p, at}]; ok {
			return true
		}
	}
	return false
}

// maxSessions is the limit of clients of one endpoint.
const maxSessions = 1024

// sessions are the connections of one endpoint.
type sessions struct {
	log *slog.Logger

	mu       sync.Mutex
	endpoint Endpoint
	closed   bool
	open     map[io.Closer]netip.AddrPort // with their targets
	slots    chan struct{}                // one element each, of all endpoints
}

func newSessions(e Endpoint, slots chan struct{}, log *slog.Logger) sessions {
	return sessions{log: log, endpoint: e, open: map[io.Closer]netip.AddrPort{}, slots: slots}
}

// target returns the destination of a client; false if there is none.
func (ss *sessions) target(client netip.Addr) (netip.AddrPort, bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.endpoint.target(client)
}

// add counts a session; false if a limit is reached, or the endpoint was closed or
// changed since target.
func (ss *sessions) add(c io.Closer, client netip.Addr, to netip.AddrPort) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	now, ok := ss.endpoint.target(client)
	if ss.closed || len(ss.open) >= maxSessions || !ok || now != to {
		return false
	}
	ss.open[c] = to
	select {
	case ss.slots <- struct{}{}:
		return true
	default:
		delete(ss.open, c)
		return false
	}
}

func (ss *sessions) remove(c io.Closer) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, ok := ss.open[c]; ok {
		delete(ss.open, c)
		<-ss.slots
	}
}

// change closes the sessions with targets that were removed.
func (ss *sessions) change(e Endpoint) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.endpoint = e
	for c, to := range ss.open {
		if !slices.Contains(e.Targets, to) {
			_ = c.Close()
		}
	}
}

func (ss *sessions) closeAll() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.closed = true
	for c := range ss.open {
		_ = c.Close()
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
