package reconcile

import (
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/netdrv"
)

// options4 and options6 translate options. What the other family has alone,
// validation has refused.
func options4(o *netdrv.Options) option.List {
	var l option.List
	l.Addrs(v4.OptRouters, o.Routers)
	l.Addrs(v4.OptDNSServers, o.DNSServers)
	l.Text(v4.OptDomain, o.Domain)
	l.Names(v4.OptSearch, o.Search)
	l.Bytes(v4.OptRoutes, v4.Routes(routes4(o.Routes)))
	l.Uint16(v4.OptMTU, o.MTU)
	l.Addrs(v4.OptNTPServers, o.NTPServers)
	l.Text(v4.OptVendor, o.Vendor)
	l.Text(v4.OptVendorClass, o.VendorClass)
	l.Text(v4.OptTFTPServer, o.TFTPServerName)
	l.Text(v4.OptBootFile, o.BootFile)
	l.Seconds(v4.OptIPv6Only, o.IPv6OnlyWait)
	l.Text(v4.OptCaptivePortal, o.CaptivePortal)
	return others(l, o, false)
}

func options6(o *netdrv.Options) option.List {
	var l option.List
	l.Addrs(v6.OptDNSServers, o.DNSServers)
	l.Names(v6.OptSearch, o.Search)
	l.Addrs(v6.OptSNTPServers, o.NTPServers)
	l.Bytes(v6.OptNTPServers, v6.NTPServers(o.NTPServers))
	l.Text(v6.OptVendor, o.Vendor)
	l.Text(v6.OptBootFile, o.BootFile)
	l.Text(v6.OptCaptivePortal, o.CaptivePortal)
	l.Seconds(v6.OptRefreshTime, o.RefreshTime)
	l.Seconds(v6.OptSolMaxRT, o.SolMaxRT)
	l.Seconds(v6.OptInfMaxRT, o.InfMaxRT)
	return others(l, o, true)
}

// others adds what has no key of its own, and what is not sent.
func others(l option.List, o *netdrv.Options, ipv6 bool) option.List {
	for _, x := range o.Custom {
		l.Bytes(uint16(x.Code), []byte(x.Value))
	}
	for _, code := range o.Omitted(ipv6) {
		l.Omit(uint16(code))
	}
	return l
}

func routes4(routes []netdrv.OptionRoute) []v4.Route {
	var out []v4.Route
	for _, r := range routes {
		out = append(out, v4.Route{Destination: r.Destination, Via: r.Via})
	}
	return out
}

func tags(all []netdrv.Tag, options func(*netdrv.Options) option.List) []option.Tag {
	var out []option.Tag
	for i := range all {
		m := all[i].Match
		out = append(out, option.Tag{
			Name: all[i].Name, Options: options(&all[i].Options),
			Match: option.Match{VendorClass: m.VendorClass, UserClass: m.UserClass, Hostname: m.Hostname, MACPrefix: m.MACPrefix},
		})
	}
	return out
}

// advertised6 is what router advertisements carry of the options of IPv6 subnets,
// for those of guests that do not ask DHCPv6: the servers and domains of all
// subnets, each once, and the first captive portal.
func advertised6(n *netdrv.Network) (dns []netip.Addr, domains []string, portal string) {
	for i := range n.Subnets {
		s := &n.Subnets[i]
		if !s.IsIPv6() {
			continue
		}
		d, q := servers6(n), search(n)
		if s.DHCP != nil {
			o, omitted := &s.DHCP.Options, s.DHCP.Options.Omitted(true)
			d = told(o.DNSServers, d, omitted, v6.OptDNSServers)
			q = told(o.Search, q, omitted, v6.OptSearch)
			if portal == "" {
				portal = o.CaptivePortal
			}
		}
		dns, domains = union(dns, d), union(domains, q)
	}
	return dns, domains, portal
}

// told is what a subnet says, or else the network, of an option that may be
// omitted.
func told[T any](says, derived []T, omitted []int, code uint16) []T {
	switch {
	case slices.Contains(omitted, int(code)):
		return nil
	case len(says) > 0:
		return says
	}
	return derived
}

func union[T comparable](a, b []T) []T {
	for _, x := range b {
		if !slices.Contains(a, x) {
			a = append(a, x)
		}
	}
	return a
}
