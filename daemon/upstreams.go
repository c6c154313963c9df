package daemon

import (
	"fmt"
	"net/netip"

	"github.com/vnetd/vnetd/daemon/event"
)

// upstreams tells the watchers when the host's resolv.conf names other servers
// than it did when the daemon started.
func (d *Daemon) upstreams() func([]netip.AddrPort) {
	started := false
	return func(servers []netip.AddrPort) {
		if started {
			d.events.Publish(event.Event{
				Kind:    event.Repaired,
				Message: fmt.Sprintf("%s was replaced: queries are forwarded to %v", d.cfg.File.ResolvConf, servers),
			})
		}
		started = true
	}
}
