package reconcile

import (
	"reflect"
	"sync"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/netdrv"
)

// derived is what is made of a network and its ports, each part when it is first needed.
// It is kept because it takes long where there are many reservations, and neither a
// lease nor a look at the host changes it. Its parts are only read.
type derived struct {
	network  netdrv.Network // without what is published, which no part depends on
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

// derive returns what is made of a network and its ports of now.
func (e *Engine) derive(n *netdrv.Network) *derived {
	network, revision := *n, e.Store.PortRevision(n.Name)
	network.Forwards = nil
	e.derivedMu.Lock()
	defer e.derivedMu.Unlock()
	// The slices of a stored network are replaced, never changed in place, and DeepEqual
	// compares no elements of two slices that are the same one.
	d := e.derived[n.Name]
	if d == nil || d.revision != revision || !reflect.DeepEqual(d.network, network) {
		d = &derived{network: network, revision: revision, ports: e.Store.PortsOf(n.Name)}
		d.with = d.network.WithPorts(d.ports)
		e.derived[n.Name] = d
	}
	return d
}

// names are those of the network with its ports.
func (d *derived) names() *netdrv.Names {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.named == nil {
		d.named = netdrv.NamesOf(d.with)
	}
	return d.named
}

// declared are the names in the network's definition.
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

// dhcpConfig is the network's, on a bridge of an MTU; false if it serves nothing.
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

// dnsConfig is the network's, without names of leases and peers; false if it serves nothing.
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
