package tapdoor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vnetd/vnetd/api/tapdoor"
	"github.com/vnetd/vnetd/netdrv"
)

// open judges a request, and makes or opens the port that it is about.
//
// ctx is the door's, for what is made may outlive the request.
func (d *Door) open(ctx context.Context, c *net.UnixConn, req tapdoor.Request, who caller, pid int) (tapdoor.Response, []*os.File, error) {
	if req.Port != "" {
		return d.openDeclared(ctx, req.Port, who)
	}
	d.one.Lock()
	defer d.one.Unlock()
	n, p, err := d.wanted(req, who)
	if err != nil {
		return tapdoor.Response{}, nil, err
	}
	var holder *os.File
	if n.Mode == netdrv.DirectLink {
		if p.Holder, holder, err = processOf(c, pid); err != nil {
			return tapdoor.Response{}, nil, err
		}
	}
	p, files, err := d.make(ctx, p, req)
	if err != nil {
		if holder != nil {
			holder.Close()
		}
		return tapdoor.Response{}, nil, err
	}
	if holder != nil {
		d.watch(ctx, p, holder)
	}
	return response(&p, n.Mode), files, nil
}

func (d *Door) make(ctx context.Context, p netdrv.Port, req tapdoor.Request) (netdrv.Port, []*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	return d.Service.OpenTransient(ctx, p, !req.NoVnetHeader)
}

func response(p *netdrv.Port, mode netdrv.Mode) tapdoor.Response {
	r := tapdoor.Response{Network: p.Network, Link: p.Link, Kind: string(netdrv.KindTap), Queues: max(p.Queues, 1)}
	if mode == netdrv.DirectLink {
		r.Kind = string(netdrv.KindMacvtap)
	}
	if !p.MAC.IsZero() {
		r.MAC = p.MAC.String()
	}
	return r
}

// openDeclared opens a port for its owner.
func (d *Door) openDeclared(ctx context.Context, link string, who caller) (tapdoor.Response, []*os.File, error) {
	for _, p := range d.Service.StoredPorts("") {
		if p.Link != link || p.Transient {
			continue
		}
		if !who.Admin && p.Owner != who.UID {
			return tapdoor.Response{}, nil, fmt.Errorf("port %s does not belong to user %d", link, who.UID)
		}
		n, err := d.Service.Network(p.Network)
		if err != nil {
			return tapdoor.Response{}, nil, err
		}
		files, err := d.Service.OpenPort(ctx, p)
		return response(&p, n.Mode), files, err
	}
	return tapdoor.Response{}, nil, fmt.Errorf("there is no declared port %s", link)
}

// wanted is the port that a caller asks for, and may have.
func (d *Door) wanted(req tapdoor.Request, who caller) (*netdrv.Network, netdrv.Port, error) {
	p := netdrv.Port{Guest: req.Guest, Queues: req.Queues, Owner: who.UID, Transient: true}
	if req.MAC != "" && req.MAC != tapdoor.AutoMAC {
		mac, err := netdrv.ParseMAC(req.MAC)
		if err != nil {
			return nil, p, err
		}
		p.MAC = mac
	}
	n, granted, err := d.network(req, who, p.MAC)
	if err != nil {
		return nil, p, err
	}
	p.Network, p.Granted = n.Name, granted
	if p.MAC.IsZero() && (req.MAC != "" || n.Mode == netdrv.DirectLink) {
		p.MAC = pickMAC(&n.Access)
	}
	return n, p, nil
}

// network finds the network that is named, or the first on a bridge of which the
// caller may have a port: a bridge of the host may serve several.
func (d *Door) network(req tapdoor.Request, who caller, mac netdrv.MAC) (n *netdrv.Network, granted string, err error) {
	why := fmt.Sprintf("there is no network %s", req.Network)
	if req.Bridge != "" {
		why = fmt.Sprintf("no network has the bridge %s", req.Bridge)
	}
	for n := range d.Service.Definitions() {
		var no string
		if n.Name != req.Network && (req.Bridge == "" || n.Bridge.Name != req.Bridge || n.Mode == netdrv.DirectLink) {
			continue
		}
		if granted, no = refuse(n, who, d.held(n.Name, who.UID), mac, hostAccounts{}); no == "" {
			return n, granted, nil
		}
		why = no
	}
	return nil, "", errors.New(why)
}

func (d *Door) held(network string, uid uint32) int {
	count := 0
	for _, p := range d.Service.StoredPorts(network) {
		if p.Transient && p.Owner == uid {
			count++
		}
	}
	return count
}

// pickMAC makes a MAC that begins as it should; as QEMU's do if anything will.
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
