package kernel

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The sizes of the headers of rtnetlink messages, before the attributes
// (rtnetlink.h: ifinfomsg, rtmsg).
const (
	linkHeader  = 16
	routeHeader = 12
)

// ownLinks are the links of ours that have nothing of the host on them, by index.
// Notifications keep it current: one socket gets them in the order in which things
// happened, and a link is announced before its addresses and routes are.
type ownLinks map[uint32]bool

// hosts reports whether a notification is about something that is the host's.
// What cannot be told is taken for the host's.
func (o ownLinks) hosts(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return o.link(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return len(m.Data) < 8 || !o[binary.NativeEndian.Uint32(m.Data[4:])]
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return !o[routeLink(m.Data)]
	}
	return false // RTM_NEWNETCONF: a setting
}

// link takes a notification about a link. Those of family bridge are about it as a
// port of one.
func (o ownLinks) link(m netlink.Message) bool {
	if len(m.Data) < linkHeader {
		return true
	}
	index := binary.NativeEndian.Uint32(m.Data[4:])
	was := o[index]
	switch {
	case m.Data[0] == unix.AF_BRIDGE:
		return !was
	case m.Header.Type == unix.RTM_DELLINK:
		delete(o, index)
		return !was
	case inOurGroup(m.Data[linkHeader:]):
		o[index] = true
		return false
	}
	delete(o, index) // it may have been taken out of our group
	return true
}

// inOurGroup says what ours and built do, by the attributes of a message.
func inOurGroup(attributes []byte) bool {
	ad, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return false
	}
	group, alias := uint32(0), ""
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_GROUP:
			group = ad.Uint32()
		case unix.IFLA_IFALIAS:
			alias = ad.String()
		}
	}
	return ad.Err() == nil && group == Group && !onUplinks(alias)
}

// routeLink is the link that a route goes out by; 0, which is no link's index, if
// there is none or are several.
func routeLink(data []byte) uint32 {
	if len(data) < routeHeader {
		return 0
	}
	ad, err := netlink.NewAttributeDecoder(data[routeHeader:])
	if err != nil {
		return 0
	}
	index := uint32(0)
	for ad.Next() {
		if ad.Type() == unix.RTA_OIF {
			index = ad.Uint32()
		}
	}
	return index
}
