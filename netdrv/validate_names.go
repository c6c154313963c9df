package netdrv

import "strings"

// maxPeers is how many peers a network may have.
const maxPeers = 64

// validateNames is about records and peers. What a record says is read by who
// serves it: the DNS server knows all types, and this package none.
func validateNames(fs *Findings, n *Network) {
	served := n.Mode.OwnsBridge() && len(n.Subnets) > 0
	if len(n.DNS.Records) > 0 && !served {
		fs.Add("dns.records", "would not be served: vnetd has no address on this network, and so no DNS server")
	}
	if len(n.DNS.Peers) > 0 && !served {
		fs.Add("dns.peers", "would not be served: vnetd has no address on this network, and so no DNS server")
	}
	if len(n.DNS.Peers) > maxPeers {
		fs.Add("dns.peers", "are %d networks; at most %d can be named", len(n.DNS.Peers), maxPeers)
		return
	}
	seen := map[string]int{}
	for i, p := range n.DNS.Peers {
		at := index("dns.peers", i)
		switch {
		case !nameRE.MatchString(p):
			fs.Add(at, "%q is not the name of a network", p)
		case p == n.Name:
			fs.Add(at, "%s is this network itself; its names are served anyway", p)
		}
		once(fs, at, "dns.peers", seen, p, i)
	}
}

// domainConflicts: of two zones of one name, a server can answer for one.
func domainConflicts(fs *Findings, n, o *Network) {
	if !strings.EqualFold(n.DNS.Domain, o.DNS.Domain) || n.DNS.Domain == "" {
		return
	}
	switch {
	case n.lists(o):
		fs.Add("dns.domain", "%s is the domain of its peer %s, too, and would hide the names there; give one of them another", n.DNS.Domain, o.Name)
	case o.lists(n):
		fs.Add("dns.domain", "%s is the domain of network %s, too, which names this one as its peer; give one of them another", n.DNS.Domain, o.Name)
	}
}
