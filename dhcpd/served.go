package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

// served is what is served of one network. It does not change; Set replaces
// it, and what is in it may go from one to the next.
type served struct {
	cfg  Config
	four *link  // nil: no IPv4
	six  *link6 // nil: neither DHCPv6 nor advertisements

	changed bool
	svc4    *v4.Service
	svc     *v6.Service
	router  *ra.Config
}

// plan makes what is to be served, with its sockets: new ones, or those of old
// where they serve. It changes nothing that is served.
func (s *Server) plan(cfg Config, old *served) (*served, error) {
	ifi, err := interfaceByName(cfg.Interface)
	if err != nil {
		return nil, err
	}
	next := &served{cfg: cfg, four: old.four, six: old.six, changed: !old.cfg.equal(&cfg)}
	if err := next.compile(ifi); err != nil {
		return nil, err
	}
	if next.svc4 == nil {
		next.four = nil
	} else if next.four == nil || !next.four.sameAs(ifi, next.svc4) {
		if next.four, err = s.openLink(cfg.Network, ifi, next.svc4); err != nil {
			return nil, err
		}
		next.four.pool = v4.NewPool(next.svc4, s.leases.Network(cfg.Network), time.Now())
	}
	if next.svc == nil && next.router == nil {
		next.six = nil
	} else if next.six == nil || !next.six.sameAs(ifi) {
		if next.six, err = s.openLink6(cfg.Network, ifi); err != nil {
			if next.four != nil && next.four != old.four {
				next.four.close()
			}
			return nil, err
		}
	}
	return next, nil
}

// compile checks the configuration, and makes it ready for an interface.
func (v *served) compile(ifi *net.Interface) (err error) {
	cfg := &v.cfg
	if len(ifi.HardwareAddr) != len(lease.MAC{}) {
		return fmt.Errorf("%s is not an Ethernet interface", ifi.Name)
	}
	mac := lease.MAC(ifi.HardwareAddr)
	var errs []error
	if len(cfg.V4) > 0 {
		v.svc4, err = v4.Compile(cfg.v4()...)
		errs = append(errs, err)
	}
	if cfg.V6 != nil {
		if v.svc, err = v6.Compile(cfg.v6(mac)); err != nil {
			errs = append(errs, fmt.Errorf("IPv6: %w", err))
		}
	}
	if cfg.RA != nil {
		router := cfg.ra(mac)
		v.router = &router
		if _, err := ra.New(router); err != nil {
			errs = append(errs, fmt.Errorf("router advertisements: %w", err))
		}
	}
	return errors.Join(errs...)
}

// replace serves v in the place of old. ctx is nil if the server does not run
// yet.
func (v *served) replace(ctx context.Context, old *served, wg *sync.WaitGroup) (err error) {
	if old.four != nil && old.four != v.four {
		old.four.close()
	}
	if v.four != nil && v.four == old.four && v.changed {
		v.four.configure(v.svc4)
	}
	if old.six != nil && old.six != v.six {
		if v.six == nil {
			old.six.farewell(time.Now())
		}
		old.six.close()
		if v.six != nil {
			v.six.takeOver(old.six)
		}
	}
	if v.six != nil && (v.changed || v.six != old.six) {
		v.six.setDHCP(v.svc)
		err = v.six.setRouter(v.router, time.Now())
	}
	if ctx != nil {
		v.startNew(ctx, old, wg)
	}
	return err
}

func (v *served) startNew(ctx context.Context, old *served, wg *sync.WaitGroup) {
	if v.four != nil && v.four != old.four {
		v.four.start(ctx, wg)
	}
	if v.six != nil && v.six != old.six {
		v.six.start(ctx, wg)
	}
}

func (v *served) start(ctx context.Context, wg *sync.WaitGroup) { v.startNew(ctx, &served{}, wg) }

func (v *served) close() {
	if v.four != nil {
		v.four.close()
	}
	if v.six != nil {
		v.six.close()
	}
}
