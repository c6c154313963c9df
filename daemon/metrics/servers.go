package metrics

import (
	"maps"
	"slices"
	"strconv"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/cache"
	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/internal/limit"
)

// sorted calls f for each network, by name.
func sorted[V any](all map[string]V, f func(network string, v V)) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f(name, all[name])
	}
}

func (b *text) dhcp(all map[string][]dhcpd.Count) {
	const name = "vnetd_dhcp_messages_total"
	b.family(name, counter, "Messages of DHCP clients, what was replied (none: silence), and why.")
	sorted(all, func(network string, counts []dhcpd.Count) {
		for _, c := range counts {
			b.sample(name, float64(c.Times), "network", network, "family", "ipv"+strconv.Itoa(c.Family), "message", c.Message, "reply", c.Reply, "reason", c.Why)
		}
	})
}

func (b *text) dns(all map[string]dnsd.Counts) {
	b.family("vnetd_dns_queries_total", counter, "Queries of DNS clients, by outcome.")
	sorted(all, func(network string, c dnsd.Counts) {
		for o, n := range c.Queries {
			b.sample("vnetd_dns_queries_total", float64(n), "network", network, "outcome", dnsd.Outcome(o).String())
		}
	})
	b.family("vnetd_dns_replies_total", counter, "Replies to DNS clients, by response code.")
	sorted(all, func(network string, c dnsd.Counts) {
		for code, n := range c.Replies {
			if n > 0 {
				b.sample("vnetd_dns_replies_total", float64(n), "network", network, "code", dnsd.CodeText(code))
			}
		}
	})
}

func (b *text) boot(all map[string]files.Counts) {
	const name = "vnetd_boot_requests_total"
	b.family(name, counter, "Requests for boot files, by protocol and outcome.")
	sorted(all, func(network string, c files.Counts) {
		for o := range c.TFTP {
			outcome := files.Outcome(o).String()
			b.sample(name, float64(c.TFTP[o]), "network", network, "protocol", "tftp", "outcome", outcome)
			b.sample(name, float64(c.HTTP[o]), "network", network, "protocol", "http", "outcome", outcome)
		}
	})
}

// bugs are what no guest should be able to cause, and what guests say too often.
func (b *text) bugs() {
	b.family("vnetd_panics_total", counter, "Panics that were recovered, by the component that handled the packet or call.")
	all := limit.Panics()
	for _, c := range slices.Sorted(maps.Keys(all)) {
		b.sample("vnetd_panics_total", float64(all[c]), "component", string(c))
	}
	b.family("vnetd_log_suppressed_total", counter, "Log messages that were counted and not written, because there were too many of their kind.")
	b.sample("vnetd_log_suppressed_total", float64(limit.Suppressed()))
}

// upstreams are what all networks share.
func (b *text) upstreams(all []forward.Counts, held cache.Size) {
	for _, f := range []struct {
		name string
		k    kind
		help string
		of   func(forward.Counts) float64
	}{
		{"queries_total", counter, "Queries to an upstream name server.", func(c forward.Counts) float64 { return float64(c.Asked) }},
		{"replies_total", counter, "Replies of an upstream name server.", func(c forward.Counts) float64 { return float64(c.Replied) }},
		{"failures_total", counter, "Queries to an upstream name server that timed out or failed.", func(c forward.Counts) float64 { return float64(c.Failed) }},
		{"up", gauge, "1 if an upstream name server responds, 0 if it is marked down and asked last.", func(c forward.Counts) float64 { return one(c.Up) }},
	} {
		b.family("vnetd_dns_upstream_"+f.name, f.k, f.help)
		for _, c := range all {
			b.sample("vnetd_dns_upstream_"+f.name, f.of(c), "upstream", c.Upstream)
		}
	}
	b.family("vnetd_dns_cache_entries", gauge, "Entries in the DNS cache of all networks.")
	b.sample("vnetd_dns_cache_entries", float64(held.Entries))
	b.family("vnetd_dns_cache_bytes", gauge, "Approximate size of the DNS cache of all networks in bytes.")
	b.sample("vnetd_dns_cache_bytes", float64(held.Bytes))
}
