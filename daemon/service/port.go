package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/netdrv"
)

// Port is a guest's interface with its state.
type Port = event.Port

// Ports returns the guests' interfaces of a network, or of all for "", sorted by network and
// link, without what only the bridges and the leases tell.
func (s *Service) Ports(network string) []Port {
	var out []Port
	for _, p := range s.Engine.Ports() {
		out = append(out, Port{
			Port: p.Port, Kind: string(p.Link.Kind), Index: p.Link.Index, Managed: true, Attached: p.Attached(), Up: p.Link.Carrier,
		})
	}
	for _, m := range s.Engine.Learned() {
		out = append(out, Port{
			Port: netdrv.Port{Network: m.Network, Link: m.Link, MAC: m.MAC}, Kind: m.Kind, Index: m.Index, Attached: m.Bridge != "",
		})
	}
	if network != "" {
		out = slices.DeleteFunc(out, func(p Port) bool { return p.Network != network })
	}
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Link, b.Link))
	})
	return out
}

// PortDetails returns Ports with the MACs that bridges have learned, names and addresses of
// leases, limits and counters.
func (s *Service) PortDetails(ctx context.Context, network string) ([]Port, error) {
	if _, err := s.entries(network); err != nil {
		return nil, err
	}
	seen, err := s.Kernel.LearnedMACs(ctx)
	if err != nil {
		return nil, failed("list ports", err)
	}
	ports := s.Ports(network)
	for i := range ports {
		p := &ports[i]
		// A port with several guests behind it, a trunk, has no MAC of its own.
		if macs := seen[p.Index]; p.MAC.IsZero() && len(macs) == 1 {
			p.MAC = macs[0]
		}
		s.setLimits(p)
		if p.MAC.IsZero() || p.Guest != "" && len(p.Addresses) > 0 {
			continue
		}
		declared := len(p.Addresses) > 0
		for _, l := range s.Leases.Leases(p.Network) {
			if l.MAC != lease.MAC(p.MAC) {
				continue
			}
			p.Guest = cmp.Or(p.Guest, l.Hostname)
			if !declared {
				p.Addresses = append(p.Addresses, l.Address)
			}
		}
	}
	return ports, s.ReadCounters(ctx, ports, nil)
}

// setLimits sets the limits of a port: its own, and its network's where it has none.
func (s *Service) setLimits(p *Port) {
	if e, ok := s.Store.Get(p.Network); ok && e.Live {
		p.Limits = p.Bandwidth.Or(e.Network.Bandwidth.PerPort)
	}
}

// StoredPorts returns the declared and transient ports of a network, or of all for "",
// sorted by network and link.
func (s *Service) StoredPorts(network string) []netdrv.Port {
	if network == "" {
		return s.Store.Ports()
	}
	return s.Store.PortsOf(network)
}

// refuseGuests returns why a network is not deleted while guests are attached.
func (s *Service) refuseGuests(network string) error {
	var links []string
	for _, p := range s.Ports(network) {
		if p.Attached || p.Managed {
			links = append(links, p.Link)
		}
	}
	if len(links) == 0 {
		return nil
	}
	return refuse(Precondition, "network %s has guests: %s; detach them, or delete it with --force", network, strings.Join(links, ", "))
}

// CreatePort declares a port, and makes its link. unread is what the protocol could not
// translate.
func (s *Service) CreatePort(ctx context.Context, p netdrv.Port, unread netdrv.Findings) (Port, error) {
	ctx, end := s.begin(ctx)
	defer end()
	entry, ok := s.Store.Get(p.Network)
	if !ok {
		return Port{}, s.missing(p.Network)
	}
	p.Transient, p.Holder, p.Granted = false, netdrv.Process{}, ""
	p, fs, err := s.completePort(ctx, p, &entry.Network)
	if err != nil {
		return Port{}, err
	}
	if fs = append(slices.Clip(unread), fs...); fs != nil {
		return Port{}, findingsError(Precondition, "port of network "+p.Network, fs)
	}
	if err := s.Engine.AddPort(ctx, p); err != nil {
		return Port{}, failed("create port "+p.Link+" of network "+p.Network, err)
	}
	return s.port(&p, "created")
}

// port returns a port that was just stored.
func (s *Service) port(p *netdrv.Port, done string) (Port, error) {
	for _, is := range s.Ports(p.Network) {
		if is.Link == p.Link {
			return is, nil
		}
	}
	return Port{}, refuse(Internal, "port %s was %s, and does not exist any more", p.Link, done)
}

// completePort sets what a new port leaves open, and returns what is wrong with it.
func (s *Service) completePort(ctx context.Context, p netdrv.Port, n *netdrv.Network) (netdrv.Port, netdrv.Findings, error) {
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return p, nil, failed("look at the host", err)
	}
	networks, others, broken := s.others(""), s.Store.Ports(), s.Store.BrokenPorts()
	bridges := bridgesOf(networks)
	taken := func(link string) bool { return host.Taken(link) || bridges[link] || broken[link] != nil }
	var random [3]byte
	_, _ = rand.Read(random[:])
	p = netdrv.CompletePort(p, n, others, taken, random)
	fs := portFindings(&p, n, networks, others, host)
	if bridges[p.Link] && p.Link != n.Bridge.Name {
		fs.Add("link", "%s is a bridge; choose another name", p.Link)
	}
	return p, fs, nil
}

func portFindings(p *netdrv.Port, n *netdrv.Network, networks []netdrv.Network, others []netdrv.Port, host netdrv.Host) netdrv.Findings {
	fs := append(netdrv.ValidatePort(p, n), netdrv.PortConflicts(p, n, others, host)...)
	return append(fs, netdrv.UnknownRemotes(&p.Filter, n, networks, append(others, *p))...)
}

// changeable are the fields of a port that are not part of how its link was made.
var changeable = []string{"guest", "addresses", "filter", "bandwidth"}

// UpdatePort sets fields of a declared port, by their names in definitions, to those of
// to; all that can be changed if none is named. changed reports whether any differed.
func (s *Service) UpdatePort(ctx context.Context, link string, fields []string, to netdrv.Port, unread netdrv.Findings) (_ Port, changed bool, err error) {
	ctx, end := s.begin(ctx)
	defer end()
	ports := s.Store.Ports()
	i := slices.IndexFunc(ports, func(p netdrv.Port) bool { return p.Link == link })
	switch {
	case i < 0:
		return Port{}, false, refuse(NotFound, "no declared port %s; `vnetctl port list` has them", link)
	case ports[i].Transient:
		return Port{}, false, refuse(Precondition, "port %s was made by the tap broker, and is removed with its guest; its network sets what applies to it (bandwidth.perPort)", link)
	}
	old := ports[i]
	others := slices.Delete(ports, i, i+1)
	entry, ok := s.Store.Get(old.Network)
	if !ok {
		return Port{}, false, s.missing(old.Network)
	}
	p := old
	if len(fields) == 0 {
		fields = changeable
	}
	var fs netdrv.Findings
	for _, name := range fields {
		switch name {
		case "guest":
			p.Guest = to.Guest
		case "addresses":
			p.Addresses = to.Addresses
		case "filter":
			p.Filter = to.Filter
		case "bandwidth":
			p.Bandwidth = to.Bandwidth
		default:
			fs.Add(name, "is part of how a port is made, or output only; those that change are %s", strings.Join(changeable, ", "))
		}
	}
	for _, f := range unread {
		if slices.ContainsFunc(fields, func(name string) bool { return strings.HasPrefix(f.Path, name) }) {
			fs = append(fs, f)
		}
	}
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return Port{}, false, failed("look at the host", err)
	}
	if fs = append(fs, portFindings(&p, &entry.Network, s.others(""), others, host)...); fs != nil {
		return Port{}, false, findingsError(Precondition, "port "+link+" of network "+old.Network, fs)
	}
	if changed = !reflect.DeepEqual(p, old); changed {
		if err := s.Engine.ChangePort(ctx, old, p); err != nil {
			return Port{}, false, failed("change port "+link+" of network "+p.Network, err)
		}
	}
	is, err := s.port(&p, "changed")
	s.setLimits(&is)
	return is, changed, err
}

// DeletePort deletes a declared or transient port, or detaches a link that vnetd did not make.
func (s *Service) DeletePort(ctx context.Context, link string) error {
	ctx, end := s.begin(ctx)
	defer end()
	for _, p := range s.Store.Ports() {
		if p.Link == link {
			return failed("delete port "+link, s.Engine.RemovePort(ctx, p))
		}
	}
	for _, m := range s.Engine.Learned() {
		if m.Link == link {
			return failed("detach "+link, s.Engine.Detach(ctx, m))
		}
	}
	return refuse(NotFound, "no port %s; `vnetctl port list` has them", link)
}

// OpenTransient makes a transient port, and returns it with the files of its queues: the
// kernel removes a tap when they are closed. vnetHeader is about a tap.
func (s *Service) OpenTransient(ctx context.Context, p netdrv.Port, vnetHeader bool) (netdrv.Port, []*os.File, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	entry, ok := s.Store.Get(p.Network)
	if !ok {
		return p, nil, s.missing(p.Network)
	}
	if !entry.Live {
		return p, nil, refuse(Precondition, "network %s is stopped", p.Network)
	}
	p.Transient = true
	p, fs, err := s.completePort(ctx, p, &entry.Network)
	if err != nil {
		return p, nil, err
	}
	if p.Granted != netdrv.GrantedAdmin {
		claimed, err := s.claimed(ctx, &p, &entry.Network)
		if err != nil {
			return p, nil, err
		}
		fs = append(fs, claimed...)
	}
	if fs != nil {
		return p, nil, &Error{Kind: Precondition, Message: fs.Error(), Findings: fs}
	}
	files, err := s.Engine.OpenNew(ctx, p, vnetHeader)
	return p, files, err
}

// OpenPort opens the queues of a port that has a link.
func (s *Service) OpenPort(ctx context.Context, p netdrv.Port) ([]*os.File, error) {
	return s.Engine.OpenPort(ctx, p)
}

// RemoveTransient removes the transient port of a process that has ended, and leaves a later one of
// the same name alone. It reports whether the port existed.
func (s *Service) RemoveTransient(ctx context.Context, p netdrv.Port) (bool, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	same := func(o netdrv.Port) bool { return o.Link == p.Link && o.Holder == p.Holder }
	if !slices.ContainsFunc(s.Store.PortsOf(p.Network), same) {
		return false, nil
	}
	return true, s.Engine.RemovePort(ctx, p)
}

// claimed finds what uses the MAC and the name that a user asks for. An administrator may
// take them over, as when a guest migrates.
func (s *Service) claimed(ctx context.Context, p *netdrv.Port, n *netdrv.Network) (fs netdrv.Findings, err error) {
	for _, l := range s.Leases.Leases(n.Name) {
		if netdrv.MAC(l.MAC) == p.MAC {
			fs.Add("mac", "%s is in use: it has a lease for %s; an administrator can end it (vnetctl lease release)", p.MAC, l.Address)
		}
		if p.Guest != "" && strings.EqualFold(p.Guest, l.Hostname) {
			fs.Add("guest", "%s is the name of the guest with the lease for %s", p.Guest, l.Address)
		}
	}
	for _, r := range n.DNS.Records {
		if p.Guest != "" && strings.EqualFold(p.Guest, strings.TrimSuffix(r.Name, "."+n.DNS.Domain+".")) {
			fs.Add("guest", "%s is the name of a DNS record of the network", p.Guest)
		}
	}
	if p.MAC.IsZero() {
		return fs, nil
	}
	if p.MAC == n.Bridge.MAC {
		fs.Add("mac", "%s is the MAC of the network's bridge", p.MAC)
	}
	links := map[int]string{} // on the network's bridge
	for _, m := range s.Engine.Members() {
		if m.Network == n.Name && m.Bridge != "" {
			links[m.Index] = m.Link
		}
	}
	for name, l := range s.Engine.Host().Links {
		if n.Bridge.Name != "" && l.Master == n.Bridge.Name {
			links[l.Index] = name
		}
		if l.MAC == p.MAC {
			fs.Add("mac", "%s is the MAC of %s of the host", p.MAC, name)
		}
	}
	seen, err := s.Kernel.LearnedMACs(ctx)
	for index, link := range links {
		if slices.Contains(seen[index], p.MAC) {
			fs.Add("mac", "%s is in use behind %s", p.MAC, link)
		}
	}
	return fs, err
}
