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
	for _, p := range e.Store.PortsOf(n.Name) {
		links = append(links, p.Link)
	}
	have, err := e.Kernel.ObserveLinks(ctx, append(links, n.Direct.Uplinks...), nil)
	if err != nil {
		return nil, err
	}
	live := []netdrv.Network{*n}
	in := netdrv.Intent{
		Live:    live,
		Members: netdrv.Learn(nil, have, live, true),
		Ports:   e.Store.PortsOf(n.Name),
	}
	built, ground, err := builtPlans(ctx, e.Kernel, netdrv.Building{Live: live, Members: in.Members, Have: have}, func(*netdrv.Ground) {})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, warning := range netdrv.Leases(n, ground) {
		out = append(out, "# "+warning)
	}
	want := netdrv.Compile(in, e.Host())
	if have, err = e.withSettings(have, want); err != nil {
		return nil, err
	}
	plans := withoutBuilt(netdrv.Diff(want, have), live, have)
	for _, p := range append(plans, built...) {
		for _, s := range p.Steps {
			out = append(out, s.String())
		}
	}
	return out, nil
}
