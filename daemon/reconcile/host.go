package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	for _, link := range host.DefaultLinks {
		e.uplinks[link] = true
	}
	host.Uplinks = slices.Sorted(maps.Keys(e.uplinks))
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

// withSettings adds to have the settings that are wanted and were not looked at: those
// of the host's links, and of links that have yet to be made.
func (e *Engine) withSettings(have, want netdrv.State) (netdrv.State, error) {
	seen := map[string]bool{}
	for _, s := range have.Sysctls {
		seen[s.Key] = true
	}
	var missing []netdrv.Sysctl
	var keys []string
	for _, s := range want.Sysctls {
		if !seen[s.Key] {
			missing, keys = append(missing, s), append(keys, s.Key)
		}
	}
	values, err := e.Kernel.Sysctls(keys)
	if err != nil {
		return have, err
	}
	for _, s := range missing {
		s.Value = values[s.Key]
		have.Sysctls = append(have.Sysctls, s)
	}
	return have, nil
}

// checkUplinks finds what is wrong with the host's links that keeps guests from others.
// It makes a network degraded, and no change of one is refused for it.
func (r *round) checkUplinks(host netdrv.Host) (err error) {
	values := map[string]string{}
	setting := func(key string) string {
		if _, read := values[key]; !read {
			got, failed := r.Kernel.Sysctls([]string{key})
			err = errors.Join(err, failed)
			values[key] = got[key]
		}
		return values[key]
	}
	for _, n := range r.standing() {
		if why := netdrv.UplinkProblems(n, host, setting); why != nil {
			r.hindered[n.Name] = why
		}
	}
	return err
}
