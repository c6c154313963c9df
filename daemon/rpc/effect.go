package rpc

import (
	"strings"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// changes lists what differs between two definitions, and what each change means.
func changes(old, n *netdrv.Network) []*vnetv1.FieldChange {
	var out []*vnetv1.FieldChange
	for _, c := range definition.Diff(wire.ToNetwork(old), wire.ToNetwork(n)) {
		out = append(out, &vnetv1.FieldChange{Path: c.Path, Before: c.Before, After: c.After, Effect: effect(c.Path)})
	}
	return out
}

// effects say what a change of a field means, by the end of its path without
// indexes; the first that fits counts.
var effects = []struct{ field, means string }{
	{"options", "in every answer from now on; guests hear of it when they renew"},
	{"dhcp.tags", "in every answer from now on; guests hear of it when they renew"},
	{"dhcp.renewTime", "for leases given or renewed from now on"},
	{"dhcp.rebindTime", "for leases given or renewed from now on"},
	{"bandwidth", "at once, while frames pass"},
	{"dhcp.leaseTime", "for leases given or renewed from now on"},
	{"dhcp.boot", "for guests that boot from now on; transfers under way go on"},
	{"reservations.boot", "for guests that boot from now on"},
	{"dhcp.ranges", "for new leases; guests keep what they have while they renew it"},
	{"dhcp.exclude", "for new leases; guests keep what they have while they renew it"},
	{"dhcp.relayed", "at once; guests behind relays hear of it when they next ask"},
	{"dhcp.reservations", "in force at once; who holds the address is told at its next renewal"},
	{"dhcp", "at once; guests hear of it when they next ask"},
	{"slaac", "advertised at once; guests keep addresses that they made until those run out"},
	{"subnets.address", "guests with addresses of the old subnet lose their gateway, and ask for new ones when they renew"},
	{"subnets", "at once; other subnets keep their guests"},
	{"bridge.name", "the bridge is made anew; guests' links move to it"},
	{"bridge.mac", "at once; guests learn the gateway's new MAC in an instant"},
	{"bridge.mtu", "at once on the host; guests hear of it when they renew"},
	{"bridge.uplinks", "the host's addresses move along"},
	{"mode", "rules change at once; guests keep links and leases, connections that the new mode forbids end"},
	{"nat", "for new connections; those that exist keep their address and port"},
	{"uplinks", "at once; what would leave by another link is dropped"},
	{"routes", "at once"},
	{"hostServices", "for new connections to the host"},
	{"filter.preset", "at once, for connections that exist, too; of a guest that was not heard yet, from its first frame on"},
	{"filter.rules", "at once, for connections that exist, too"},
	{"filter.sets", "at once, for connections that exist, too"},
	{"filter.in", "at once, for connections that exist, too"},
	{"filter.out", "at once, for connections that exist, too"},
	{"filter.isolated", "at once, for connections that exist, too"},
	{"filter", "at once"},
	{"forwards", "at once; connections through ports that lead elsewhere by now end, and others go on"},
	{"ra", "advertised at once"},
	{"dns.peers", "at once, where the other network can be reached from this one, or names it, too"},
	{"dns.domain", "at once; guests hear of it when they next ask"},
	{"dns.records", "at once; who has asked before keeps the answer for its TTL"},
	{"dns", "at once"},
	{"direct", "for ports made from now on"},
	{"access", "for ports that are taken from now on"},
	{"autostart", "at the next start of the host"},
}

// effect looks for the field that comes last in a path.
func effect(path string) string {
	path = withoutIndexes(path)
	for _, e := range effects {
		if path == e.field || strings.HasPrefix(path, e.field+".") ||
			strings.HasSuffix(path, "."+e.field) || strings.Contains(path, "."+e.field+".") {
			return e.means
		}
	}
	return ""
}

func withoutIndexes(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, "[") {
		if _, rest, ok := strings.Cut(part, "]"); ok {
			part = rest
		}
		b.WriteString(part)
	}
	return b.String()
}
