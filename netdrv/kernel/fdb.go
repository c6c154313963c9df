package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// FDB answers what a bridge has learned: behind which of its ports an Ethernet
// address is. It belongs to the network namespace of the thread that opened it,
// and may be used from any goroutine. It speaks netlink itself: a look takes two
// system calls, and a flood of guests' frames may ask for many.
type FDB struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf [512]byte

	links *netlink.Handle // and neighbours
	moves fdbHistory
}

// OpenFDB returns the forwarding databases of the bridges of the calling thread's
// network namespace. Close it.
func OpenFDB() (*FDB, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// The kernel answers before Sendto returns; if it cannot, the call does not block.
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 1000})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	f := &FDB{fd: fd}
	if err := f.moves.open(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if f.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		f.moves.close()
		unix.Close(fd)
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return f, nil
}

// Close frees the socket.
func (f *FDB) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	unix.Close(f.fd)
	f.fd = -1
	f.moves.close()
	f.links.Close()
}

// Up reports whether a port is still one of a bridge, and has a carrier.
func (f *FDB) Up(bridge, port int) bool {
	l, err := f.links.LinkByIndex(port)
	return err == nil && l.Attrs().MasterIndex == bridge && l.Attrs().RawFlags&unix.IFF_RUNNING != 0
}

// Neighbours returns the MACs in the neighbour table of a link, by address. It is empty
// if the kernel cannot be asked.
func (f *FDB) Neighbours(link int) map[netip.Addr][6]byte {
	list, _ := f.links.NeighList(link, netlink.FAMILY_ALL)
	out := make(map[netip.Addr][6]byte, len(list))
	for _, n := range list {
		if addr, ok := netip.AddrFromSlice(n.IP); ok && len(n.HardwareAddr) == 6 {
			out[addr.Unmap()] = [6]byte(n.HardwareAddr)
		}
	}
	return out
}

// Port returns the index of the port of a bridge that mac is behind, and false if
// the bridge has not learned it, or has it itself.
func (f *FDB) Port(bridge int, mac netdrv.MAC) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	if _, err := unix.Write(f.fd, appendGet(f.buf[:0], f.seq, bridge, mac)); err != nil {
		return 0, false
	}
	for range 3 { // an answer that came too late may be in front
		n, err := unix.Read(f.fd, f.buf[:])
		if err != nil || n < unix.SizeofNlMsghdr+unix.SizeofNdMsg {
			return 0, false
		}
		if binary.NativeEndian.Uint32(f.buf[8:]) != f.seq {
			continue
		}
		port := int(binary.NativeEndian.Uint32(f.buf[unix.SizeofNlMsghdr+4:]))
		return port, port != bridge && binary.NativeEndian.Uint16(f.buf[4:]) == unix.RTM_NEWNEIGH
	}
	return 0, false
}

// appendGet is the request for one entry, as `bridge fdb get MAC br BRIDGE` sends
// it.
func appendGet(b []byte, seq uint32, bridge int, mac netdrv.MAC) []byte {
	b = binary.NativeEndian.AppendUint32(b, unix.SizeofNlMsghdr+unix.SizeofNdMsg+12+8)
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETNEIGH)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0) // the sender
	b = append(b, unix.AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, 10)
	b = binary.NativeEndian.AppendUint16(b, unix.NDA_LLADDR)
	b = append(append(b, mac[:]...), 0, 0)
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, unix.NDA_MASTER)
	return binary.NativeEndian.AppendUint32(b, uint32(bridge))
}
