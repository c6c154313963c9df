package rpc

import (
	"context"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// count adds what has passed to ports and networks. Who asks for one network pays
// for a look at all links, which is 30 ms with a thousand.
func (s *Server) count(ctx context.Context, ports []*vnetv1.Port, networks []*vnetv1.Network) error {
	passed, err := s.Kernel.Counters(ctx)
	if err != nil {
		return failed("read counters", err)
	}
	for _, p := range ports {
		p.Counters = counters(passed, p.Link)
	}
	for _, n := range networks {
		if mode, ok := netdrv.ParseMode(definition.Word(n.GetMode())); ok && mode.OwnsBridge() {
			n.Status.Counters = counters(passed, n.GetBridge().GetName())
		}
	}
	return nil
}

// counters is nil for a link that is not there.
func counters(passed map[string]netdrv.Counters, link string) *vnetv1.Counters {
	c, ok := passed[link]
	if !ok {
		return nil
	}
	return wire.ToCounters(c)
}

// limits are what a port is kept to: by what it says, and for the rest by what its
// network says of each.
func (s *Server) limits(p *vnetv1.Port) *vnetv1.Bandwidth {
	e, ok := s.Store.Get(p.GetNetwork())
	own, _ := wire.FromPort(p)
	if !ok || !e.Live {
		return nil
	}
	return wire.ToBandwidth(own.Bandwidth.Or(e.Network.Bandwidth.PerPort))
}
