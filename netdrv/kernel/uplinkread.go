package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// uplinkSettings follow a bridge's first uplink: what decides which clients the host
// answers there, and how it comes by IPv6 addresses.
var uplinkSettings = []string{
	"ipv6/stable_secret", "ipv6/addr_gen_mode", "ipv6/disable_ipv6", "ipv6/forwarding",
	"ipv6/accept_ra", "ipv6/accept_ra_defrtr", "ipv6/accept_ra_pinfo", "ipv6/accept_ra_rtr_pref", "ipv6/accept_ra_mtu",
	"ipv6/accept_ra_rt_info_max_plen", "ipv6/accept_ra_min_hop_limit", "ipv6/accept_ra_from_local", "ipv6/ra_defrtr_metric",
	"ipv6/autoconf", "ipv6/use_tempaddr", "ipv6/temp_valid_lft", "ipv6/temp_prefered_lft", "ipv6/accept_dad", "ipv6/dad_transmits",
	"ipv6/accept_redirects", "ipv6/accept_source_route", "ipv6/proxy_ndp", "ipv6/accept_untracked_na", "ipv6/router_solicitations",
	"ipv4/rp_filter", "ipv4/forwarding", "ipv4/arp_ignore", "ipv4/arp_announce", "ipv4/arp_filter", "ipv4/arp_notify", "ipv4/arp_accept",
	"ipv4/accept_redirects", "ipv4/secure_redirects", "ipv4/send_redirects", "ipv4/accept_source_route", "ipv4/accept_local",
	"ipv4/proxy_arp", "ipv4/promote_secondaries", "ipv4/route_localnet", "ipv4/src_valid_mark", "ipv4/log_martians",
}

// ObserveUplinks returns what there is of built bridges and their uplinks, by
// name; the uplinks that a bridge was built on are looked at without being
// named.
func (k *Kernel) ObserveUplinks(ctx context.Context, names []string) (netdrv.UplinkSnapshot, error) {
	g := uplinkReader{k: k, snapshot: netdrv.UplinkSnapshot{Links: map[string]netdrv.SnapshotLink{}}, names: map[int]string{}}
	for i := 0; i < len(names); i++ {
		uplinks, err := g.link(names[i])
		if err != nil {
			return netdrv.UplinkSnapshot{}, fmt.Errorf("look up link %s: %w", names[i], err)
		}
		names = append(names, uplinks...)
	}
	if len(g.names) == 0 {
		return g.snapshot, nil
	}
	g.snapshot.Defaults = g.settings("default")
	if v, err := k.sys.get("net/ipv6/conf/all/forwarding"); err == nil {
		g.snapshot.Forwarding = v == "1"
	}
	c, err := dialStrict()
	if err != nil {
		return netdrv.UplinkSnapshot{}, err
	}
	defer c.Close()
	for _, read := range []func(context.Context, *netlink.Conn) error{g.addresses, g.routes, g.neighbours, g.rules} {
		if err := read(ctx, c); err != nil {
			return netdrv.UplinkSnapshot{}, err
		}
	}
	return g.snapshot, nil
}

type uplinkReader struct {
	k        *Kernel
	snapshot netdrv.UplinkSnapshot
	names    map[int]string
	order    []int
	addrs    []address
}

// dialStrict opens a socket on which the kernel sifts what it lists.
func dialStrict() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	if err := c.SetOption(netlink.GetStrictCheck, true); err != nil {
		c.Close()
		return nil, fmt.Errorf("open rtnetlink: strict checks: %w", err)
	}
	return c, nil
}

// link takes a link down, and returns the uplinks that its alias names.
func (g *uplinkReader) link(name string) ([]string, error) {
	if _, known := g.snapshot.Links[name]; known {
		return nil, nil
	}
	l, err := g.k.nl.LinkByName(name)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := l.Attrs()
	out := netdrv.SnapshotLink{Index: a.Index, Kind: l.Type(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Ours: ours(l), Settings: g.settings(name), Wireless: wireless(name, a.Index)}
	copy(out.MAC[:], a.HardwareAddr)
	if a.MasterIndex != 0 {
		out.Master = "/"
		if m, err := g.k.nl.LinkByIndex(a.MasterIndex); err == nil {
			out.Master = m.Attrs().Name
		}
	}
	if out.Ours {
		out.Network, _ = netdrv.ParseAlias(a.Alias)
		out.Uplinks = netdrv.ParseUplinks(a.Alias)
	}
	g.snapshot.Links[name] = out
	g.names[a.Index] = name
	g.order = append(g.order, a.Index)
	return strings.Fields(out.Uplinks), nil
}

func (g *uplinkReader) settings(link string) map[string]string {
	out := map[string]string{}
	for _, s := range uplinkSettings {
		family, key, _ := strings.Cut(s, "/")
		// One that cannot be read is not set: stable_secret.
		if v, err := g.k.sys.get("net/" + family + "/conf/" + link + "/" + key); err == nil && v != "" {
			out[s] = v
		}
	}
	return out
}

// wireless asks sysfs, which shows one network namespace for ever and may mean
// another link of the name; br_add_if refuses such a link in any case.
func wireless(name string, index int) bool {
	dir := filepath.Join("/sys/class/net", name)
	b, err := os.ReadFile(filepath.Join(dir, "ifindex"))
	if err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(index) {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, "phy80211"))
	return err == nil
}

// list asks for all objects of a kind, again where the listing was torn.
func list(ctx context.Context, c *netlink.Conn, kind netlink.HeaderType, body []byte) ([]netlink.Message, error) {
	for try := 1; ; try++ {
		msgs, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Dump}, Data: body,
		})
		torn := slices.ContainsFunc(msgs, func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 })
		if err != nil || !torn || try == dumpTries || ctx.Err() != nil {
			return msgs, err
		}
	}
}

func (g *uplinkReader) addresses(ctx context.Context, c *netlink.Conn) error {
	for _, index := range g.order {
		body := make([]byte, addressFixed)
		binary.NativeEndian.PutUint32(body[4:], uint32(index))
		msgs, err := list(ctx, c, unix.RTM_GETADDR, body)
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", g.names[index], err)
		}
		var latest []address
		for _, m := range msgs {
			o, ok := parseObject(m.Data, addressFixed)
			a := address{o}
			switch {
			case !ok || a.index() != index:
			case a.is6():
				latest = append(latest, a)
			default:
				g.address(a, g.names[index])
			}
		}
		// The kernel lists IPv6 addresses the latest first, and IPv4 as they came.
		for _, a := range slices.Backward(latest) {
			g.address(a, g.names[index])
		}
	}
	return nil
}

func (g *uplinkReader) address(a address, link string) {
	g.addrs = append(g.addrs, a)
	// An address that another host has is not to be used on the bridge either.
	taken := a.is6() && a.flags()&unix.IFA_F_DADFAILED != 0
	if !taken && !a.isAutomatic(g.snapshot.Links[link].MAC) {
		g.snapshot.Objects = append(g.snapshot.Objects, a.hostObject(link))
	}
}

func (g *uplinkReader) routes(ctx context.Context, c *netlink.Conn) error {
	for _, index := range g.order {
		var near, far []netdrv.HostObject
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			q := object{fixed: make([]byte, routeFixed)}
			q.fixed[0] = family
			q.setNumber(unix.RTA_OIF, uint32(index))
			msgs, err := list(ctx, c, unix.RTM_GETROUTE, q.bytes())
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("list routes of %s: %w", g.names[index], err)
			}
			for _, m := range msgs {
				o, ok := parseObject(m.Data, routeFixed)
				r := hostRoute{o}
				if !ok || r.fixed[0] != family || r.cloned() {
					continue
				}
				h, ok := g.route(r, index)
				switch {
				case !ok:
				case r.get(unix.RTA_GATEWAY) == nil && r.get(unix.RTA_VIA) == nil:
					near = append(near, h)
				default:
					far = append(far, h) // a gateway is behind a route without one
				}
			}
		}
		g.snapshot.Objects = append(append(g.snapshot.Objects, near...), far...)
	}
	return nil
}

// route returns a route as a holding; false for what the kernel makes of an
// address, or of the link.
func (g *uplinkReader) route(r hostRoute, index int) (netdrv.HostObject, bool) {
	link := g.names[index]
	h := r.hostObject(link)
	learns := r.is6() && g.snapshot.Links[link].Settings["ipv6/accept_ra"] != "0"
	switch {
	case g.snapshot.Links[link].Ours && r.protocol() == Protocol && !r.is6():
		return h, false
	case r.protocol() == unix.RTPROT_KERNEL:
		return g.kernelRoute(r, h, index, learns)
	case r.protocol() == unix.RTPROT_RA && learns && r.addr(unix.RTA_GATEWAY).IsValid():
		gap := r.placeholder()
		standIn := gap.hostObject(link)
		h.Placeholder = &standIn
	}
	return h, true
}

// kernelRoute tells a route that the kernel derived from one that a manager of
// the host's links has marked like that: NetworkManager does, and keeps the
// kernel from deriving by noprefixroute.
func (g *uplinkReader) kernelRoute(r hostRoute, h netdrv.HostObject, index int, learns bool) (netdrv.HostObject, bool) {
	d := r.destination()
	if r.table() == unix.RT_TABLE_LOCAL || r.kind() != unix.RTN_UNICAST || d.Addr().IsMulticast() || d.Addr().Is6() && d.Addr().IsLinkLocalUnicast() {
		return h, false
	}
	for _, a := range g.addrs {
		if a.index() != index || a.flags()&unix.IFA_F_NOPREFIXROUTE != 0 || !a.covers(d) {
			continue
		}
		// One of an address with an end outlives it.
		h.KernelDerived = r.is6() && a.flags()&unix.IFA_F_PERMANENT == 0
		return h, h.KernelDerived
	}
	h.KernelDerived = learns && r.expires() > 0
	return h, true
}

// covers reports whether the address brings along a route to d.
func (a *address) covers(d netip.Prefix) bool {
	peer := netip.PrefixFrom(a.addr(unix.IFA_ADDRESS), int(a.fixed[1])).Masked()
	return a.prefix().Masked() == d || peer == d
}

func (g *uplinkReader) neighbours(ctx context.Context, c *netlink.Conn) error {
	for _, index := range g.order {
		q := object{fixed: make([]byte, neighbourFixed)}
		q.setNumber(unix.NDA_IFINDEX, uint32(index))
		msgs, err := list(ctx, c, unix.RTM_GETNEIGH, q.bytes())
		if err != nil {
			return fmt.Errorf("list neighbours of %s: %w", g.names[index], err)
		}
		for _, m := range msgs {
			o, ok := parseObject(m.Data, neighbourFixed)
			if n := (neighbour{o}); ok && n.known() && int(binary.NativeEndian.Uint32(n.fixed[4:])) == index {
				g.snapshot.Objects = append(g.snapshot.Objects, n.hostObject(g.names[index]))
			}
		}
	}
	return nil
}

// rules finds routing policy that names the links.
func (g *uplinkReader) rules(context.Context, *netlink.Conn) error {
	rules, err := g.k.nl.RuleList(nl.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routing rules: %w", err)
	}
	for _, r := range rules {
		for word, name := range map[string]string{"iif": r.IifName, "oif": r.OifName} {
			if l, ok := g.snapshot.Links[name]; ok {
				l.Rules = append(l.Rules, fmt.Sprintf("pref %d %s %s lookup %d", r.Priority, word, name, r.Table))
				g.snapshot.Links[name] = l
			}
		}
	}
	return nil
}
