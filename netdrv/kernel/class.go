package kernel

import (
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// classOwners reads the filters to map HTB classes to MACs. A class without a filter gets
// ff:ff:ff:ff:ff:ff, so that Diff replaces it.
func (k *Kernel) classOwners(l netlink.Link, q *netdrv.Queue) error {
	filters, err := k.classFilters(l)
	if err != nil {
		return err
	}
	led := map[uint16]netdrv.MAC{}
	for _, f := range filters {
		led[uint16(f.ClassId)] = classMAC(f)
	}
	for i := range q.Classes {
		s, ok := &q.Classes[i], false
		if s.MAC, ok = led[s.Minor]; !ok {
			s.MAC = netdrv.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
	}
	netdrv.SortClasses(q.Classes)
	return nil
}

func classMAC(f *netlink.U32) netdrv.MAC { return hostKey(f.Sel.Keys, netdrv.MAC{}) }

// shareFilters are those of ours that lead to shares.
func (k *Kernel) classFilters(l netlink.Link) ([]*netlink.U32, error) {
	filters, err := k.nl.FilterList(l, queueHandle)
	if err != nil {
		return nil, err
	}
	var out []*netlink.U32
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if ok && u.Sel != nil && u.ClassId != 0 && (u.Priority == netdrv.Handle || u.Priority == netdrv.DefaultPref) {
			out = append(out, u)
		}
	}
	return out, nil
}

// setClasses makes the leaf classes of a queue as wanted. A guest with a class that
// stays loses no frame.
func (k *Kernel) setClasses(l netlink.Link, q *netdrv.Queue) error {
	for _, s := range q.Classes {
		if err := k.classSet(l, queueClass, s); err != nil {
			return err
		}
		if err := k.leaf(l, classID(s), q.Rate); err != nil {
			return err
		}
	}
	if err := k.setFilters(l, q); err != nil {
		return err
	}
	if err := k.deleteClasses(l, q); err != nil {
		return err
	}
	if q.Classes == nil {
		return k.leaf(l, queueClass, q.Rate)
	}
	return nil
}

// setFilters steers the frames of each guest to its class, and others to the default class.
func (k *Kernel) setFilters(l netlink.Link, q *netdrv.Queue) error {
	have, err := k.classFilters(l)
	if err != nil {
		return err
	}
	want := map[netdrv.MAC]uint32{}
	for _, s := range q.Classes {
		want[s.MAC] = classID(s)
	}
	for _, f := range have {
		mac := classMAC(f)
		if want[mac] == f.ClassId {
			delete(want, mac)
		} else if err := k.nl.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for mac, class := range want {
		if err := k.nl.FilterAdd(classFilter(l, q, mac, class)); err != nil {
			return err
		}
	}
	return nil
}

func classFilter(l netlink.Link, q *netdrv.Queue, mac netdrv.MAC, class uint32) *netlink.U32 {
	f := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: queueHandle, Priority: netdrv.Handle, Protocol: unix.ETH_P_ALL},
		ClassId:     class,
	}
	switch {
	case mac.IsZero():
		f.Priority, f.Sel = netdrv.DefaultPref, selector(nl.TcU32Key{})
	case q.Egress():
		f.Sel = macSelector(sourceAt, mac)
	default:
		f.Sel = macSelector(destinationAt, mac)
	}
	return f
}

// deleteClasses deletes classes that are not wanted.
func (k *Kernel) deleteClasses(l netlink.Link, q *netdrv.Queue) error {
	wanted := map[uint32]bool{}
	for _, s := range q.Classes {
		wanted[classID(s)] = true
	}
	classes, err := k.nl.ClassList(l, netlink.HANDLE_NONE)
	if err != nil {
		return err
	}
	for _, c := range classes {
		a := c.Attrs()
		if a.Parent != queueClass || wanted[a.Handle] {
			continue
		}
		if err := k.nl.ClassDel(c); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
