//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// roleVariable makes this program one of the servers that it brings along.
const roleVariable = "VNETD_BENCH_ROLE"

var roles = map[string]func() error{
	"echo":     func() error { return serve(false, echo) },
	"batch":    func() error { return serve(true, echo) },
	"upstream": func() error { return serve(false, resolve) },
}

// play starts a role, which listens on port 53 of every address.
func play(t testing.TB, ns *nettest.Namespace, role string) int {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(context.Background(), self)
	cmd.Env = append(cmd.Env, roleVariable+"="+role)
	p := ns.Launch(t, cmd)
	nettest.Eventually(t, role+" listens", listening(ns, "53"))
	return p.Pid()
}

// serve answers what comes to port 53.
func serve(batched bool, answer func([]byte) []byte) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 53})
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(4 << 20)
	if batched {
		return serveBatches(conn, answer)
	}
	for buf := make([]byte, maxFrame); ; {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteToUDPAddrPort(answer(buf[:n]), from); err != nil {
			return err
		}
	}
}

// serveBatches reads and writes up to sixteen packets with one system call.
func serveBatches(conn *net.UDPConn, answer func([]byte) []byte) error {
	const many = 16
	var (
		headers [many]mmsghdr
		vectors [many]unix.Iovec
		from    [many]unix.RawSockaddrInet4
		packets [many][maxFrame]byte
	)
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var n, sent int
		for i := range many {
			point(&headers[i], &vectors[i], packets[i][:])
			headers[i].hdr.Name, headers[i].hdr.Namelen = (*byte)(unsafe.Pointer(&from[i])), unix.SizeofSockaddrInet4
		}
		err := raw.Read(func(fd uintptr) bool {
			got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&headers)), many, unix.MSG_DONTWAIT, 0, 0)
			n = int(got)
			return errno != syscall.EAGAIN
		})
		if err != nil || n < 0 {
			return err
		}
		for i := range n {
			point(&headers[i], &vectors[i], answer(packets[i][:headers[i].len]))
		}
		err = raw.Write(func(fd uintptr) bool {
			got, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&headers[sent])), uintptr(n-sent), unix.MSG_DONTWAIT, 0, 0)
			if errno == syscall.EAGAIN {
				return false
			}
			sent += max(int(got), 1)
			return sent >= n
		})
		if err != nil {
			return err
		}
	}
}

// echo makes a query its own empty answer.
func echo(b []byte) []byte {
	if len(b) > 3 {
		b[2] |= 0x80 // QR
	}
	return b
}

// resolve answers every question of a type A with an address. A name in
// cached.example may be kept for an hour, any other not at all.
func resolve(b []byte) []byte {
	end := bytes.IndexByte(b[min(12, len(b)):], 0) // of the name
	if end < 0 || len(b) < 12+end+5 {
		return nil
	}
	end += 12 + 5
	var ttl uint32
	if bytes.Contains(bytes.ToLower(b[12:end]), []byte("\x06cached\x07example\x00")) {
		ttl = 3600
	}
	b = echo(b[:end:end])
	b[3] = 0x80 // RA
	copy(b[6:12], []byte{0, 0, 0, 0, 0, 0})
	if qtype := binary.BigEndian.Uint16(b[end-4:]); qtype != 1 {
		return b
	}
	b[7] = 1
	b = append(b, 0xc0, 12, 0, 1, 0, 1)
	b = binary.BigEndian.AppendUint32(b, ttl)
	addr := netip.MustParseAddr("192.0.2.80").As4()
	return append(append(b, 0, 4), addr[:]...)
}
