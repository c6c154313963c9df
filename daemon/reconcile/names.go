package reconcile

import (
	"fmt"
	"iter"
	"slices"

	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
)

// CheckNames finds what is wrong with a network's records. It takes the DNS
// server's own word for it: what passes here can be served.
func (e *Engine) CheckNames(n *netdrv.Network) netdrv.Findings {
	cfg, served := dnsConfig(n, e.Store.PortsOf(n.Name), e.Hostname)
	if !served {
		// The server is switched off, and what it would say is to be right.
		cfg = dnsd.Config{Domain: n.DNS.Domain, Records: records(n), Reverse: reverse(n)}
	}
	var fs netdrv.Findings
	for _, p := range zone.Check(cfg.Zone()) {
		path := fmt.Sprintf("dns.records[%d]", p.Record)
		if p.Field != "" {
			path += "." + p.Field
		}
		fs.Add(path, "%s", p.Why)
	}
	return fs
}

// Names returns what the DNS server of a network answers by itself, whether it
// runs or not; nil if it has none. Live are the names that leases have now.
func (e *Engine) Names(n *netdrv.Network, live iter.Seq[string]) ([]zone.Listed, error) {
	cfg, served := dnsConfig(n, e.Store.PortsOf(n.Name), e.Hostname)
	if !served {
		return nil, nil
	}
	cfg.Names = e.Leases.Names(n.Name)
	z, err := zone.New(cfg.Zone())
	if err != nil {
		return nil, err
	}
	return z.List(live), nil
}

// withPeers adds the networks whose names n's guests are told.
func (r *round) withPeers(cfg dnsd.Config, n *netdrv.Network) dnsd.Config {
	if len(n.DNS.Peers) == 0 {
		return cfg
	}
	for _, o := range peers(n, r.live) {
		peer, served := r.derive(&o).dnsConfig(r.Hostname)
		if !served {
			continue
		}
		peer.Names = r.Leases.Names(o.Name)
		cfg.Peers = append(cfg.Peers, peer)
	}
	return cfg
}

// peers are the networks that n names and may name.
func peers(n *netdrv.Network, networks []netdrv.Network) []netdrv.Network {
	var out []netdrv.Network
	for _, o := range networks {
		reach := firewall.Policy(firewall.PartyOf(*n), firewall.PartyOf(o)) == firewall.Yes
		if netdrv.MayName(n, &o, reach) {
			out = append(out, o)
		}
	}
	return out
}

// serveNamers gives those networks their names anew that name one of the round.
func (r *round) serveNamers() {
	about := map[string]bool{}
	for _, name := range r.gone {
		about[name] = true
	}
	for i := range r.scope {
		about[r.scope[i].Network.Name] = true
	}
	for i := range r.entries {
		e := &r.entries[i]
		named := slices.ContainsFunc(e.Network.DNS.Peers, func(p string) bool { return about[p] })
		if !named || !e.Live || r.about(e.Network.Name) {
			continue
		}
		if err := r.serveDNS(&e.Network); err != nil {
			r.log.Error("names of a peer not changed", "network", e.Network.Name, "err", err)
		}
	}
}
