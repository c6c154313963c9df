package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Attributes of RTM_NEWNEIGHTBL (linux/neighbour.h).
const (
	ndtaThresh3 = 4
	ndtaConfig  = 5
)

// NeighbourTable returns how many entries the kernel's neighbour table of a family has, in
// all network namespaces, and the most that it may have (gc_thresh3). The files that say so
// are not there in network namespaces.
func (k *Kernel) NeighbourTable(ipv6 bool) (entries, limit int, err error) {
	fd, err := rtnetlink()
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	q := neighbourRequest(unix.RTM_GETNEIGHTBL, unix.NLM_F_DUMP, []byte{family(ipv6), 0, 0, 0})
	if err := unix.Sendto(fd, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, 0, fmt.Errorf("ask for the neighbour table: %w", err)
	}
	// The table comes first; what follows is about each link, and is not read.
	buf := make([]byte, 16<<10)
	n, err := unix.Read(fd, buf)
	const header = unix.SizeofNlMsghdr + 4 // struct ndtmsg
	if err != nil || n < header {
		return 0, 0, fmt.Errorf("read the size of the neighbour table: %w", err)
	}
	if binary.NativeEndian.Uint16(buf[4:]) != unix.RTM_NEWNEIGHTBL {
		return 0, 0, fmt.Errorf("read the size of the neighbour table: message of type %d", binary.NativeEndian.Uint16(buf[4:]))
	}
	attributes := buf[header:min(n, int(binary.NativeEndian.Uint32(buf)))]
	size, config := seek(attributes, ndtaThresh3), seek(attributes, ndtaConfig)
	if len(size) != 4 || len(config) < 8 {
		return 0, 0, fmt.Errorf("read the size of the neighbour table: no gc_thresh3 or entries")
	}
	return int(binary.NativeEndian.Uint32(config[4:])), int(binary.NativeEndian.Uint32(size)), nil
}

// BridgeNeighbours returns the entries of a family that the kernel made on bridges.
func (k *Kernel) BridgeNeighbours(ipv6 bool, bridges map[string]bool) ([]netdrv.Neighbour, error) {
	list, err := k.nl.NeighList(0, int(family(ipv6)))
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	names := map[int]string{}
	var out []netdrv.Neighbour
	for _, n := range list {
		const kept = unix.NUD_PERMANENT | unix.NUD_NOARP
		a, ok := netip.AddrFromSlice(n.IP)
		if !ok || n.State&kept != 0 || n.Flags&(unix.NTF_PROXY|unix.NTF_EXT_LEARNED) != 0 {
			continue
		}
		name, asked := names[n.LinkIndex]
		if !asked {
			if l, err := k.nl.LinkByIndex(n.LinkIndex); err == nil {
				name = l.Attrs().Name
			}
			names[n.LinkIndex] = name
		}
		if !bridges[name] {
			continue
		}
		state := netdrv.Unconfirmed
		switch {
		case n.State&unix.NUD_REACHABLE != 0:
			state = netdrv.Confirmed
		case n.State&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) != 0 || n.State == unix.NUD_NONE:
			state = netdrv.Unresolved
		}
		out = append(out, netdrv.Neighbour{Bridge: name, Link: n.LinkIndex, Address: a.Unmap(), State: state})
	}
	return out, nil
}

// DeleteNeighbours deletes entries; those that are gone are no error.
func (k *Kernel) DeleteNeighbours(entries []netdrv.Neighbour) error {
	fd, err := rtnetlink()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Many requests go in one message, and no answer is read: the next list shows what was
	// done.
	const full = 16 << 10
	var batch []byte
	for i, n := range entries {
		b := make([]byte, unix.SizeofNdMsg)
		b[0] = family(n.Address.Is6())
		binary.NativeEndian.PutUint32(b[4:], uint32(n.Link))
		dst := n.Address.AsSlice()
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(dst)))
		b = append(binary.NativeEndian.AppendUint16(b, unix.NDA_DST), dst...)
		batch = append(batch, neighbourRequest(unix.RTM_DELNEIGH, 0, b)...)
		if len(batch) < full && i < len(entries)-1 {
			continue
		}
		if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("delete neighbours: %w", err)
		}
		batch = batch[:0]
	}
	return nil
}

func family(ipv6 bool) byte {
	if ipv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func rtnetlink() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("open rtnetlink: %w", err)
	}
	return fd, nil
}

func neighbourRequest(what, flags uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, what)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	return append(append(b, make([]byte, 8)...), body...)
}
