package dhcpd

import (
	"net"

	"github.com/vishvananda/netlink"
)

// interfaceByName asks the kernel for one interface; net.InterfaceByName lists all
// of them to find it.
func interfaceByName(name string) (*net.Interface, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	a := l.Attrs()
	return &net.Interface{Index: a.Index, MTU: a.MTU, Name: a.Name, HardwareAddr: a.HardwareAddr, Flags: a.Flags}, nil
}
