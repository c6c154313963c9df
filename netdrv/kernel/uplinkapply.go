package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// carrierTime is how long a bridge may take to see the carrier of its uplink.
const carrierTime = time.Second

// uplinkAdd puts a link of the host into a bridge of ours. What goes out by the
// bridge before its carrier is seen is lost, so it waits.
func (k *Kernel) uplinkAdd(s netdrv.UplinkAdd) error {
	uplink, err := k.nl.LinkByName(s.Uplink)
	if err != nil {
		return err
	}
	return k.withOurs(s.Bridge, func(bridge nl.Link) error {
		if m := uplink.Attrs().MasterIndex; m != 0 && m != bridge.Attrs().Index {
			return fmt.Errorf("%s is in another bridge or bond by now", s.Uplink)
		}
		if err := k.nl.LinkSetMaster(uplink, bridge); err != nil {
			return explainEnslave(s.Uplink, err)
		}
		if err := k.nl.LinkSetUp(uplink); err != nil {
			return err
		}
		return k.awaitCarrier(s)
	})
}

// uplinkUp brings a link of the host up. One that is gone is no error: the network says
// that it is missing.
func (k *Kernel) uplinkUp(s netdrv.UplinkUp) error {
	l, err := k.nl.LinkByName(s.Uplink)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.nl.LinkSetUp(l)
}

// explainEnslave adds the reason for which br_add_if refuses a link (net/bridge/br_if.c).
func explainEnslave(link string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: something else takes the frames of %s: a macvlan or macvtap on it, or a bond", err, link)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the driver of %s lets it be in no bridge, as wireless ones do", err, link)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: %s is no Ethernet link", err, link)
	}
	return err
}

// awaitCarrier gives up without an error: a cable may be unplugged.
func (k *Kernel) awaitCarrier(s netdrv.UplinkAdd) error {
	for end := time.Now().Add(carrierTime); time.Now().Before(end); {
		uplink, err := k.nl.LinkByName(s.Uplink)
		if err != nil {
			return err
		}
		bridge, err := k.nl.LinkByName(s.Bridge)
		if err != nil {
			return err
		}
		if running(bridge) || !running(uplink) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func running(l nl.Link) bool { return l.Attrs().Flags&net.FlagRunning != 0 }

// uplinkDel takes a link out of a bridge of ours.
func (k *Kernel) uplinkDel(s netdrv.UplinkDel) error {
	uplink, err := k.nl.LinkByName(s.Uplink)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.withOurs(s.Bridge, func(bridge nl.Link) error {
		if uplink.Attrs().MasterIndex != bridge.Attrs().Index {
			return nil
		}
		return k.nl.LinkSetNoMaster(uplink)
	})
}

// holdingAdd puts something of the host's on another link.
func (k *Kernel) objectAdd(s netdrv.ObjectAdd) error {
	l, err := k.nl.LinkByName(s.To)
	if err != nil {
		return err
	}
	h, index := s.Object, l.Attrs().Index
	switch h.Kind {
	case netdrv.ObjectAddr:
		return addressOnto(h, s.To, index)
	case netdrv.ObjectRoute:
		o, ok := parseObject([]byte(h.Raw), routeFixed)
		if !ok {
			return unix.EINVAL
		}
		r := hostRoute{o}
		r.moveTo(index)
		// Without any more flags it comes before others to its destination, and
		// replaces none of them.
		return ask(unix.RTM_NEWROUTE, netlink.Create, r.bytes(), unix.EEXIST)
	case netdrv.ObjectNeighbour:
		o, ok := parseObject([]byte(h.Raw), neighbourFixed)
		if !ok {
			return unix.EINVAL
		}
		n := neighbour{o}
		n.moveTo(index)
		err := ask(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, n.bytes())
		if n.state()&unix.NUD_PERMANENT == 0 {
			return nil // it only saves a question
		}
		return err
	}
	return unix.EINVAL
}

// addressOnto adds an address without duplicate address detection, for the host
// has it already, and has the flags be what they were.
func addressOnto(h netdrv.HostObject, to string, index int) error {
	o, ok := parseObject([]byte(h.Raw), addressFixed)
	if !ok {
		return unix.EINVAL
	}
	a := address{o}
	sure := a.is6() && a.flags()&(unix.IFA_F_NODAD|unix.IFA_F_TENTATIVE) == 0
	a.moveTo(cmp.Or(h.RawLink, h.Link), to, index)
	if !sure {
		return ask(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, a.bytes(), unix.EEXIST)
	}
	flags := a.flags()
	a.setFlags(flags | unix.IFA_F_NODAD)
	add := request(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, a.bytes())
	a.setFlags(flags)
	// In one system call, so that a daemon that is killed leaves no flag behind.
	return send([]netlink.Message{add, request(unix.RTM_NEWADDR, netlink.Replace, a.bytes())}, unix.EEXIST)
}

// holdingDel takes something of the host's off its link.
func (k *Kernel) objectDel(h netdrv.HostObject) error {
	l, err := k.nl.LinkByName(h.Link)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	index := l.Attrs().Index
	if h.Kind == netdrv.ObjectAddr {
		o, ok := parseObject([]byte(h.Raw), addressFixed)
		if !ok {
			return unix.EINVAL
		}
		a := address{o}
		a.setIndex(index)
		a.drop(unix.IFA_LABEL) // it would have to be the one that it has now
		return ask(unix.RTM_DELADDR, 0, a.bytes(), unix.EADDRNOTAVAIL)
	}
	o, ok := parseObject([]byte(h.Raw), routeFixed)
	if !ok {
		return unix.EINVAL
	}
	r := hostRoute{o}
	r.moveTo(index)
	return ask(unix.RTM_DELROUTE, 0, r.bytes(), unix.ESRCH)
}

// ask sends one request and wants it acknowledged; some errors are none, for
// what is asked for is so already.
func ask(kind netlink.HeaderType, flags netlink.HeaderFlags, body []byte, fine ...unix.Errno) error {
	return send([]netlink.Message{request(kind, flags, body)}, fine...)
}

func request(kind netlink.HeaderType, flags netlink.HeaderFlags, body []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags}, Data: body}
}

// send is ask for several requests, all of which the kernel carries out whatever happens
// to this process.
func send(requests []netlink.Message, fine ...unix.Errno) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer c.Close()
	_ = c.SetOption(netlink.ExtendedAcknowledge, true)
	if _, err := c.SendMessages(requests); err != nil {
		return err
	}
	var failed error
	for range requests { // each is acknowledged by a datagram
		if _, err := c.Receive(); !slices.ContainsFunc(fine, func(f unix.Errno) bool { return errors.Is(err, f) }) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// stalePlaceholders are placeholder routes on links of the host beside which the kernel has
// learned the original again.
func (o *observer) stalePlaceholders(routes []listedRoute) []netdrv.LinkRoute {
	var out []netdrv.LinkRoute
	learned := map[netdrv.LinkRoute]bool{}
	for _, want := range []byte{unix.RTPROT_RA, Protocol} {
		for _, r := range routes {
			l := o.links[r.link]
			if r.protocol != want || r.family != unix.AF_INET6 || l == nil || ours(l) {
				continue
			}
			route := netdrv.LinkRoute{Link: l.Attrs().Name, Destination: r.destination, Via: r.via, Metric: r.metric}
			twin := route
			twin.Metric--
			switch {
			case want == unix.RTPROT_RA:
				learned[route] = true
			case learned[twin]:
				out = append(out, route)
			}
		}
	}
	return out
}

func (k *Kernel) placeholderDel(r netdrv.LinkRoute) error {
	l, err := k.nl.LinkByName(r.Link)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = k.nl.RouteDel(&nl.Route{
		LinkIndex: l.Attrs().Index, Dst: ipNet(r.Destination), Gw: r.Via.AsSlice(), Priority: r.Metric, Protocol: Protocol, Family: unix.AF_INET6,
	})
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
