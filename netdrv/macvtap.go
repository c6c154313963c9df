package netdrv

import (
	"cmp"
	"slices"
	"strings"
)

// Macvtap completes a guest's link l on an uplink of n, a network of mode
// DirectLink: on the one that is asked for, or on the one with the fewest of
// vnetd's macvtaps; in passthrough, on one that is free. links are ours.
func Macvtap(l Link, n *Network, uplink string, links []Link, host Host) (Link, Findings) {
	var fs Findings
	l.Kind, l.Mode = KindMacvtap, cmp.Or(n.Direct.Mode, DirectBridge)
	used := map[string]int{}
	for _, o := range links {
		used[o.Parent]++
	}
	pool := []string{uplink}
	switch {
	case uplink == "":
		pool = slices.DeleteFunc(slices.Clone(n.Direct.Uplinks), func(u string) bool { return !host.HasLink(u) })
		slices.SortStableFunc(pool, func(a, b string) int { return cmp.Compare(used[a], used[b]) })
	case !slices.Contains(n.Direct.Uplinks, uplink):
		fs.Add("port.uplink", "%s is no uplink of network %s; those are %s", uplink, n.Name, strings.Join(n.Direct.Uplinks, ", "))
		return l, fs
	}
	switch {
	case len(pool) == 0:
		fs.Add("direct.uplinks", "none of %s is there", strings.Join(n.Direct.Uplinks, ", "))
		return l, fs
	case l.Mode == DirectPassthrough && used[pool[0]] > 0:
		fs.Add("direct.uplinks", "each has a guest already, and passthrough gives an uplink to one alone")
	}
	l.Parent = pool[0]
	uplinkProblem(&fs, "direct.uplinks", l.Parent, "", host)
	l.MTU = cmp.Or(max(n.Bridge.MTU, 0), host.Links[l.Parent].MTU, defaultMTU)
	return l, fs
}
