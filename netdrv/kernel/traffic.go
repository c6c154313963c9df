package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// The handles of a queue (see netdrv.Queue).
var (
	queueHandle = netlink.MakeHandle(netdrv.Handle, 0)
	queueClass  = netlink.MakeHandle(netdrv.Handle, 1)
)

// ifbs lists the ifbs of ours that belong to some links.
func (k *Kernel) ifbs(ctx context.Context, of []listed) ([]listed, error) {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("ifb"))
	all, err := k.list(ctx, info)
	if err != nil {
		return nil, fmt.Errorf("list ifbs: %w", err)
	}
	wanted := map[string]bool{}
	for _, l := range of {
		wanted[netdrv.IfbName(l.Attrs().Name)] = true
	}
	var out []listed
	for _, l := range all {
		if l.Type() == "ifb" && wanted[l.Attrs().Name] {
			out = append(out, l)
		}
	}
	return out, nil
}

// traffic takes the queues and redirects of ours on the links that were taken.
func (o *observer) traffic(ctx context.Context, k *Kernel) error {
	qdiscs, err := dump(ctx, func() ([]netlink.Qdisc, error) { return k.nl.QdiscList(nil) })
	if err != nil {
		return fmt.Errorf("list queues: %w", err)
	}
	for _, q := range qdiscs {
		a := q.Attrs()
		l := o.links[a.LinkIndex]
		switch {
		case l == nil:
		case a.Handle == queueHandle && a.Parent == netlink.HANDLE_ROOT && q.Type() == "htb":
			err = o.queue(ctx, k, l)
		case q.Type() == "ingress":
			err = o.redirect(ctx, k, l)
		}
		if err != nil && !missing(err) {
			return fmt.Errorf("read the queue of %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

func (o *observer) queue(ctx context.Context, k *Kernel, l netlink.Link) error {
	classes, err := dump(ctx, func() ([]netlink.Class, error) { return k.nl.ClassList(l, netlink.HANDLE_NONE) })
	if err != nil {
		return err
	}
	q := netdrv.Queue{Link: l.Attrs().Name}
	for _, c := range classes {
		if h, ok := c.(*netlink.HtbClass); ok && h.Handle == queueClass {
			readClass(h, &q)
		}
	}
	o.state.Queues = append(o.state.Queues, q)
	return nil
}

// readClass takes what the kernel holds: rates in bytes, bursts in ticks.
func readClass(h *netlink.HtbClass, q *netdrv.Queue) {
	q.Rate, q.Ceil = netdrv.BitRate(h.Rate*8), netdrv.BitRate(h.Ceil*8)
	q.Burst = netdrv.Size(netlink.Xmitsize(h.Rate, h.Buffer))
	q.Cburst = netdrv.Size(netlink.Xmitsize(h.Ceil, h.Cbuffer))
}

func (o *observer) redirect(ctx context.Context, k *Kernel, l netlink.Link) error {
	filters, err := dump(ctx, func() ([]netlink.Filter, error) { return k.nl.FilterList(l, netlink.HANDLE_MIN_INGRESS) })
	if err != nil {
		return err
	}
	r, found := netdrv.Redirect{Link: l.Attrs().Name}, 0
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if !ok || f.Attrs().Priority != netdrv.Handle || len(u.Actions) != 1 || u.Sel == nil {
			continue
		}
		if m, ok := u.Actions[0].(*netlink.MirredAction); ok {
			r.To = o.name(m.Ifindex)
			found++
			r.Host = hostKey(u.Sel.Keys, r.Host)
		}
	}
	if r.To == "" {
		return nil
	}
	if found != len(selectors(r.Host)) {
		r.To = "" // half of it
	}
	o.state.Redirects = append(o.state.Redirects, r)
	return nil
}

// selectors are what the filters of a redirect look for, by offset from the
// network header: the Ethernet header is 14 bytes before it.
func selectors(host netdrv.MAC) []*nl.TcU32Sel {
	if host.IsZero() {
		return []*nl.TcU32Sel{selector(nl.TcU32Key{})}
	}
	return []*nl.TcU32Sel{
		selector(
			nl.TcU32Key{Off: -14, Mask: 0xffffffff, Val: binary.BigEndian.Uint32(host[:])},
			nl.TcU32Key{Off: -10, Mask: 0xffff0000, Val: uint32(host[4])<<24 | uint32(host[5])<<16},
		),
		selector(nl.TcU32Key{Off: -14, Mask: 1 << 24, Val: 1 << 24}), // the group bit (IEEE 802 section 8)
	}
}

func selector(keys ...nl.TcU32Key) *nl.TcU32Sel {
	return &nl.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Nkeys: uint8(len(keys)), Keys: keys}
}

// hostKey reads the address that selectors put into a filter, or returns was.
func hostKey(keys []nl.TcU32Key, was netdrv.MAC) netdrv.MAC {
	if len(keys) != 2 {
		return was
	}
	var m netdrv.MAC
	binary.BigEndian.PutUint32(m[:], keys[0].Val)
	m[4], m[5] = byte(keys[1].Val>>24), byte(keys[1].Val>>16)
	return m
}

// queueSet keeps a queue that is there, with the frames in it.
func (k *Kernel) queueSet(s netdrv.QueueSet) error {
	k.holds.Store(true)
	l, err := k.nl.LinkByName(s.Queue.Link)
	if err != nil {
		return err
	}
	if err := k.queueRoot(l); err != nil {
		return err
	}
	if err := k.classSet(l, s.Queue); err != nil {
		return err
	}
	return k.leaf(l, s.Queue)
}

// queueRoot puts our queue in the place of whatever is there, unless it is ours.
func (k *Kernel) queueRoot(l netlink.Link) error {
	qdiscs, err := k.nl.QdiscList(l)
	if err != nil {
		return err
	}
	for _, q := range qdiscs {
		if a := q.Attrs(); a.Parent == netlink.HANDLE_ROOT && a.Handle == queueHandle && q.Type() == "htb" {
			return nil
		}
	}
	root := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: queueHandle, Parent: netlink.HANDLE_ROOT})
	root.Defcls = queueClass & 0xffff
	return k.nl.QdiscReplace(root)
}

// classSet sets rates. The quantum is between classes that share, and there is one:
// it is given because the kernel warns of those that it derives.
func (k *Kernel) classSet(l netlink.Link, q netdrv.Queue) error {
	return k.nl.ClassReplace(netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: l.Attrs().Index, Handle: queueClass, Parent: queueHandle},
		netlink.HtbClassAttrs{
			Rate: uint64(q.Rate), Ceil: uint64(q.Ceil), Buffer: uint32(q.Burst), Cbuffer: uint32(q.Cburst), Quantum: 1514,
		},
	))
}

// fairKinds share a queue fairly among connections, the best first. The last does
// not, and is there in every kernel that has HTB.
var fairKinds = []string{"fq_codel", "sfq", "bfifo"}

// leaf is where frames wait.
func (k *Kernel) leaf(l netlink.Link, q netdrv.Queue) error {
	if kind := k.fair.Load(); kind != nil {
		return k.leafOf(l, *kind, q)
	}
	var err error
	for _, kind := range fairKinds {
		if err = k.leafOf(l, kind, q); !errors.Is(err, unix.ENOENT) {
			k.fair.Store(&kind)
			return err
		}
	}
	return err
}

// leafOf replaces the leaf by one of a kind, or changes its settings.
func (k *Kernel) leafOf(l netlink.Link, kind string, q netdrv.Queue) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(l.Attrs().Index), Parent: queueClass})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)))
	if kind == "bfifo" {
		req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, queueLimit(q))))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// queueLimit bounds a plain queue to a tenth of a second, in bytes. The largest
// packet of a guest's segmentation offload has to fit.
func queueLimit(q netdrv.Queue) uint32 {
	return uint32(min(max(uint64(q.Rate)/8/10, 72<<10), 64<<20))
}

func (k *Kernel) queueDel(link string) error {
	l, err := k.nl.LinkByName(link)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = k.nl.QdiscDel(netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: queueHandle, Parent: netlink.HANDLE_ROOT}))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil // there is none, or none of ours
	}
	return err
}

func redirectFilter(l netlink.Link) netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: netdrv.Handle, Protocol: unix.ETH_P_ALL,
	}
}

func (k *Kernel) redirectAdd(r netdrv.Redirect) error {
	k.holds.Store(true)
	l, err := k.nl.LinkByName(r.Link)
	if err != nil {
		return err
	}
	to, err := k.nl.LinkByName(r.To)
	if err != nil {
		return err
	}
	err = k.nl.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := k.filterDel(l); err != nil {
		return err
	}
	for _, sel := range selectors(r.Host) {
		if err := k.nl.FilterAdd(&netlink.U32{FilterAttrs: redirectFilter(l), Sel: sel, RedirIndex: to.Attrs().Index}); err != nil {
			return err
		}
	}
	return nil
}

// filterDel removes all filters of our priority.
func (k *Kernel) filterDel(l netlink.Link) error {
	err := k.nl.FilterDel(&netlink.U32{FilterAttrs: redirectFilter(l)})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil // EINVAL: nothing takes filters there
	}
	return err
}

// redirectDel removes the place for filters, too, unless somebody else has one.
func (k *Kernel) redirectDel(link string) error {
	l, err := k.nl.LinkByName(link)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := k.filterDel(l); err != nil {
		return err
	}
	others, err := k.nl.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil || len(others) > 0 {
		return err
	}
	err = k.nl.QdiscDel(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
