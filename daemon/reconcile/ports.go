package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// AddPort stores a port and makes its link. If it cannot, it removes both again.
func (e *Engine) AddPort(ctx context.Context, p netdrv.Port) error {
	err := e.changePorts(ctx, p.Network, func() error { return e.Store.PutPort(p) })
	return e.checkPort(ctx, p, err)
}

// checkPort removes a port that has no link.
func (e *Engine) checkPort(ctx context.Context, p netdrv.Port, err error) error {
	_, made := e.ports.link(p.Link)
	if err == nil && made {
		return nil
	}
	if err == nil {
		err = e.Status(p.Network).Err
	}
	if err == nil {
		err = errors.New("the link was made, and is gone again")
	}
	if back := e.RemovePort(ctx, p); back != nil {
		e.log.Error("port not removed again", "port", p.Link, "err", back)
	}
	return err
}

// ChangePort replaces a port. If that degrades its network, it restores the old one.
func (e *Engine) ChangePort(ctx context.Context, old, p netdrv.Port) error {
	before := e.Status(p.Network).Err
	if err := e.changePorts(ctx, p.Network, func() error { return e.Store.PutPort(p) }); err != nil {
		return err
	}
	err := e.Status(p.Network).Err
	if err == nil || before != nil {
		return nil
	}
	return errors.Join(err, e.changePorts(ctx, p.Network, func() error { return e.Store.PutPort(old) }))
}

// RemovePort deletes a port, its link and its guest's leases.
func (e *Engine) RemovePort(ctx context.Context, p netdrv.Port) error {
	index := e.ports.index(p.Link)
	err := e.changePorts(ctx, p.Network, func() error { return e.Store.DeletePort(p.Link) })
	return errors.Join(err, e.releaseLeases(p, index))
}

// releaseLeases ends the leases of a port: those of its MAC if an administrator declared it,
// else those that were obtained through its link, whatever MAC its guest claimed.
func (e *Engine) releaseLeases(p netdrv.Port, index int) error {
	mine := func(mac netdrv.MAC, link int) bool { return link == index && index != 0 }
	if !p.Transient {
		mine = func(mac netdrv.MAC, _ int) bool { return mac == p.MAC }
	}
	return e.Leases.Release(p.Network, mine)
}

// changePorts changes what is stored of a network's ports, and reconciles the network. There is
// no round in between, which would take the change for drift.
func (e *Engine) changePorts(ctx context.Context, network string, change func() error) error {
	var done <-chan struct{}
	err := e.Declare(func() error {
		if err := change(); err != nil {
			return err
		}
		done = e.queue.addNotified([]string{network})
		return nil
	})
	if err != nil {
		return err
	}
	return wait(ctx, done)
}

// OpenNew makes a transient port, and returns the files of its queues. The kernel removes a tap
// when all are closed, and the port is dropped then; RemovePort removes a macvtap. vnetHeader is
// about a tap.
func (e *Engine) OpenNew(ctx context.Context, p netdrv.Port, vnetHeader bool) ([]*os.File, error) {
	entry, ok := e.Store.Get(p.Network)
	if !ok {
		return nil, fmt.Errorf("there is no network %s", p.Network)
	}
	var files []*os.File
	err := e.changePorts(ctx, p.Network, func() (err error) {
		files, err = e.make(ctx, p, entry, vnetHeader)
		return err
	})
	if err = e.checkPort(ctx, p, err); err == nil && files == nil {
		if files, err = e.OpenPort(ctx, p); err != nil {
			err = errors.Join(err, e.RemovePort(ctx, p))
		}
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// make makes the link of a transient port. A tap is made before the port is stored, as a
// transient port without a link is dropped; a macvtap after it, as it would stay without a port if
// the daemon ended in between.
func (e *Engine) make(ctx context.Context, p netdrv.Port, entry store.Entry, vnetHeader bool) (files []*os.File, err error) {
	l := netdrv.LinkOf(&p, &entry.Network, entry.Live, e.Host())
	if l.Kind == netdrv.KindMacvtap {
		if err := e.Store.PutPort(p); err != nil {
			return nil, err
		}
		if err := e.Kernel.Apply(ctx, netdrv.LinkAdd{Link: l}); err != nil {
			return nil, errors.Join(err, e.Store.DisownPort(p.Link))
		}
		return nil, nil
	}
	if p.MAC.IsZero() {
		e.ports.unidentified.Store(true)
	}
	if files, err = e.Kernel.MakeTap(ctx, l, vnetHeader); err != nil {
		return nil, err
	}
	if err := e.Store.PutPort(p); err != nil {
		closeAll(files)
		return nil, errors.Join(err, e.Kernel.Apply(ctx, netdrv.LinkDel{Name: l.Name}))
	}
	return files, nil
}

// OpenPort opens the queues of a port that has a link.
func (e *Engine) OpenPort(ctx context.Context, p netdrv.Port) ([]*os.File, error) {
	entry, ok := e.Store.Get(p.Network)
	if !ok {
		return nil, fmt.Errorf("there is no network %s", p.Network)
	}
	l := netdrv.LinkOf(&p, &entry.Network, entry.Live, e.Host())
	if l.Kind == netdrv.KindTap {
		return e.Kernel.OpenTap(ctx, l)
	}
	l.Queues = p.Queues
	return e.Kernel.OpenMacvtap(ctx, l)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Detach removes a link that vnetd did not make from its bridge.
func (e *Engine) Detach(ctx context.Context, m netdrv.Member) error {
	// A round in between would attach it again.
	err := e.Declare(func() error {
		if err := e.Kernel.Apply(ctx, netdrv.MemberDel{Member: m}); err != nil {
			return err
		}
		e.ports.drop(m.Index)
		return nil
	})
	if err != nil {
		return err
	}
	return e.Reconcile(ctx)
}
