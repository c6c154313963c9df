package reconcile

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

const (
	// newsEvery is how often what bridges learn may change rules: a storm of MACs
	// costs little.
	newsEvery = 5 * time.Millisecond
	// admitWithin is how long a lease may wait for its rules.
	admitWithin = 200 * time.Millisecond
)

// GuestNews is a wake-up: a lease came or went, or a bridge has learned a MAC.
func (e *Engine) GuestNews() {
	select {
	case e.news <- nil:
	default:
	}
}

// bridgeNews is a wake-up. A guest that joins a network with a filter cannot wait
// for a full look: nobody hears it until its port is known.
func (e *Engine) bridgeNews(bridge string) {
	if bridge == "" {
		e.GuestNews()
		return
	}
	e.rules.Lock()
	defer e.rules.Unlock()
	for i := range e.ruled {
		if n := &e.ruled[i]; n.Bridge.Name == bridge && e.asksOfPorts(n) {
			e.enqueue([]string{n.Name}, nil)
		}
	}
}

// Admit returns when the rules let guests through with the leases that they have
// now, or after a time in which they should: a guest that hears of its lease then
// loses no packet.
func (e *Engine) Admit() {
	if !e.asks.Load() {
		return
	}
	done, late := make(chan struct{}), time.After(admitWithin)
	select {
	case e.news <- done:
	case <-late:
		return
	}
	select {
	case <-done:
	case <-late:
	}
}

// followGuests keeps what guests may say up with what is known of them, without a
// round: nothing is looked at but what was learned, and a few elements change.
func (e *Engine) followGuests(ctx context.Context) {
	for {
		var done chan struct{}
		select {
		case <-ctx.Done():
			return
		case done = <-e.news:
		}
		if err := e.followOnce(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("rules do not follow a guest; the next round will", "err", err)
			e.Notice()
		}
		if done != nil {
			close(done)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(newsEvery):
		}
	}
}

func (e *Engine) followOnce(ctx context.Context) (err error) {
	defer limit.RecoverAs(e.log, limit.Guests, &err)
	e.rules.Lock()
	defer e.rules.Unlock()
	if !e.asks.Load() {
		return nil
	}
	if err := e.hear(ctx, e.ruled); err != nil {
		return err
	}
	return e.applyRules(ctx)
}

// asksOfPorts reports whether there are rules about a network's ports.
func (e *Engine) asksOfPorts(n *netdrv.Network) bool {
	return n.Mode == netdrv.ExistingBridge || n.Filter.Asks() || slices.ContainsFunc(e.Store.PortsOf(n.Name), func(p netdrv.Port) bool { return p.Filter.Asks() })
}

// asksWho reports whether it matters who is behind a network's ports.
func (e *Engine) asksWho(n netdrv.Network) bool { return e.asksOfPorts(&n) || n.TellsGuestsApart() }

// enforce puts the rules of networks into force.
func (e *Engine) enforce(ctx context.Context, networks []netdrv.Network) error {
	e.rules.Lock()
	defer e.rules.Unlock()
	closed, leave, err := e.closed(ctx, networks)
	if err != nil || leave {
		return err
	}
	networks = slices.Concat(networks, closed)
	if err := e.hear(ctx, networks); err != nil {
		return err
	}
	want := firewall.Compile(networks, e.filtered(networks)...)
	if err := e.Firewall.Apply(ctx, want.UnderPressure(networks, e.pressure)); err != nil {
		return err
	}
	e.ruled, e.ruleset, e.enforced = networks, want, true
	e.asks.Store(slices.ContainsFunc(networks, e.asksWho))
	e.tracks.Store(slices.ContainsFunc(networks, func(n netdrv.Network) bool { return firewall.Tracked(&n) }))
	return nil
}

// hear asks the bridges who is behind ports of which that is neither declared nor
// known.
func (e *Engine) hear(ctx context.Context, networks []netdrv.Network) error {
	members := e.Members()
	now := netdrv.Declared(members, e.Store.Ports())
	if who := netdrv.Unheard(now, networks, e.Store.Ports()); len(who) > 0 {
		heard, err := e.Kernel.Heard(ctx)
		if err != nil {
			return err
		}
		known := func(network string, m netdrv.MAC) bool { return len(e.Leases.Held(network, m)) > 0 }
		now = netdrv.Introduce(now, who, heard, networks, known)
	}
	if slices.Equal(members, now) {
		return nil
	}
	return e.introduced(now)
}

// introduced notes the MACs of members, of those that are still there.
func (e *Engine) introduced(members []netdrv.Member) error {
	type at struct {
		network string
		index   int
	}
	macs := map[at]netdrv.MAC{}
	for _, m := range members {
		macs[at{m.Network, m.Index}] = m.MAC
	}
	e.mu.Lock()
	now := slices.Clone(e.members)
	for i := range now {
		if mac, ok := macs[at{now[i].Network, now[i].Index}]; ok {
			now[i].MAC = mac
		}
	}
	e.members = now
	e.mu.Unlock()
	e.shareAmong(now)
	return e.Store.PutMembers(now)
}

// shareAmong has networks looked at that give each guest a share by its MAC.
func (e *Engine) shareAmong(members []netdrv.Member) {
	for _, m := range members {
		if n, ok := e.Store.Get(m.Network); ok && n.Live && n.Network.TellsGuestsApart() {
			e.enqueue([]string{m.Network}, nil)
		}
	}
}

// filtered are the ports of networks that ask something of theirs.
func (e *Engine) filtered(networks []netdrv.Network) []firewall.Port {
	host := e.Host()
	around := netdrv.Surroundings{Networks: networks, Ports: e.Store.Ports(), Leased: e.Leases.Held, Host: host.Addresses(), Names: func(n *netdrv.Network) *netdrv.Names { return e.derive(n).declared() }}
	members := map[string][]netdrv.Member{}
	for _, m := range e.Members() {
		members[m.Network] = append(members[m.Network], m)
	}
	var out []firewall.Port
	for i := range networks {
		if n := &networks[i]; e.asksOfPorts(n) || n.Access.MACPrefix != "" {
			ports := e.Store.PortsOf(n.Name)
			ended, revoked := e.Leases.Ended(n.Name)
			now := portsOf(e.derive(n).with, members[n.Name], e.Leases.Addresses(n.Name))
			keepLast(now, e.derive(n).with, ended, revoked)
			out = append(append(out, ruled(now, n, ports, &around)...), pinned(n, ports)...)
		}
	}
	return out
}

// ruled gives ports of a network their filters: what a port says itself, on top of what
// the network says.
func ruled(now []firewall.Port, n *netdrv.Network, declared []netdrv.Port, around *netdrv.Surroundings) []firewall.Port {
	own, addresses := map[string]netdrv.Filter{}, map[string][]netip.Addr{}
	for _, p := range declared {
		own[p.Link], addresses[p.Link] = p.Filter, p.Addresses
	}
	outside := n.Mode == netdrv.ExistingBridge
	if outside && !n.Built() { // what else is in a bridge of the host's is the host's
		now = slices.DeleteFunc(now, func(p firewall.Port) bool { _, ours := own[p.Link]; return !ours })
	}
	shared := firewall.RulebookOf(n.Filter, n, "", 0, around)
	for i := range now {
		p := &now[i]
		if p.Link == "" {
			continue
		}
		f := own[p.Link]
		p.Rules = shared
		if f.Asks() || f.In != 0 || f.Out != 0 {
			p.Rules = firewall.RulebookOf(f.Over(n.Filter), n, p.Link, len(f.Rules), around)
		}
		over := f.Over(n.Filter)
		p.Preset, p.Isolated = over.Preset, over.Isolated
		if outside {
			p.Bridged, p.Allow, p.Addresses = true, over.Allow, addresses[p.Link]
		}
	}
	return now
}

// pinned holds the users' ports of a network with a MAC prefix to it, and those with a MAC of
// their own to that.
func pinned(n *netdrv.Network, ports []netdrv.Port) []firewall.Port {
	prefix, ok := n.Access.Octets()
	if !ok || len(prefix) == 0 {
		return nil
	}
	var out []firewall.Port
	for i := range ports {
		if p := &ports[i]; p.Transient && p.Granted != "" && p.Granted != netdrv.GrantedAdmin {
			out = append(out, firewall.Port{Link: p.Link, Network: n.Name, MAC: p.MAC, FixedMAC: true, MACPrefix: string(prefix)})
		}
	}
	return out
}

// portsOf translates the members of a network for the firewall, and the guests that have
// addresses and are behind no member. leased are the addresses of leases in force; what
// is reserved is a guest's whether it asks for it or not.
func portsOf(n *netdrv.Network, members []netdrv.Member, leased map[netdrv.MAC][]netip.Addr) []firewall.Port {
	for _, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		for _, r := range s.DHCP.Reservations {
			if r.Address.IsValid() && !slices.Contains(leased[r.MAC], r.Address) {
				leased[r.MAC] = append(leased[r.MAC], r.Address)
			}
		}
	}
	var out []firewall.Port
	attached := map[netdrv.MAC]bool{}
	for _, m := range members {
		if m.Network != n.Name {
			continue
		}
		p := firewall.Port{Link: m.Link, Network: n.Name, MAC: m.MAC}
		if !m.MAC.IsZero() {
			p.Addresses, attached[m.MAC] = leased[m.MAC], true
		}
		out = append(out, p)
	}
	for mac, addresses := range leased {
		if !attached[mac] {
			out = append(out, firewall.Port{Network: n.Name, MAC: mac, Addresses: addresses})
		}
	}
	return out
}

// keepLast lets guests use what they had last behind their ports until others get it, or,
// if an administrator has revoked it, ask for it again: a client that does not know that
// its lease has ended asks for an extension from its address.
func keepLast(ports []firewall.Port, n *netdrv.Network, ended, revoked map[netdrv.MAC][]netip.Addr) {
	reserved := map[netip.Addr]netdrv.MAC{}
	for _, s := range n.Subnets {
		if s.DHCP != nil && len(ended) > 0 {
			for _, r := range s.DHCP.Reservations {
				reserved[r.Address] = r.MAC
			}
		}
	}
	for i := range ports {
		p := &ports[i]
		if p.Link == "" {
			continue
		}
		for _, a := range ended[p.MAC] {
			if owner := reserved[a]; (owner.IsZero() || owner == p.MAC) && !slices.Contains(p.Addresses, a) {
				p.Addresses = append(slices.Clip(p.Addresses), a)
			}
		}
		for _, a := range revoked[p.MAC] {
			if a.Is4() { // IPv6 clients ask from their link-local address
				p.Renews = append(p.Renews, a)
			}
		}
	}
}
