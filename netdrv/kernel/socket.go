package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// tcpListen and udpOpen are the states of sockets that hear anybody
// (include/net/tcp_states.h; UDP borrows TCP_CLOSE).
const (
	tcpListen = 10
	udpOpen   = 7
)

// Listeners returns the host's sockets of TCP and UDP that wait for packets from
// anybody and are wanted, with who holds them: a process where it can be seen, and
// at least its user.
func (k *Kernel) Listeners(wanted func(netdrv.Socket) bool) ([]netdrv.Socket, error) {
	var out []netdrv.Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for protocol, list := range map[netdrv.Protocol]func(uint8) ([]*netlink.Socket, error){
			netdrv.TCP: k.nl.SocketDiagTCP, netdrv.UDP: k.nl.SocketDiagUDP,
		} {
			found, err := list(family)
			if err != nil {
				return nil, fmt.Errorf("list sockets: %w", err)
			}
			for _, s := range found {
				if n := (netdrv.Socket{Protocol: protocol, Local: addrPort(s.ID.Source, s.ID.SourcePort)}); listens(s) && wanted(n) {
					n.Holder = holder(s)
					out = append(out, n)
				}
			}
		}
	}
	return out, nil
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

func listens(s *netlink.Socket) bool {
	return s.State == tcpListen || s.State == udpOpen && s.ID.DestinationPort == 0
}

// holder finds the process that has a socket open. Another user's files are hidden
// from who is not root.
func holder(s *netlink.Socket) string {
	target := fmt.Sprintf("socket:[%d]", s.INode)
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		if to, err := os.Readlink(file); err != nil || to != target {
			continue
		}
		pid := strings.Split(file, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err == nil {
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return fmt.Sprintf("a program of user %d", s.UID)
}
