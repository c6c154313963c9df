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
// host with one network as with a thousand.
func (e *Engine) FreshHost(ctx context.Context) (netdrv.Host, error) {
	e.mu.Lock()
	host, fresh := e.host, e.seen == e.Kernel.HostChanges()
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

// lookAtAll observes everything, and keeps what is the host's.
func (e *Engine) lookAtAll(ctx context.Context) (netdrv.State, netdrv.Host, error) {
	seen := e.Kernel.HostChanges() // what comes during the look is for the next
	have, host, err := e.Kernel.Observe(ctx)
	if err != nil {
		return have, host, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.host, e.seen = host, seen
	return have, host, nil
}
