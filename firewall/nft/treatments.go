package nft

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
)

// plainNAT is the chain that translates for networks with the default ports.
var plainNAT = fmt.Sprintf("masquerade_%d_%d", netdrv.DefaultNATPorts.Start, netdrv.DefaultNATPorts.End)

// Treatments returns what the tables in the kernel do with bridges, by the names of these: for
// bridges of networks that another state directory has declared.
func (d *Driver) Treatments(ctx context.Context) (map[string]netdrv.Treatment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.sock.read(ctx)
	if err != nil {
		return nil, err
	}
	inet := firewall.Table{Family: firewall.INet, Name: firewall.TableName}
	_, filters := h.tables[firewall.Table{Family: firewall.Bridge, Name: firewall.TableName}.ID()]
	out := map[string]netdrv.Treatment{}
	other := map[string]bool{} // bridges with rules that do not follow from a mode
	for object, is := range h.image.objects {
		path, key, _ := strings.Cut(strings.TrimPrefix(object, "element "+inet.ID()+" "), "\x00")
		if len(key) < 1+unix.IFNAMSIZ {
			continue
		}
		link := func(at string) string { return strings.TrimRight(at[:unix.IFNAMSIZ], "\x00") }
		switch path {
		case "leave":
			var t netdrv.Treatment
			switch strings.Replace(chainOf(is), "leave_pinned_", "leave_", 1) {
			case "leave_nat":
				t.Mode = netdrv.NAT
			case "leave_nat66":
				t.Mode, t.IPv6NAT = netdrv.NAT, true
			case "leave_route":
				t.Mode = netdrv.Route
			}
			out[link(key[1:])] = t
		case "host", "uplinks":
			other[link(key[1:])] = true
		case "translate4", "translate6": // the address is before the link
			if at := key[len(key)-unix.IFNAMSIZ:]; chainOf(is) != plainNAT {
				other[link(at)] = true
			}
		}
	}
	for bridge, t := range out {
		t.Exact = t.Mode != 0 && !other[bridge] && !filters
		out[bridge] = t
	}
	return out, nil
}

// chainOf is the chain of a verdict in an image; "" for other verdicts.
func chainOf(is string) string {
	const code = len("verdict ") + 4
	if len(is) <= code {
		return ""
	}
	chain := is[code:]
	if end := strings.IndexFunc(chain, func(c rune) bool { return c < ' ' }); end >= 0 {
		chain = chain[:end]
	}
	return chain
}
