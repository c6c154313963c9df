package dhcpd

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// ReservationInUse is a reservation that its client cannot have for the time being.
type ReservationInUse struct {
	Network string
	Address netip.Addr // reserved
	Client  string     // MAC of the client that it is reserved for
	Given   netip.Addr // to the client
	Holder  lease.MAC  // of the client that has it
}

// String says it to a person, and what to do.
func (r ReservationInUse) String() string {
	return fmt.Sprintf("%s in network %s is reserved for %s, and %s has it: %s got %s until %s renews its lease and is refused; to end that lease now: vnetctl lease release %s %s",
		r.Address, r.Network, r.Client, r.Holder, r.Client, r.Given, r.Holder, r.Network, r.Address)
}

// reservationsInUse tells about reservations in use, of each once a minute.
type reservationsInUse struct {
	tell   func(ReservationInUse) // nil: there is no listener
	log    *slog.Logger
	leases *lease.Table

	mu   sync.Mutex
	told map[reserved]time.Time
}

type reserved struct {
	network string
	addr    netip.Addr
}

func (r *reservationsInUse) note(network string, addr netip.Addr, client string, given netip.Addr, now time.Time) {
	r.mu.Lock()
	key := reserved{network, addr}
	if last, told := r.told[key]; told && now.Sub(last) < tellFullEvery {
		r.mu.Unlock()
		return
	}
	for k, last := range r.told { // few: they are in the definition
		if now.Sub(last) >= tellFullEvery {
			delete(r.told, k)
		}
	}
	r.told[key] = now
	r.mu.Unlock()
	l, _ := r.leases.Network(network).ByAddr(addr)
	said := ReservationInUse{network, addr, client, given, l.MAC}
	r.log.Warn(said.String(), "network", network)
	if r.tell != nil {
		r.tell(said)
	}
}

// OnReservationInUse has f called when a client does not get what is reserved for it,
// because another client has it, once a minute for each address at most. Call it before
// Set; f must not wait.
func (s *Server) OnReservationInUse(f func(ReservationInUse)) { s.inUse.tell = f }
