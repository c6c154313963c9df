package reconcile

import (
	"context"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/proxy"
)

// published returns what the names of a network's forwards stand for now; ports have
// names, too.
func (e *Engine) published(n *netdrv.Network) func(f *netdrv.Forward) []netip.Addr {
	names, leased := e.derive(n).names(), e.leased(n)
	return func(f *netdrv.Forward) []netip.Addr {
		out, _ := names.Published(f, leased)
		return out
	}
}

func (e *Engine) leased(n *netdrv.Network) netdrv.Leased {
	return netdrv.Leased{
		Named: e.Leases.Names(n.Name).Addrs,
		Held:  func(m netdrv.MAC) []netip.Addr { return e.Leases.Held(n.Name, m) },
	}
}

// Targets returns where a forward of a network leads now; chosen is the name of a guest
// that chose it itself, if that is why it leads nowhere.
func (e *Engine) Targets(n *netdrv.Network, f *netdrv.Forward) (targets []netip.Addr, chosen string) {
	if targets = netdrv.Targets(n, f, e.published(n)); len(targets) == 0 && !f.Target().IsValid() {
		_, chosen = e.derive(n).names().Published(f, e.leased(n))
	}
	return targets, chosen
}

// ReservedMAC returns the MAC that is reserved for the address of a forward's guest.
func (e *Engine) ReservedMAC(n *netdrv.Network, f *netdrv.Forward, a netip.Addr) netdrv.MAC {
	return e.derive(n).names().MAC(f.Guest, a)
}

// resolved puts addresses in the place of guests' names.
func (e *Engine) resolved(networks []netdrv.Network) []netdrv.Network {
	publishes := func(n netdrv.Network) bool { return len(n.Forwards) > 0 }
	if !slices.ContainsFunc(networks, publishes) {
		return networks
	}
	out := slices.Clone(networks)
	for i := range out {
		if n := &networks[i]; publishes(*n) {
			out[i] = netdrv.Resolved(*n, e.published(n))
		}
	}
	return out
}

// LeaseChanged has a network looked at if a lease has moved one of its forwards.
func (e *Engine) LeaseChanged(network string) {
	entry, ok := e.Store.Get(network)
	if !ok || !entry.Live || len(entry.Network.Forwards) == 0 {
		return
	}
	now := netdrv.Resolved(entry.Network, e.published(&entry.Network)).Forwards
	e.mu.Lock()
	same := slices.EqualFunc(now, e.forwards[network], netdrv.Forward.Equal)
	e.mu.Unlock()
	if !same {
		e.enqueue([]string{network}, nil)
	}
}

// secure puts the rules in force, and ends connections through ports that lead
// elsewhere by now.
func (r *round) secure(ctx context.Context) error {
	networks := r.resolved(r.live)
	if err := r.enforce(ctx, networks); err != nil {
		return err
	}
	r.noteForwards(networks)
	doors := netdrv.Doors(networks)
	moved := netdrv.MovedDoors(r.doors, doors)
	if len(moved) == 0 {
		return nil
	}
	step := netdrv.FlowDel{Moved: moved}
	if err := r.Kernel.Apply(ctx, step); err != nil {
		// The rules stand; who is connected stays where he is for a while.
		r.log.Error("connections to published ports not ended", "err", err)
		return nil
	}
	r.log.Info("step applied", "step", step.String())
	r.doors = doors
	return nil
}

func (r *round) noteForwards(networks []netdrv.Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.forwards)
	for _, n := range networks {
		if n.Forwards != nil {
			r.forwards[n.Name] = n.Forwards
		}
	}
}

// serveForwards starts the proxies of a network's published ports.
func (r *round) serveForwards(n *netdrv.Network) error {
	cfg := proxyConfig(n, r.published(n))
	if len(cfg.Endpoints) == 0 {
		r.Proxy.Remove(n.Name)
		return nil
	}
	return r.Proxy.Set(cfg)
}

var (
	loopbacks = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	protocols = map[netdrv.Protocol]proxy.Protocol{netdrv.TCP: proxy.TCP, netdrv.UDP: proxy.UDP}
)

// proxyConfig translates a network's forwards for the proxy, which serves the
// loopback addresses, and guests that call themselves.
func proxyConfig(n *netdrv.Network, names func(*netdrv.Forward) []netip.Addr) proxy.Config {
	b := proxies{cfg: proxy.Config{Network: n.Name}, selves: map[self]int{}}
	for i := range n.Forwards {
		f := &n.Forwards[i]
		targets := netdrv.Targets(n, f, names)
		protocol, proxied := protocols[f.Listen.Protocol]
		if !proxied || len(targets) == 0 {
			continue
		}
		b.ports(f, protocol, targets, n)
	}
	return b.cfg
}

// proxies collects endpoints. Those for guests that call themselves are shared by
// forwards of one port.
type proxies struct {
	cfg    proxy.Config
	selves map[self]int // by index
}

type self struct {
	protocol proxy.Protocol
	at       netip.AddrPort
}

func (b *proxies) ports(f *netdrv.Forward, protocol proxy.Protocol, targets []netip.Addr, n *netdrv.Network) {
	for i := range f.Listen.Ports.Count() {
		port, to := f.Listen.Ports.Start+uint16(i), f.Ports.Start+uint16(i)
		var all []netip.AddrPort
		for _, a := range targets {
			all = append(all, netip.AddrPortFrom(a, to))
			resolved := *f
			resolved.Guest = a.String()
			if gateway, ok := firewall.SelfProxy(n, &resolved); ok {
				b.self(self{protocol, netip.AddrPortFrom(gateway, port)}, netip.AddrPortFrom(a, to))
			}
		}
		local := loopbacks
		if f.Address.IsValid() {
			local = slices.DeleteFunc([]netip.Addr{f.Address}, func(a netip.Addr) bool { return !a.IsLoopback() })
		}
		for _, a := range local {
			b.cfg.Endpoints = append(b.cfg.Endpoints, proxy.Endpoint{Protocol: protocol, Listen: netip.AddrPortFrom(a, port), Targets: all})
		}
	}
}

func (b *proxies) self(s self, target netip.AddrPort) {
	i, shared := b.selves[s]
	if !shared {
		i = len(b.cfg.Endpoints)
		b.selves[s] = i
		b.cfg.Endpoints = append(b.cfg.Endpoints, proxy.Endpoint{Protocol: s.protocol, Listen: s.at, Self: true})
	}
	e := &b.cfg.Endpoints[i]
	e.Targets = append(e.Targets, target)
}

// CheckForwards finds the published ports of a network that a program of the host
// has.
func (e *Engine) CheckForwards(n *netdrv.Network) (netdrv.Findings, error) {
	if len(n.Forwards) == 0 {
		return nil, nil
	}
	sockets, err := e.Kernel.Listeners(func(s netdrv.Socket) bool {
		return n.Publishes(s) && !e.Proxy.Serves(protocols[s.Protocol], s.Local)
	})
	return netdrv.SocketConflicts(n, sockets), err
}
