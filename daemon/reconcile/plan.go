package reconcile

import (
	"context"

	"github.com/vnetd/vnetd/netdrv"
)

// Plan says what Reconcile would do to the host if n were stored and live:
// ip(8) lines, in order. old is the definition that n replaces, or nil.
func (e *Engine) Plan(ctx context.Context, n, old *netdrv.Network) ([]string, error) {
	links := []string{n.Bridge.Name}
	if old != nil && old.Bridge.Name != n.Bridge.Name {
		links = append(links, old.Bridge.Name)
	}
	have, err := e.Kernel.ObserveLinks(ctx, links, nil)
	if err != nil {
		return nil, err
	}
	in := netdrv.Intent{
		Live:    []netdrv.Network{*n},
		Members: netdrv.Learn(nil, have.Members, []netdrv.Network{*n, former(old)}, true),
		Ports:   ports(have),
	}
	var out []string
	for _, p := range netdrv.Diff(netdrv.Compile(in, e.Host()), have) {
		for _, s := range p.Steps {
			out = append(out, s.String())
		}
	}
	return out, nil
}

// former is the old definition, whose guests move along; the zero Network if
// there is none.
func former(old *netdrv.Network) netdrv.Network {
	if old == nil {
		return netdrv.Network{}
	}
	return *old
}
