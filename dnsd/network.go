package dnsd

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A network is what is open for one network: its sockets, and the service that
// answers on them at the moment.
type network struct {
	log     *slog.Logger
	service atomic.Pointer[service]
	conns   conns
	counts  *counts
	clients clientPorts
	idle    time.Duration // what a TCP client may take for a query

	// Guarded by Server.mu.
	listeners map[netip.AddrPort]*listener
	warned    map[string]bool // names that are not served, told once
}

func newNetwork(name string, log *slog.Logger) *network {
	return &network{
		log:       log.With("network", name),
		conns:     conns{clients: map[netip.Addr]int{}, open: map[*conn]uint64{}},
		idle:      idleTime,
		counts:    &counts{},
		clients:   clientPorts{network: name},
		listeners: map[netip.AddrPort]*listener{},
		warned:    map[string]bool{},
	}
}

// take adds newly opened listeners and closes those that are not wanted.
func (n *network) take(opened []*listener, want []netip.AddrPort) {
	for _, l := range opened {
		n.listeners[l.at] = l
	}
	for at, l := range n.listeners {
		if !slices.Contains(want, at) {
			l.close()
			delete(n.listeners, at)
		}
	}
}

// start begins to read on the listeners that nobody reads yet. The goroutines
// end when their sockets are closed.
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
	n.conns.closeAll()
}
