package kerneltest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// Observe is the real kernel's.
func (k *Kernel) Observe(context.Context) (netdrv.State, netdrv.Host, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	host := k.host
	host.Links, host.AltNames, host.AcceptRA, host.Defaults = map[string]netdrv.HostLink{}, maps.Clone(host.AltNames), map[string]int{}, maps.Clone(host.Defaults)
	host.Prefixes, host.DefaultLinks, host.StalePlaceholders = slices.Clone(host.Prefixes), slices.Clone(host.DefaultLinks), slices.Clone(host.StalePlaceholders)
	for name, l := range k.links {
		if !l.ours {
			h := l.host
			h.Master, h.Up, h.MTU, h.MAC = l.Master, l.Up, l.MTU, l.MAC
			host.Links[name] = h
		}
		if (!l.ours || l.Uplinks != "") && l.Master == "" && l.host.Kind != "loopback" {
			if value := k.sysctls["net/ipv6/conf/"+name+"/accept_ra"]; value != "" {
				host.AcceptRA[name] = int(value[0] - '0')
			}
		}
	}
	return k.state(func(*link) bool { return true }), host, nil
}

// ObserveLinks is the real kernel's.
func (k *Kernel) ObserveLinks(_ context.Context, names []string, members []int) (netdrv.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	in := func(l *link) bool {
		return slices.Contains(names, l.Name) || l.Master != "" && slices.Contains(names, l.Master) || slices.Contains(members, l.Index)
	}
	ifbs := map[string]bool{}
	for _, l := range k.links {
		if in(l) {
			ifbs[netdrv.IfbName(l.Name)] = true
		}
	}
	return k.state(func(l *link) bool { return in(l) || l.Kind == netdrv.KindIfb && ifbs[l.Name] }), nil
}

// state returns what is ours of some links.
func (k *Kernel) state(in func(*link) bool) netdrv.State {
	var s netdrv.State
	for _, l := range k.sorted() {
		if !in(l) {
			continue
		}
		master := l.Master
		if master != "" && !in(k.links[master]) {
			master = "/" // what the real kernel returns for a link that was not asked for
		}
		if l.ours {
			out := l.Link
			out.Queues, out.Master = 0, ""
			if l.Kind == netdrv.KindTap {
				out.Master = master
			}
			s.Links = append(s.Links, out)
		}
		if l.Kind == netdrv.KindTap || l.Kind == "veth" {
			s.Members = append(s.Members, netdrv.Member{Link: l.Name, Index: l.Index, Kind: string(l.Kind), Bridge: master, Isolated: l.isolated})
		}
		if q, ok := k.queues[l.Name]; ok {
			s.Queues = append(s.Queues, q)
		}
		if r, ok := k.redirects[l.Name]; ok {
			s.Redirects = append(s.Redirects, r)
		}
	}
	slices.SortFunc(s.Links, func(a, b netdrv.Link) int { return strings.Compare(a.Name, b.Name) })
	for _, a := range k.addrs {
		if l := k.links[a.Link]; in(l) {
			a.Network = l.Network
			s.Addrs = append(s.Addrs, a)
		}
	}
	for _, r := range k.routes {
		if l := k.links[r.Link]; in(l) {
			r.Network = l.Network
			s.Routes = append(s.Routes, r)
		}
	}
	for _, l := range s.Links {
		for _, set := range settings {
			if key := setting(set[0], l.Name); l.Kind == netdrv.KindBridge {
				s.Sysctls = append(s.Sysctls, netdrv.Sysctl{Network: l.Network, Link: l.Name, Key: key, Value: k.sysctls[key]})
			}
		}
	}
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		s.Sysctls = append(s.Sysctls, netdrv.Sysctl{Key: key, Value: k.sysctls[key]})
	}
	return s
}

// ObserveUplinks is the real kernel's.
func (k *Kernel) ObserveUplinks(_ context.Context, names []string) (netdrv.UplinkSnapshot, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := netdrv.UplinkSnapshot{Links: map[string]netdrv.SnapshotLink{}, Forwarding: k.sysctls["net/ipv6/conf/all/forwarding"] == "1"}
	for i := 0; i < len(names); i++ {
		l := k.links[names[i]]
		if _, known := s.Links[names[i]]; l == nil || known {
			continue
		}
		s.Links[l.Name] = netdrv.SnapshotLink{Index: l.Index, Kind: string(l.Kind), Master: l.Master, MAC: l.MAC, MTU: l.MTU, Up: l.Up, Ours: l.ours, Network: l.Network, Uplinks: l.Uplinks}
		names = append(slices.Clip(names), strings.Fields(l.Uplinks)...)
	}
	for _, o := range k.objects {
		if _, ok := s.Links[o.Link]; ok {
			s.Objects = append(s.Objects, o)
		}
	}
	return s, nil
}
