package metrics

import (
	"context"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/reconcile"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/cache"
	"github.com/vnetd/vnetd/dnsd/forward"
)

// A Source is asked at every scrape; daemon/rpc's Server is one.
type Source interface {
	GetStatus(context.Context, *vnetv1.GetStatusRequest) (*vnetv1.GetStatusResponse, error)
	ListNetworks(context.Context, *vnetv1.ListNetworksRequest) (*vnetv1.ListNetworksResponse, error)
	ListPorts(context.Context, *vnetv1.ListPortsRequest) (*vnetv1.ListPortsResponse, error)
}

// A Loop tells what the reconcile loop has done.
type Loop interface{ Tally() reconcile.Tally }

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
func Expose(ctx context.Context, s Source, l Loop, servers Servers) (string, error) {
	status, err := s.GetStatus(ctx, &vnetv1.GetStatusRequest{})
	if err != nil {
		return "", err
	}
	networks, err := s.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
	if err != nil {
		return "", err
	}
	ports, err := s.ListPorts(ctx, &vnetv1.ListPortsRequest{})
	if err != nil {
		return "", err
	}
	var b text
	b.daemon(status, l.Tally())
	b.networks(networks.GetNetworks())
	b.traffic("network", "its guests on one side, and the host and beyond on the other", networkTraffic(networks.GetNetworks()))
	b.traffic("port", "a guest's link", portTraffic(ports.GetPorts()))
	b.dhcp(servers.DHCP.Counts())
	b.dns(servers.DNS.Counts())
	b.upstreams(servers.DNS.Upstreams(), servers.DNS.Cache())
	b.boot(servers.Boot.Counts())
	b.bugs()
	return b.String(), nil
}

func (b *text) daemon(s *vnetv1.GetStatusResponse, t reconcile.Tally) {
	b.family("vnetd_info", gauge, "The daemon's version.")
	b.sample("vnetd_info", 1, "version", s.GetVersion())
	b.family("vnetd_start_time_seconds", gauge, "When the daemon started, in Unix time.")
	b.sample("vnetd_start_time_seconds", float64(s.GetStartTime().AsTime().UnixMilli())/1000)
	b.family("vnetd_rounds_total", counter, "Rounds of the reconcile loop, over everything or over what was named.")
	b.sample("vnetd_rounds_total", float64(t.Full), "scope", "all")
	b.sample("vnetd_rounds_total", float64(t.Named), "scope", "named")
	b.family("vnetd_round_seconds_total", counter, "What rounds took.")
	b.sample("vnetd_round_seconds_total", t.Took.Seconds())
	b.family("vnetd_steps_total", counter, "Changes made to the host's links, addresses, routes and settings.")
	b.sample("vnetd_steps_total", float64(t.Steps))
	b.family("vnetd_repairs_total", counter, "What others had changed and was mended.")
	b.sample("vnetd_repairs_total", float64(t.Repairs))
}

func (b *text) networks(networks []*vnetv1.Network) {
	for _, f := range []struct {
		name, help string
		value      func(*vnetv1.Network) float64
	}{
		{"vnetd_network_live", "Whether the network is meant to run.", func(n *vnetv1.Network) float64 {
			return one(n.GetStatus().GetPhase() != vnetv1.Phase_PHASE_STOPPED)
		}},
		{"vnetd_network_degraded", "Whether something of the network does not stand.", func(n *vnetv1.Network) float64 {
			return one(n.GetStatus().GetPhase() == vnetv1.Phase_PHASE_DEGRADED)
		}},
		{"vnetd_network_leases", "Leases in force.", func(n *vnetv1.Network) float64 { return float64(n.GetStatus().GetLeases()) }},
		{"vnetd_network_ports", "Guests' links.", func(n *vnetv1.Network) float64 { return float64(n.GetStatus().GetPorts()) }},
	} {
		b.family(f.name, gauge, f.help)
		for _, n := range networks {
			b.sample(f.name, f.value(n), "network", n.GetName(), "mode", definition.Word(n.GetMode()))
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
	*vnetv1.Counters
}

func networkTraffic(networks []*vnetv1.Network) []passed {
	var out []passed
	for _, n := range networks {
		if c := n.GetStatus().GetCounters(); c != nil {
			out = append(out, passed{[]string{"network", n.GetName()}, c})
		}
	}
	return out
}

func portTraffic(ports []*vnetv1.Port) []passed {
	var out []passed
	for _, p := range ports {
		if c := p.GetCounters(); c != nil {
			out = append(out, passed{[]string{"network", p.GetNetwork(), "port", p.GetLink()}, c})
		}
	}
	return out
}

func (b *text) traffic(noun, between string, all []passed) {
	for _, f := range []struct {
		name, help string
		value      func(*vnetv1.Counters) uint64
	}{
		{"receive_bytes", "Bytes that guests received", (*vnetv1.Counters).GetRxBytes},
		{"receive_packets", "Frames that guests received", (*vnetv1.Counters).GetRxPackets},
		{"receive_drops", "Frames that guests were to receive and did not", (*vnetv1.Counters).GetRxDrops},
		{"transmit_bytes", "Bytes that guests sent", (*vnetv1.Counters).GetTxBytes},
		{"transmit_packets", "Frames that guests sent", (*vnetv1.Counters).GetTxPackets},
		{"transmit_drops", "Frames that guests sent and that went no further", (*vnetv1.Counters).GetTxDrops},
	} {
		name := "vnetd_" + noun + "_" + f.name + "_total"
		b.family(name, counter, f.help+": "+between+".")
		for _, p := range all {
			b.sample(name, float64(f.value(p.Counters)), p.labels...)
		}
	}
}
