package reconcile

import (
	"context"
	"slices"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

// Ports returns the guests' links, in no order: those on bridges, and the
// macvtaps.
func (e *Engine) Ports() []*vnetv1.Port {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*vnetv1.Port
	for _, m := range e.members {
		out = append(out, &vnetv1.Port{
			Network: m.Network, Link: m.Link, Index: int32(m.Index), Kind: m.Kind, Mac: m.MAC.String(), Attached: m.Bridge != "",
		})
	}
	for _, l := range e.macvtaps {
		out = append(out, &vnetv1.Port{
			Network: l.Network, Link: l.Name, Index: int32(l.Index), Kind: string(l.Kind), Mac: l.MAC.String(),
			Uplink: l.Parent, Managed: true, Attached: l.Up,
		})
	}
	return out
}

// AddPort makes a guest's link.
func (e *Engine) AddPort(ctx context.Context, l netdrv.Link) error {
	steps := []netdrv.Step{netdrv.LinkAdd{Link: l}}
	if l.Up {
		steps = append(steps, netdrv.LinkUp{Name: l.Name})
	}
	for _, s := range steps {
		if err := e.Kernel.Apply(ctx, s); err != nil {
			_ = e.Kernel.Apply(ctx, netdrv.LinkDel{Name: l.Name})
			return err
		}
	}
	return e.Reconcile(ctx)
}

// RemovePort removes a link of ours, and takes another's out of our bridge and
// does not put it back.
func (e *Engine) RemovePort(ctx context.Context, p *vnetv1.Port) error {
	if p.GetManaged() {
		if err := e.Kernel.Apply(ctx, netdrv.LinkDel{Name: p.GetLink()}); err != nil {
			return err
		}
		return e.Reconcile(ctx)
	}
	if err := e.detach(ctx, int(p.GetIndex()), p); err != nil {
		return err
	}
	return e.Reconcile(ctx)
}

// detach lets no round look in between, which would put the link back.
func (e *Engine) detach(ctx context.Context, index int, p *vnetv1.Port) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	m := netdrv.Member{Network: p.GetNetwork(), Link: p.GetLink(), Index: index}
	if err := e.Kernel.Apply(ctx, netdrv.MemberDel{Member: m}); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.members = slices.DeleteFunc(slices.Clone(e.members), func(m netdrv.Member) bool { return m.Index == index })
	return nil
}
