package reconcile

import (
	"context"

	"github.com/vnetd/vnetd/netdrv"
)

// Plan says what Reconcile would do to the host if n were stored and live:
// ip(8) lines, in order. old is the definition that n replaces, or nil.
func (e *Engine) Plan(ctx context.Context, n, old *netdrv.Network) ([]string, error) {
	have, host, err := e.Kernel.Observe(ctx)
	if err != nil {
		return nil, err
	}
	mine := netdrv.State{}
	for _, l := range have.Links {
		if l.Name == n.Bridge.Name || old != nil && l.Name == old.Bridge.Name {
			mine.Links = append(mine.Links, l)
		}
	}
	mine.Addrs, mine.Sysctls = have.Addrs, have.Sysctls
	var out []string
	for _, p := range netdrv.Diff(netdrv.Compile([]netdrv.Network{*n}, host), mine) {
		for _, s := range p.Steps {
			out = append(out, s.String())
		}
	}
	return out, nil
}
