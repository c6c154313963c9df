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
		h, ok := c.(*netlink.HtbClass)
		if !ok {
			continue
		}
		switch s := readClass(h); {
		case h.Handle == queueClass:
			q.Rate, q.Ceil, q.Burst, q.Cburst = s.Rate, s.Ceil, s.Burst, s.Cburst
		case h.Parent == queueClass:
			q.Classes = append(q.Classes, s)
		}
	}
	if q.Classes != nil {
		if err := k.classOwners(l, &q); err != nil {
			return err
		}
	}
	o.state.Queues = append(o.state.Queues, q)
	return nil
}

// readClass takes what the kernel holds: rates in bytes, bursts in ticks.
func readClass(h *netlink.HtbClass) netdrv.Class {
	return netdrv.Class{
		Minor: uint16(h.Handle),
		Rate:  netdrv.BitRate(h.Rate * 8), Ceil: netdrv.BitRate(h.Ceil * 8),
		Burst: netdrv.Size(netlink.Xmitsize(h.Rate, h.Buffer)), Cburst: netdrv.Size(netlink.Xmitsize(h.Ceil, h.Cbuffer)),
	}
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
		m, ok := u.Actions[0].(*netlink.MirredAction)
		switch {
		case !ok:
			continue
		case r.To != "" && len(u.Sel.Keys) == 1 && u.Sel.Keys[0].Mask == 0:
			r.Default = o.name(m.Ifindex)
		default:
			r.To, r.Host = o.name(m.Ifindex), hostKey(u.Sel.Keys, r.Host)
		}
		found++
	}
	if r.To == "" {
		return nil
	}
	if found != len(selectors(r.Host, r.Default != "")) {
		r.To = "" // half of it
	}
	o.state.Redirects = append(o.state.Redirects, r)
	return nil
}

// selectors are what the filters of a redirect look for, by offset from the
// network header: the Ethernet header is 14 bytes before it.
func selectors(host netdrv.MAC, rest bool) []*nl.TcU32Sel {
	everything := selector(nl.TcU32Key{})
	if host.IsZero() {
		return []*nl.TcU32Sel{everything}
	}
	out := []*nl.TcU32Sel{
		macSelector(destinationAt, host),
		selector(nl.TcU32Key{Off: destinationAt, Mask: 1 << 24, Val: 1 << 24}), // the group bit (IEEE 802 section 8)
	}
	if rest {
		out = append(out, everything)
	}
	return out
}

// Where addresses are in a frame, from the network header on.
const destinationAt, sourceAt = -14, -8

func macSelector(at int32, mac netdrv.MAC) *nl.TcU32Sel {
	return selector(
		nl.TcU32Key{Off: at, Mask: 0xffffffff, Val: binary.BigEndian.Uint32(mac[:])},
		nl.TcU32Key{Off: at + 4, Mask: 0xffff0000, Val: uint32(mac[4])<<24 | uint32(mac[5])<<16},
	)
}

func selector(keys ...nl.TcU32Key) *nl.TcU32Sel {
	return &nl.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Nkeys: uint8(len(keys)), Keys: keys}
}

// hostKey reads the address that macSelector put into a filter, or returns was.
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
	k.hasQueues.Store(true)
	l, err := k.nl.LinkByName(s.Queue.Link)
	if err != nil {
		return err
	}
	if err := k.queueRoot(l); err != nil {
		return err
	}
	if err := k.classSet(l, queueHandle, whole(&s.Queue)); err != nil {
		return err
	}
	if s.Queue.Classes == nil && s.Have.Classes == nil {
		return k.leaf(l, queueClass, s.Queue.Rate)
	}
	return k.setClasses(l, &s.Queue)
}

// whole is the class that all shares are below.
func whole(q *netdrv.Queue) netdrv.Class {
	return netdrv.Class{Minor: uint16(queueClass & 0xffff), Rate: q.Rate, Ceil: q.Ceil, Burst: q.Burst, Cburst: q.Cburst}
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

// classSet sets rates. The quantum is what a class may send in its turn when several
// borrow; it is given because the kernel warns of those that it derives.
func (k *Kernel) classSet(l netlink.Link, parent uint32, c netdrv.Class) error {
	return k.nl.ClassReplace(netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: l.Attrs().Index, Handle: classID(c), Parent: parent},
		netlink.HtbClassAttrs{
			Rate: uint64(c.Rate), Ceil: uint64(c.Ceil), Buffer: uint32(c.Burst), Cbuffer: uint32(c.Cburst), Quantum: 1514,
		},
	))
}

func classID(c netdrv.Class) uint32 { return queueHandle | uint32(c.Minor) }

// fairKinds share a queue fairly among connections, the best first. The last does
// not, and is there in every kernel that has HTB.
var fairKinds = []string{"fq_codel", "sfq", "bfifo"}

// leaf is where frames wait.
func (k *Kernel) leaf(l netlink.Link, class uint32, rate netdrv.BitRate) error {
	if kind := k.fair.Load(); kind != nil {
		return k.leafOf(l, *kind, class, rate)
	}
	var err error
	for _, kind := range fairKinds {
		if err = k.leafOf(l, kind, class, rate); !errors.Is(err, unix.ENOENT) {
			k.fair.Store(&kind)
			return err
		}
	}
	return err
}

// leafOf replaces the leaf by one of a kind, or changes its settings.
func (k *Kernel) leafOf(l netlink.Link, kind string, class uint32, rate netdrv.BitRate) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(l.Attrs().Index), Parent: class})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)))
	if kind == "bfifo" {
		req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, queueLimit(rate))))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// queueLimit bounds a plain queue to a tenth of a second, in bytes. The largest
// packet of a guest's segmentation offload has to fit.
func queueLimit(rate netdrv.BitRate) uint32 {
	return uint32(min(max(uint64(rate)/8/10, 72<<10), 64<<20))
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
	k.hasQueues.Store(true)
	l, err := k.nl.LinkByName(r.Link)
	if err != nil {
		return err
	}
	to, err := k.index(r.To)
	if err != nil {
		return err
	}
	rest, err := k.index(r.Default)
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
	for i, sel := range selectors(r.Host, rest != 0) {
		if rest != 0 && i == len(selectors(r.Host, false)) {
			to = rest
		}
		if err := k.nl.FilterAdd(&netlink.U32{FilterAttrs: redirectFilter(l), Sel: sel, RedirIndex: to}); err != nil {
			return err
		}
	}
	return nil
}

// index is that of a link; 0 for no name.
func (k *Kernel) index(link string) (int, error) {
	if link == "" {
		return 0, nil
	}
	l, err := k.nl.LinkByName(link)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// filterDel removes all filters of our priority.
func (k *Kernel) filterDel(l netlink.Link) error {
	err := k.nl.FilterDel(&netlink.U32{FilterAttrs: redirectFilter(l)})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil // EINVAL: nothing takes filters there
	}
	return err
}

// redirectDel removes the ingress qdisc, too, unless it has other filters.
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
