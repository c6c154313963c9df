package reconcile

import (
	"reflect"
	"sync"

	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/netdrv"
)

// A derivedCache has what is derived from networks and their ports.
type derivedCache struct {
	store *store.Store

	mu       sync.Mutex
	networks map[string]*derived
}

// derived is what is derived from a network and its ports, each part when it is first
// needed. It is cached because it takes long with many reservations, and depends neither on
// leases nor on the host. Its parts are not changed.
type derived struct {
	network  netdrv.Network // without forwards, on which no part depends
	revision int64          // of the ports
	ports    []netdrv.Port
	with     *netdrv.Network // with reservations for its ports

	mu          sync.Mutex
	named       *netdrv.Names // of with
	declaration *netdrv.Names // of network
	dhcp        *dhcpd.Config
	mtu         int // that dhcp was made for
	dns         *dnsd.Config
}

// of returns what is derived from a network and its present ports.
func (c *derivedCache) of(n *netdrv.Network) *derived {
	network, revision := *n, c.store.PortRevision(n.Name)
	network.Forwards = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	// The slices of a stored network are replaced, never changed in place, and DeepEqual
	// does not compare the elements of a slice with itself.
	d := c.networks[n.Name]
	if d == nil || d.revision != revision || !reflect.DeepEqual(d.network, network) {
		d = &derived{network: network, revision: revision, ports: c.store.PortsOf(n.Name)}
		d.with = d.network.WithPorts(d.ports)
		c.networks[n.Name] = d
	}
	return d
}

func (c *derivedCache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.networks, name)
}

// names returns the names of the network with its ports.
func (d *derived) names() *netdrv.Names {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.named == nil {
		d.named = netdrv.NamesOf(d.with)
	}
	return d.named
}

// declared returns the names in the network's definition.
func (d *derived) declared() *netdrv.Names {
	if d.with == &d.network {
		return d.names()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.declaration == nil {
		d.declaration = netdrv.NamesOf(&d.network)
	}
	return d.declaration
}

// dhcpConfig returns the network's configuration for a bridge's MTU; false if DHCP is off.
func (d *derived) dhcpConfig(mtu int) (dhcpd.Config, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dhcp != nil && d.mtu == mtu {
		return *d.dhcp, true
	}
	cfg, served := dhcpConfig(d.with, mtu)
	if served {
		d.dhcp, d.mtu = &cfg, mtu
	}
	return cfg, served
}

// dnsConfig returns the network's configuration without names of leases and peers; false if DNS
// is off.
func (d *derived) dnsConfig(hostname string) (dnsd.Config, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dns != nil {
		return *d.dns, true
	}
	cfg, served := dnsConfig(&d.network, d.ports, hostname)
	if served {
		d.dns = &cfg
	}
	return cfg, served
}
