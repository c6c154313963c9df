package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

// Server serves any number of interfaces, in the network namespace of the
// process. Its methods may be called from any goroutine.
type Server struct {
	leases *lease.Table
	log    *slog.Logger
	ports  Ports // nil: ports are not known

	exhausted exhaustedPools
	inUse     reservationsInUse

	mu       sync.Mutex
	served   map[string]*served   // by network
	counters map[string]*counters // by network
	run      context.Context      // of Run; nil before it
	wg       sync.WaitGroup
}

// New returns a server that serves nothing yet. Leases must be running (see
// lease.Table.Run) for new ones to be bound.
func New(leases *lease.Table, log *slog.Logger) *Server {
	return &Server{
		leases: leases, log: log, served: map[string]*served{}, counters: map[string]*counters{},
		exhausted: exhaustedPools{log: log, all: map[poolKey]*exhaustedPool{}},
		inUse:     reservationsInUse{log: log, leases: leases, reported: map[reserved]time.Time{}},
	}
}

// SetPorts sets the source of bridge ports; without it, there are no limits per port.
// Call it before Set.
func (s *Server) SetPorts(p Ports) { s.ports = p }

// served is what is served of one network. It does not change; Set replaces
// it, and its sockets may go from one to the next.
type served struct {
	cfg    Config
	link4  *link  // nil: no IPv4
	link6  *link6 // nil: neither DHCPv6 nor advertisements
	svc4   *v4.Service
	svc6   *v6.Service
	router *ra.Config
}

// Set serves a network, or changes how. Leases stay, and so do the sockets,
// unless the interface is another one now: a bridge that was created again. An
// error names what is wrong, and leaves what was served before.
func (s *Server) Set(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.served[cfg.Network]
	if old == nil {
		old = &served{}
	}
	next, err := s.prepare(cfg, old)
	if err != nil {
		return fmt.Errorf("serve DHCP on %s: %w", cfg.Interface, err)
	}
	s.served[cfg.Network] = next
	return s.replace(old, next)
}

// prepare makes what is to be served, with its sockets: new ones, or those of old
// where they fit. It changes nothing that is served.
func (s *Server) prepare(cfg Config, old *served) (*served, error) {
	ifi, err := interfaceByName(cfg.Interface)
	if err != nil {
		return nil, err
	}
	next := &served{cfg: cfg}
	if err := next.compile(ifi); err != nil {
		return nil, err
	}
	if next.svc4 != nil {
		if next.link4 = old.link4; next.link4 == nil || !next.link4.fits(ifi) || !slices.Equal(next.link4.servers, next.svc4.Servers()) {
			if next.link4, err = s.openLink(cfg.Network, ifi, next.svc4); err != nil {
				return nil, err
			}
			next.link4.pool = v4.NewPool(next.svc4, s.leases.Network(cfg.Network), time.Now())
		}
	}
	if next.svc6 != nil || next.router != nil {
		if next.link6 = old.link6; next.link6 == nil || !next.link6.fits(ifi) {
			if next.link6, err = s.openLink6(cfg.Network, ifi); err != nil {
				if next.link4 != nil && next.link4 != old.link4 {
					next.link4.close()
				}
				return nil, err
			}
		}
	}
	return next, nil
}

// compile checks the configuration, and makes it ready for an interface.
func (v *served) compile(ifi *net.Interface) (err error) {
	if len(ifi.HardwareAddr) != len(lease.MAC{}) {
		return fmt.Errorf("%s is not an Ethernet interface", ifi.Name)
	}
	mac := lease.MAC(ifi.HardwareAddr)
	var errs []error
	if len(v.cfg.V4) > 0 {
		v.svc4, err = v4.Compile(v.cfg.v4()...)
		errs = append(errs, err)
	}
	if v.cfg.V6 != nil {
		if v.svc6, err = v6.Compile(v.cfg.v6(mac)); err != nil {
			errs = append(errs, fmt.Errorf("IPv6: %w", err))
		}
	}
	if v.cfg.RA != nil {
		router := *v.cfg.RA
		if router.MAC == [6]byte{} {
			router.MAC = mac
		}
		v.router = &router
		if _, err := ra.New(router); err != nil {
			errs = append(errs, fmt.Errorf("router advertisements: %w", err))
		}
	}
	return errors.Join(errs...)
}

// replace serves next in the place of old.
func (s *Server) replace(old, next *served) (err error) {
	changed := !reflect.DeepEqual(&old.cfg, &next.cfg)
	switch l := next.link4; {
	case l == old.link4:
		if l != nil && changed {
			l.withPool(func(p *v4.Pool) { p.SetService(next.svc4, time.Now()) })
		}
	case old.link4 != nil:
		old.link4.close()
	}
	if old.link6 != nil && old.link6 != next.link6 {
		if next.link6 == nil {
			old.link6.sendFinalRA(time.Now())
		}
		old.link6.close()
		if next.link6 != nil {
			next.link6.adopt(old.link6)
		}
	}
	if next.link6 != nil && (changed || next.link6 != old.link6) {
		next.link6.setDHCP(next.svc6)
		err = next.link6.setRouter(next.router, time.Now())
	}
	if s.run != nil {
		s.start(old, next)
	}
	return err
}

// start begins to serve what is not served by old.
func (s *Server) start(old, next *served) {
	if next.link4 != nil && next.link4 != old.link4 {
		next.link4.start(s.run, &s.wg, next.link4.handle)
	}
	if next.link6 != nil && next.link6 != old.link6 {
		next.link6.start(s.run, &s.wg, next.link6.handle)
		next.link6.startRouter()
	}
}

func (v *served) close() {
	if v.link4 != nil {
		v.link4.close()
	}
	if v.link6 != nil {
		v.link6.close()
	}
}

// Remove ends the serving of a network; its leases stay. The final router advertisement
// is sent before Remove returns. A network that is not served is no error.
func (s *Server) Remove(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.served[network]; v != nil {
		if v.link6 != nil {
			v.link6.sendFinalRA(time.Now())
		}
		v.close()
		delete(s.served, network)
		delete(s.counters, network)
		s.exhausted.mu.Lock()
		maps.DeleteFunc(s.exhausted.all, func(k poolKey, _ *exhaustedPool) bool { return k.network == network })
		s.exhausted.mu.Unlock()
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
		s.start(&served{}, v)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	for network, v := range s.served { // without a final advertisement: networks outlive the daemon
		v.close()
		delete(s.served, network)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}
