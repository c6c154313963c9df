//go:build bench

package bench

import (
	"fmt"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	batch    = 64 // frames in one system call
	maxFrame = 1514
)

// A crowd is any number of DHCP clients behind one link, each with a MAC of
// its own, that speak in whole frames. It reads and writes many frames with one
// system call, for it has to be faster than the servers.
type crowd struct {
	fd            int
	read, write   [batch]mmsghdr
	readV, writeV [batch]unix.Iovec
	in, out       [batch][maxFrame]byte
	queued        int
	named         bool // clients tell their hostname
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func newCrowd(t testing.TB, g *nettest.Guest) *crowd {
	c := &crowd{}
	if err := g.Do(func() (err error) { c.fd, err = listenFrames("eth0"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	for i := range batch {
		point(&c.read[i], &c.readV[i], c.in[i][:])
	}
	return c
}

// listenFrames hears all IPv4 of a link, for whichever MAC.
func listenFrames(link string) (int, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return -1, err
	}
	const proto = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index}); err != nil {
		return -1, err
	}
	promiscuous := unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_PROMISC}
	return fd, unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promiscuous)
}

func point(m *mmsghdr, v *unix.Iovec, b []byte) {
	v.Base = &b[0]
	v.SetLen(len(b))
	m.hdr.Iov = v
	m.hdr.SetIovlen(1)
}

// receive waits for frames, not for long, and returns how many there are.
func (c *crowd) receive() (int, error) {
	wait := unix.Timespec{Nsec: int64(10 * time.Millisecond)}
	ready := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	if n, err := unix.Ppoll(ready, &wait, nil); n == 0 || err == unix.EINTR {
		return 0, nil
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.read)), batch, 0, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// send queues a frame, and sends when there is no more room.
func (c *crowd) send(n int, kind byte, addr, server [4]byte) error {
	frame := appendFrame(c.out[c.queued][:0], n, kind, addr, server, c.named)
	point(&c.write[c.queued], &c.writeV[c.queued], frame)
	if c.queued++; c.queued < batch {
		return nil
	}
	return c.flush()
}

func (c *crowd) flush() error {
	for sent := 0; sent < c.queued; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.write[sent])), uintptr(c.queued-sent), 0, 0, 0)
		switch errno {
		case 0:
			sent += int(n)
		case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		default:
			return fmt.Errorf("send: %w", errno)
		}
	}
	c.queued = 0
	return nil
}

// The message types of RFC 2132 §9.6.
const (
	discover, offer, request, ack, nak = 1, 2, 3, 5, 6
)

// A job is what a crowd is to do. Its zero patience is a second.
type job struct {
	first, clients int           // their numbers
	window         int           // exchanges at once
	again          bool          // they come again and again until the time is over; or else once each
	limit          time.Duration // it ends then at the latest
	patience       time.Duration // after which a client repeats itself
}

// A result is what came of it.
type result struct {
	bound, resent, naks int
	took                time.Duration
}

func (r result) perSecond() float64 { return float64(r.bound) / r.took.Seconds() }

// attempt is what a client is at.
type attempt struct {
	client       int
	kind         byte // what it sent last; 0: it has nothing more to do
	sent         time.Time
	addr, server [4]byte
}

// run has a crowd do what the job says, on its own processor.
func (c *crowd) run(t testing.TB, l job) (r result) {
	if l.patience == 0 {
		l.patience = time.Second
	}
	pinned(t, func() error { return c.spend(&l, &r) })
	return r
}

func (c *crowd) spend(l *job, r *result) error {
	busy := make([]attempt, min(l.window, l.clients))
	at := make(map[int]*attempt, len(busy)) // by client
	next := 0
	start := time.Now()
	begin := func(a *attempt, now time.Time) error {
		delete(at, a.client)
		if next >= l.clients && !l.again {
			a.kind = 0
			return nil
		}
		*a = attempt{client: l.first + next%l.clients, kind: discover, sent: now}
		at[a.client] = a
		next++
		return c.send(a.client, a.kind, a.addr, a.server)
	}
	for i := range busy {
		busy[i].client = -1
		if err := begin(&busy[i], start); err != nil {
			return err
		}
	}
	looked := start
	for {
		if err := c.flush(); err != nil {
			return err
		}
		n, err := c.receive()
		if err != nil {
			return err
		}
		now := time.Now()
		for i := range n {
			m, ok := parse(c.in[i][:c.read[i].len])
			a := at[m.client]
			if !ok || a == nil {
				continue
			}
			switch {
			case m.kind == offer && a.kind == discover:
				a.kind, a.sent, a.addr, a.server = request, now, m.addr, m.server
				err = c.send(a.client, request, a.addr, a.server)
			case m.kind == ack && a.kind == request:
				r.bound++
				r.took = now.Sub(start)
				err = begin(a, now)
			case m.kind == nak && a.kind == request:
				r.naks++
				a.kind, a.sent, a.addr, a.server = discover, now, [4]byte{}, [4]byte{}
				err = c.send(a.client, discover, a.addr, a.server)
			}
			if err != nil {
				return err
			}
		}
		if now.Sub(start) >= l.limit || len(at) == 0 {
			return c.flush()
		}
		if now.Sub(looked) < 50*time.Millisecond {
			continue
		}
		looked = now
		for i := range busy {
			if a := &busy[i]; a.kind != 0 && now.Sub(a.sent) > l.patience {
				r.resent++
				a.sent = now
				if err := c.send(a.client, a.kind, a.addr, a.server); err != nil {
					return err
				}
			}
		}
	}
}
