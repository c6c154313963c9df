package daemon

import (
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// upstreams tells the watchers when the host's resolv.conf names other servers
// than it did when the daemon started.
func (d *Daemon) upstreams() func([]netip.AddrPort) {
	started := false
	return func(servers []netip.AddrPort) {
		if started {
			d.events.Publish(&vnetv1.WatchResponse{
				Type: vnetv1.EventType_EVENT_TYPE_REPAIRED, Time: timestamppb.Now(),
				Message: fmt.Sprintf("%s was replaced: names outside are asked of %v", d.cfg.File.ResolvConf, servers),
			})
		}
		started = true
	}
}
