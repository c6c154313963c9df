package dnsd

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// An ear is a UDP socket, and whose packets it takes.
type ear struct {
	*net.UDPConn
	v4 bool

	mu   sync.Mutex
	from ingress
	deaf netip.Addr // who is not heard; zero: everybody is
}

// hear has packets taken from where they may come.
func (e *ear) hear(from ingress) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.from = from
	return e.attachLocked()
}

func (e *ear) attachLocked() error {
	return control(e, func(fd int) error { return e.from.attach(fd, e.v4, e.deaf) })
}

// ignore has the kernel drop what a client sends, for that span: before it is queued,
// where it costs others nothing. It says whether that is new.
func (e *ear) ignore(client netip.Addr, span time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deaf.IsValid() {
		return false
	}
	e.deaf = client
	if e.attachLocked() != nil {
		e.deaf = netip.Addr{}
		return false
	}
	time.AfterFunc(span, e.hearAgain)
	return true
}

func (e *ear) hearAgain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deaf = netip.Addr{}
	_ = e.attachLocked() // fails only when the socket is closed
}
