package reconcile

import (
	"context"
	"fmt"

	"github.com/vnetd/vnetd/netdrv"
)

// Host returns what the host had besides our own at the last full look.
func (e *Engine) Host() netdrv.Host {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.host
}

// FreshHost returns what the host has besides our own now. It looks only if the
// kernel has told of a change since the last look, so that it costs the same on a
// host with one network as with a thousand. Orphans are links of ours that count as
// the host's, and no such notification tells of them.
func (e *Engine) FreshHost(ctx context.Context) (netdrv.Host, error) {
	e.mu.Lock()
	host, fresh := e.host, e.seen == e.Kernel.HostChanges() && len(e.orphans) == 0
	e.mu.Unlock()
	if fresh {
		return host, nil
	}
	_, host, err := e.lookAtAll(ctx)
	if err != nil {
		return host, fmt.Errorf("look at the host: %w", err)
	}
	return host, nil
}

// lookAtAll observes everything, and keeps what is the host's. What it returns as
// ours is without orphans.
func (e *Engine) lookAtAll(ctx context.Context) (netdrv.State, netdrv.Host, error) {
	seen := e.Kernel.HostChanges() // what comes during the look is for the next
	have, host, err := e.Kernel.Observe(ctx)
	if err != nil {
		return have, host, err
	}
	have, orphans := netdrv.SplitOrphans(have, e.known())
	broken := e.Store.Broken()
	_, unread := netdrv.SplitOrphans(have, func(l netdrv.Link) bool { return broken[l.Network] == nil })
	e.noteOrphans(orphans, unread)
	host = host.WithOrphans(orphans)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.host, e.seen = host, seen
	return have, host, nil
}

// LookAtHost observes everything now, and returns what is ours and declared.
func (e *Engine) LookAtHost(ctx context.Context) (netdrv.State, error) {
	have, _, err := e.lookAtAll(ctx)
	return have, err
}

// Declare changes what is stored while no round looks.
func (e *Engine) Declare(change func() error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	return change()
}
