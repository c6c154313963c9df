package tapbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vnetd/vnetd/api/tapbroker"
	"github.com/vnetd/vnetd/netdrv"
)

// open authorizes a request, and makes or opens its port. ctx is the broker's: the port may
// outlive the request.
func (b *Broker) open(ctx context.Context, c *net.UnixConn, req tapbroker.Request, who caller, pid int) (tapbroker.Response, []*os.File, error) {
	if req.Port != "" {
		return b.openDeclared(ctx, req.Port, who)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n, p, err := b.requested(req, who)
	if err != nil {
		return tapbroker.Response{}, nil, err
	}
	var holder *os.File
	if n.Mode == netdrv.DirectLink {
		if p.Holder, holder, err = processOf(c, pid); err != nil {
			return tapbroker.Response{}, nil, err
		}
	}
	making, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	p, files, err := b.Service.OpenTransient(making, p, !req.NoVnetHeader)
	if err != nil {
		if holder != nil {
			holder.Close()
		}
		return tapbroker.Response{}, nil, err
	}
	if holder != nil {
		b.watch(ctx, p, holder)
	}
	return response(&p, n.Mode), files, nil
}

func response(p *netdrv.Port, mode netdrv.Mode) tapbroker.Response {
	r := tapbroker.Response{Network: p.Network, Link: p.Link, Kind: string(netdrv.KindTap), Queues: max(p.Queues, 1)}
	if mode == netdrv.DirectLink {
		r.Kind = string(netdrv.KindMacvtap)
	}
	if !p.MAC.IsZero() {
		r.MAC = p.MAC.String()
	}
	return r
}

// openDeclared opens a port for its owner.
func (b *Broker) openDeclared(ctx context.Context, link string, who caller) (tapbroker.Response, []*os.File, error) {
	for _, p := range b.Service.StoredPorts("") {
		if p.Link != link || p.Transient {
			continue
		}
		if !who.Admin && p.Owner != who.UID {
			return tapbroker.Response{}, nil, fmt.Errorf("port %s does not belong to user %d", link, who.UID)
		}
		n, err := b.Service.Network(p.Network)
		if err != nil {
			return tapbroker.Response{}, nil, err
		}
		files, err := b.Service.OpenPort(ctx, p)
		return response(&p, n.Mode), files, err
	}
	return tapbroker.Response{}, nil, fmt.Errorf("there is no declared port %s", link)
}

// requested returns the port that a caller asks for and is allowed, with its network.
func (b *Broker) requested(req tapbroker.Request, who caller) (*netdrv.Network, netdrv.Port, error) {
	p := netdrv.Port{Guest: req.Guest, Queues: req.Queues, Owner: who.UID, Transient: true}
	if req.MAC != "" && req.MAC != tapbroker.AutoMAC {
		mac, err := netdrv.ParseMAC(req.MAC)
		if err != nil {
			return nil, p, err
		}
		p.MAC = mac
	}
	n, granted, err := b.network(req, who, p.MAC)
	if err != nil {
		return nil, p, err
	}
	p.Network, p.Granted = n.Name, granted
	if p.MAC.IsZero() && (req.MAC != "" || n.Mode == netdrv.DirectLink) {
		p.MAC = pickMAC(&n.Access)
	}
	return n, p, nil
}

// network finds the named network, or the first on a named bridge that allows the caller a
// port: a bridge of the host may have several.
func (b *Broker) network(req tapbroker.Request, who caller, mac netdrv.MAC) (n *netdrv.Network, granted string, err error) {
	why := fmt.Sprintf("there is no network %s", req.Network)
	if req.Bridge != "" {
		why = fmt.Sprintf("no network has the bridge %s", req.Bridge)
	}
	for n := range b.Service.Definitions() {
		var no string
		if n.Name != req.Network && (req.Bridge == "" || n.Bridge.Name != req.Bridge || n.Mode == netdrv.DirectLink) {
			continue
		}
		if granted, no = refuse(n, who, b.countPorts(n.Name, who.UID), mac, hostAccounts{}); no == "" {
			return n, granted, nil
		}
		why = no
	}
	return nil, "", errors.New(why)
}

func (b *Broker) countPorts(network string, uid uint32) int {
	count := 0
	for _, p := range b.Service.StoredPorts(network) {
		if p.Transient && p.Owner == uid {
			count++
		}
	}
	return count
}

// pickMAC picks a MAC with the network's prefix, or else with QEMU's.
func pickMAC(a *netdrv.Access) netdrv.MAC {
	m := netdrv.MAC{0x52, 0x54, 0x00}
	_, _ = rand.Read(m[3:])
	b, _ := a.Octets()
	if len(b) > 0 {
		_, _ = rand.Read(m[len(b):])
		copy(m[:], b)
	}
	return m
}
