package dnsd

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
)

// Ears are the UDP sockets of one address, and whose packets they take.
type ears struct {
	at    netip.AddrPort
	socks []*net.UDPConn
	least time.Duration // that somebody is not heard: deafTime

	looking atomic.Bool // for a flooder

	mu   sync.Mutex
	from ingress
	deaf []bpf.Instruction // to whom; nil: everybody is heard
	span time.Duration     // how long, now or last
	over time.Time         // when that was over
}

const (
	// deafTime is how long a flooder is not heard. It needs a part of that to show
	// that it is one, and is answered in between.
	deafTime = 100 * time.Millisecond

	// deafest is the longest: who floods on is not heard for twice as long each time.
	deafest = 8 * deafTime
)

// hear has packets taken from where they may come.
func (e *ears) hear(from ingress) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.from = from
	return e.attachLocked()
}

func (e *ears) attachLocked() error {
	var errs []error
	for _, sock := range e.socks {
		errs = append(errs, control(sock, func(fd int) error { return e.from.attach(fd, e.at.Addr().Is4(), e.deaf) }))
	}
	return errors.Join(errs...)
}

// ignore has the kernel drop what somebody sends, for a while: before it is queued,
// where it costs others nothing. Who says so is the beginning of a filter. It says
// whether that is new.
func (e *ears) ignore(who []bpf.Instruction) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deaf != nil {
		return false
	}
	e.deaf = who
	if e.attachLocked() != nil {
		e.deaf = nil
		_ = e.attachLocked()
		return false
	}
	if time.Since(e.over) < deafTime {
		e.span = min(2*e.span, deafest)
	} else {
		e.span = e.least
	}
	time.AfterFunc(e.span, e.hearAgain)
	return true
}

func (e *ears) hearAgain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deaf, e.over = nil, time.Now()
	_ = e.attachLocked() // fails only when the sockets are closed
}

// link is the index of the link that packets may come by; 0 is any.
func (e *ears) link() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.from.link
}
