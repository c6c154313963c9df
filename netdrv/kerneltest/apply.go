package kerneltest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Apply is the real kernel's.
func (k *Kernel) Apply(_ context.Context, s netdrv.Step) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	if k.Fail != nil {
		err = k.Fail(s)
	}
	if err == nil {
		err = k.apply(s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	k.steps = append(k.steps, s.String())
	k.wake("")
	return nil
}

func (k *Kernel) apply(s netdrv.Step) error {
	switch s := s.(type) {
	case netdrv.LinkAdd:
		return k.linkAdd(s.Link)
	case netdrv.LinkSet:
		return k.linkSet(s)
	case netdrv.LinkUp:
		return k.setUp(s.Name, true)
	case netdrv.LinkDown:
		return k.setUp(s.Name, false)
	case netdrv.LinkDel:
		l, err := k.ours(s.Name)
		if l != nil {
			k.deleteLink(s.Name)
		}
		return unless(err, unix.ENODEV)
	case netdrv.AddrAdd:
		return k.addrAdd(s.Addr)
	case netdrv.AddrDel:
		_, err := k.ours(s.Addr.Link)
		k.addrs = slices.DeleteFunc(k.addrs, func(a netdrv.Addr) bool { return a.Link == s.Addr.Link && a.Prefix == s.Addr.Prefix })
		return unless(err, unix.ENODEV)
	case netdrv.RouteAdd:
		return k.routeAdd(s.Route)
	case netdrv.RouteDel:
		_, err := k.ours(s.Route.Link)
		k.routes = slices.DeleteFunc(k.routes, func(r netdrv.LinkRoute) bool { return sameRoute(r, s.Route) })
		return unless(err, unix.ENODEV)
	case netdrv.MemberAdd:
		return k.member(s.Member, func(l *link) { l.Master, l.isolated = s.Member.Bridge, false })
	case netdrv.MemberSet:
		return k.member(s.Member, func(l *link) {
			if l.Master == s.Member.Bridge {
				l.isolated = s.Member.Isolated
			}
		})
	case netdrv.MemberDel:
		if l := k.byIndex(s.Member.Index); l != nil && k.links[l.Master] != nil && k.links[l.Master].ours {
			l.Master, l.isolated, l.learned = "", false, nil
		}
		return nil
	case netdrv.QueueSet:
		if k.links[s.Queue.Link] == nil {
			return unix.ENODEV
		}
		s.Queue.Network = ""
		k.queues[s.Queue.Link] = s.Queue
		return nil
	case netdrv.QueueDel:
		delete(k.queues, s.Link)
		return nil
	case netdrv.RedirectAdd:
		r := s.Redirect
		if k.links[r.Link] == nil || k.links[r.To] == nil || r.Default != "" && k.links[r.Default] == nil {
			return unix.ENODEV
		}
		r.Network = ""
		k.redirects[r.Link] = r
		return nil
	case netdrv.RedirectDel:
		delete(k.redirects, s.Link)
		return nil
	case netdrv.SysctlSet:
		if s.Sysctl.Link != "" && k.links[s.Sysctl.Link] == nil {
			return unix.ENOENT
		}
		k.setSysctl(s.Sysctl.Key, s.Sysctl.Value)
		return nil
	case netdrv.FlowDel:
		return nil
	case netdrv.PlaceholderDel:
		k.host.StalePlaceholders = slices.DeleteFunc(k.host.StalePlaceholders, func(r netdrv.LinkRoute) bool { return sameRoute(r, s.Route) })
		return nil
	}
	return k.applyUplink(s)
}

// applyUplink is apply for steps of bridges on uplinks.
func (k *Kernel) applyUplink(s netdrv.Step) error {
	switch s := s.(type) {
	case netdrv.UplinkAdd:
		l, err := k.links[s.Uplink], error(nil)
		if l == nil {
			return unix.ENODEV
		}
		if _, err = k.ours(s.Bridge); err == nil {
			l.Master, l.Up = s.Bridge, true
			k.changes++
		}
		return err
	case netdrv.UplinkUp:
		if l := k.links[s.Uplink]; l != nil {
			l.Up = true
			k.changes++
		}
		return nil
	case netdrv.UplinkDel:
		if l := k.links[s.Uplink]; l != nil && l.Master == s.Bridge {
			l.Master = ""
			k.changes++
		}
		return nil
	case netdrv.ObjectAdd:
		if k.links[s.To] == nil {
			return unix.ENODEV
		}
		o := s.Object
		o.RawLink, o.Link = cmp.Or(o.RawLink, o.Link), s.To
		if !slices.ContainsFunc(k.objects, func(h netdrv.HostObject) bool { return h.Link == o.Link && h.Kind == o.Kind && h.Key == o.Key }) {
			k.objects = append(k.objects, o)
		}
		return nil
	case netdrv.ObjectDel:
		k.objects = slices.DeleteFunc(k.objects, func(h netdrv.HostObject) bool {
			return h.Link == s.Object.Link && h.Kind == s.Object.Kind && h.Key == s.Object.Key
		})
		return nil
	}
	panic(fmt.Sprintf("kerneltest: unknown step %T", s))
}

// unless returns an error, but for one that means that nothing is to be done.
func unless(err, fine error) error {
	if err == fine {
		return nil
	}
	return err
}

func (k *Kernel) linkAdd(l netdrv.Link) error {
	if have := k.links[l.Name]; have != nil {
		if _, err := k.ours(l.Name); err != nil {
			return err
		}
		if have.Network != l.Network && have.Network != "" {
			return fmt.Errorf("%s exists already and belongs to network %s", l.Name, have.Network)
		}
		return nil
	}
	if l.Parent != "" && k.links[l.Parent] == nil {
		return fmt.Errorf("uplink %s: Link not found", l.Parent)
	}
	k.next++
	l.Index, l.Up, l.Master, l.Carrier, l.MTU = k.next, false, "", false, cmp.Or(l.MTU, 1500)
	if l.MAC.IsZero() {
		l.MAC = netdrv.MAC{2, 0, 0, byte(k.next >> 16), byte(k.next >> 8), byte(k.next)}
	}
	l.Persist = l.Kind == netdrv.KindTap
	k.links[l.Name] = &link{Link: l, ours: true}
	for _, s := range settings {
		k.sysctls[setting(s[0], l.Name)] = s[1]
	}
	k.sysctls["net/ipv4/conf/"+l.Name+"/forwarding"] = k.sysctls["net/ipv4/ip_forward"]
	k.sysctls["net/ipv6/conf/"+l.Name+"/forwarding"] = k.sysctls["net/ipv6/conf/all/forwarding"]
	return nil
}

func (k *Kernel) linkSet(s netdrv.LinkSet) error {
	l, err := k.ours(s.Link.Name)
	if err != nil {
		return err
	}
	if s.Link.Master != s.Have.Master && s.Link.Master != "" && k.links[s.Link.Master] == nil {
		return fmt.Errorf("bridge %s: Link not found", s.Link.Master)
	}
	l.MAC, l.MTU, l.FDBMaxLearned, l.Network, l.Uplinks = s.Link.MAC, s.Link.MTU, s.Link.FDBMaxLearned, s.Link.Network, s.Link.Uplinks
	if s.Link.Master != s.Have.Master {
		l.Master, l.isolated = s.Link.Master, false
	}
	return nil
}

// setSysctl sets a setting. Forwarding of the host is that of all its links, too.
func (k *Kernel) setSysctl(key, value string) {
	k.sysctls[key] = value
	for all, conf := range map[string]string{"net/ipv4/ip_forward": "net/ipv4/conf/", "net/ipv6/conf/all/forwarding": "net/ipv6/conf/"} {
		for name := range k.links {
			if key == all {
				k.sysctls[conf+name+"/forwarding"] = value
			}
		}
	}
}

// setUp brings a link of ours up or down; one that is down has no routes and no IPv6
// addresses.
func (k *Kernel) setUp(name string, up bool) error {
	l, err := k.ours(name)
	if err != nil {
		return err
	}
	if l.Up = up; !up {
		k.routes = slices.DeleteFunc(k.routes, func(r netdrv.LinkRoute) bool { return r.Link == name })
		k.addrs = slices.DeleteFunc(k.addrs, func(a netdrv.Addr) bool { return a.Link == name && a.Prefix.Addr().Is6() })
	}
	return nil
}

// deleteLink deletes a link and everything on it. Ports of a bridge stay.
func (k *Kernel) deleteLink(name string) {
	if l := k.links[name]; l != nil {
		delete(k.stored, l.Index)
	}
	delete(k.links, name)
	delete(k.queues, name)
	maps.DeleteFunc(k.redirects, func(link string, r netdrv.Redirect) bool { return link == name || r.To == name })
	k.addrs = slices.DeleteFunc(k.addrs, func(a netdrv.Addr) bool { return a.Link == name })
	k.routes = slices.DeleteFunc(k.routes, func(r netdrv.LinkRoute) bool { return r.Link == name })
	k.objects = slices.DeleteFunc(k.objects, func(o netdrv.HostObject) bool { return o.Link == name })
	for _, s := range settings {
		delete(k.sysctls, setting(s[0], name))
	}
	for _, l := range k.links {
		if l.Master == name {
			l.Master, l.isolated, l.learned = "", false, nil
		}
	}
}

func (k *Kernel) addrAdd(a netdrv.Addr) error {
	if _, err := k.ours(a.Link); err != nil {
		return err
	}
	if a.Prefix.Addr().Is6() && k.sysctls["net/ipv6/conf/"+a.Link+"/disable_ipv6"] == "1" {
		return unix.EACCES
	}
	if a.Network = ""; !slices.Contains(k.addrs, a) {
		k.addrs = append(k.addrs, a)
	}
	return nil
}

// routeAdd needs a link that is up and, for a gateway, an address in its subnet.
func (k *Kernel) routeAdd(r netdrv.LinkRoute) error {
	l, err := k.ours(r.Link)
	switch {
	case err != nil:
		return err
	case !l.Up && !r.Via.IsValid():
		return unix.ENETDOWN
	case r.Via.IsValid() && (!l.Up || !slices.ContainsFunc(k.addrs, func(a netdrv.Addr) bool { return a.Link == r.Link && a.Prefix.Contains(r.Via) })):
		if r.Via.Is6() {
			return unix.EHOSTUNREACH
		}
		return unix.ENETUNREACH
	}
	if !slices.ContainsFunc(k.routes, func(o netdrv.LinkRoute) bool { return sameRoute(o, r) }) {
		k.routes = append(k.routes, r)
	}
	return nil
}

func sameRoute(a, b netdrv.LinkRoute) bool {
	a.Network = b.Network
	return a == b
}

// member changes a guest's link, which may be gone, as a port of a bridge of ours.
func (k *Kernel) member(m netdrv.Member, change func(*link)) error {
	l := k.byIndex(m.Index)
	if l == nil {
		return nil
	}
	if _, err := k.ours(m.Bridge); err != nil {
		return err
	}
	was := l.Master
	change(l)
	if l.Master != was {
		send(k.fdb, l.Master)
	}
	return nil
}
