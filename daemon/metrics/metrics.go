package metrics

import (
	"context"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/cache"
	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/netdrv"
)

// Servers tell what guests have asked them; dhcpd's and dnsd's are such.
type Servers struct {
	DHCP interface {
		Counts() map[string][]dhcpd.Count
	}
	DNS interface {
		Counts() map[string]dnsd.Counts
		Upstreams() []forward.Counts
		Cache() cache.Size
	}
	Boot interface {
		Counts() map[string]files.Counts
	}
}

// Expose writes everything that there is to know now.
func Expose(ctx context.Context, s *service.Service, servers Servers) (string, error) {
	networks := s.Networks()
	ports := s.Ports("")
	if err := s.ReadCounters(ctx, ports, networks); err != nil {
		return "", err
	}
	var b text
	b.daemon(s.Status())
	b.networks(networks)
	var networkTraffic, portTraffic []passed
	for _, n := range networks {
		if n.Counters != nil {
			networkTraffic = append(networkTraffic, passed{[]string{"network", n.Name}, n.Counters})
		}
	}
	for _, p := range ports {
		if p.Counters != nil {
			portTraffic = append(portTraffic, passed{[]string{"network", p.Network, "port", p.Link}, p.Counters})
		}
	}
	b.traffic("network", "its guests on one side, and the host and beyond on the other", networkTraffic)
	b.traffic("port", "a guest's link", portTraffic)
	b.dhcp(servers.DHCP.Counts())
	b.dns(servers.DNS.Counts())
	b.upstreams(servers.DNS.Upstreams(), servers.DNS.Cache())
	b.boot(servers.Boot.Counts())
	b.bugs()
	return b.String(), nil
}

func (b *text) daemon(s service.Status) {
	t := s.Rounds
	b.family("vnetd_info", gauge, "The daemon's version.")
	b.sample("vnetd_info", 1, "version", s.Version)
	b.family("vnetd_start_time_seconds", gauge, "When the daemon started, in Unix time.")
	b.sample("vnetd_start_time_seconds", float64(s.Started.UnixMilli())/1000)
	b.family("vnetd_rounds_total", counter, "Rounds of the reconcile loop, over everything or over what was named.")
	b.sample("vnetd_rounds_total", float64(t.Full), "scope", "all")
	b.sample("vnetd_rounds_total", float64(t.Named), "scope", "named")
	b.family("vnetd_round_seconds_total", counter, "What rounds took.")
	b.sample("vnetd_round_seconds_total", t.Took.Seconds())
	b.family("vnetd_steps_total", counter, "Changes made to the host's links, addresses, routes and settings.")
	b.sample("vnetd_steps_total", float64(t.Steps))
	b.family("vnetd_repairs_total", counter, "External changes that were repaired.")
	b.sample("vnetd_repairs_total", float64(t.Repairs))
}

func (b *text) networks(networks []service.Network) {
	for _, f := range []struct {
		name, help string
		value      func(*service.Network) float64
	}{
		{"vnetd_network_live", "Whether the network is meant to run.", func(n *service.Network) float64 {
			return one(n.Status.Phase != event.Stopped)
		}},
		{"vnetd_network_degraded", "Whether something of the network does not stand.", func(n *service.Network) float64 {
			return one(n.Status.Phase == event.Degraded)
		}},
		{"vnetd_network_leases", "Leases in force.", func(n *service.Network) float64 { return float64(n.Leases) }},
		{"vnetd_network_ports", "Guests' links.", func(n *service.Network) float64 { return float64(n.Ports) }},
	} {
		b.family(f.name, gauge, f.help)
		for i := range networks {
			b.sample(f.name, f.value(&networks[i]), "network", networks[i].Name, "mode", networks[i].Mode.String())
		}
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// passed is what has passed something that has labels.
type passed struct {
	labels []string
	*netdrv.Counters
}

func (b *text) traffic(noun, between string, all []passed) {
	for _, f := range []struct {
		name, help string
		value      func(*netdrv.Counters) uint64
	}{
		{"receive_bytes", "Bytes that guests received", func(c *netdrv.Counters) uint64 { return c.RxBytes }},
		{"receive_packets", "Frames that guests received", func(c *netdrv.Counters) uint64 { return c.RxPackets }},
		{"receive_drops", "Frames that guests were to receive and did not", func(c *netdrv.Counters) uint64 { return c.RxDrops }},
		{"transmit_bytes", "Bytes that guests sent", func(c *netdrv.Counters) uint64 { return c.TxBytes }},
		{"transmit_packets", "Frames that guests sent", func(c *netdrv.Counters) uint64 { return c.TxPackets }},
		{"transmit_drops", "Frames that guests sent and that went no further", func(c *netdrv.Counters) uint64 { return c.TxDrops }},
	} {
		name := "vnetd_" + noun + "_" + f.name + "_total"
		b.family(name, counter, f.help+": "+between+".")
		for _, p := range all {
			b.sample(name, float64(f.value(p.Counters)), p.labels...)
		}
	}
}
