package dnsd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func framed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b := pack(t, m)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func readFramed(t testing.TB, c net.Conn) *dns.Msg {
	t.Helper()
	m, err := tryFramed(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryFramed(c net.Conn) (*dns.Msg, error) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	return m, m.Unpack(b)
}

func send(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// ended waits until the server has closed a connection.
func ended(t testing.TB, what string, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: still open (%v)", what, err)
	}
}

func TestTCPAnswersManyQueriesInAnyOrder(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	release := up.hold()
	defer release()
	start(t, resolvConf(t), via(up))
	c := dial(t, "guest", "tcp", "192.168.10.1:53")
	var both []byte
	slow, fast := question("www.example.org.", dns.TypeA), question("web.lab.test.", dns.TypeA)
	slow.Id, fast.Id = 1, 2
	both = append(append(both, framed(t, slow)...), framed(t, fast)...)
	send(t, c, both)
	if m := readFramed(t, c); m.Id != 2 || len(m.Answer) != 1 {
		t.Fatalf("first: %v", m)
	}
	release()
	_ = c.(*net.TCPConn).CloseWrite() // RFC 7766 §6.2.1: what was asked is still answered
	if m := readFramed(t, c); m.Id != 1 || len(m.Answer) != 1 {
		t.Fatalf("second: %v", m)
	}
	ended(t, "after the last answer", c)
}

func TestTCPClientsAreLimited(t *testing.T) {
	needWorld(t)
	start(t, resolvConf(t), lab())
	open := 0
	for range maxClientConns + 20 {
		c := dial(t, "guest", "tcp", "192.168.10.1:53")
		_, _ = c.Write(framed(t, question("web.lab.test.", dns.TypeA)))
		if _, err := tryFramed(c); err == nil {
			open++
		}
	}
	if open != maxClientConns {
		t.Errorf("%d connections of one client were served, want %d", open, maxClientConns)
	}
	if a := dig(t, "", "+tcp", "@192.168.10.1", "web.lab.test"); a.status != "NOERROR" {
		t.Errorf("another client suffers\n%s", a)
	}
}

func TestTCPEndsWithThoseWhoWasteIt(t *testing.T) {
	needWorld(t)
	s := New(resolvConf(t), quiet)
	if err := s.Set(lab()); err != nil {
		t.Fatal(err)
	}
	s.networks["lab"].idle = 200 * time.Millisecond
	startServer(t, s)
	for name, bytes := range map[string][]byte{
		"nothing":            nil,
		"half a length":      {0},
		"half a query":       framed(t, question("web.lab.test.", dns.TypeA))[:20],
		"length 0":           {0, 0},
		"length 65535":       {0xff, 0xff},
		"a reply":            framed(t, new(dns.Msg).SetReply(question("a.", dns.TypeA))),
		"less than a header": {0, 5, 1, 2, 3, 4, 5},
	} {
		c := dial(t, "guest", "tcp", "192.168.10.1:53")
		send(t, c, bytes)
		ended(t, name, c)
	}
	c := dial(t, "guest", "tcp", "192.168.10.1:53")
	query := framed(t, question("web.lab.test.", dns.TypeA))
	trickle := time.NewTicker(20 * time.Millisecond) // 30 bytes in 600 ms
	defer trickle.Stop()
	for _, b := range query {
		<-trickle.C
		if _, err := c.Write([]byte{b}); err != nil {
			break
		}
	}
	if m, err := tryFramed(c); err == nil {
		t.Errorf("a query byte by byte was waited for: %v", m)
	}
}

// A client that asks and never reads stops being read itself.
func TestTCPClientThatDoesNotReadIsBounded(t *testing.T) {
	needWorld(t)
	start(t, resolvConf(t), lab())
	c := dial(t, "guest", "tcp", "192.168.10.1:53")
	query := framed(t, question("web.lab.test.", dns.TypeA))
	_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
	sent := 0
	for sent < 64<<20 {
		n, err := c.Write(query)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= 64<<20 {
		t.Error("64 MiB of queries were taken")
	}
	if a := dig(t, "guest", "@192.168.10.1", "web.lab.test"); a.status != "NOERROR" {
		t.Errorf("others suffer\n%s", a)
	}
}

// Local and cached answers pass many that are pending on the same connection (RFC 7766
// section 6.2.1.1), and all are answered in the end.
func TestTCPLocalAnswersPassPendingOnes(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	start(t, resolvConf(t), via(up))
	want(t, dig(t, "guest", "@192.168.10.1", "cached.example.org"), "NOERROR")
	release := up.hold()
	defer release()
	c := dial(t, "guest", "tcp", "192.168.10.1:53")
	const pending = 100
	var all []byte
	for i := range pending {
		m := question(fmt.Sprintf("n%d.example.org.", i), dns.TypeA)
		m.Id = uint16(1000 + i)
		all = append(all, framed(t, m)...)
	}
	local, cached := question("web.lab.test.", dns.TypeA), question("cached.example.org.", dns.TypeA)
	local.Id, cached.Id = 1, 2
	cached.SetEdns0(1232, false)
	send(t, c, append(append(all, framed(t, local)...), framed(t, cached)...))
	for _, id := range []uint16{1, 2} {
		if m := readFramed(t, c); m.Id != id || len(m.Answer) != 1 {
			t.Fatalf("want %d first: %v", id, m)
		}
	}
	release()
	for range pending {
		if m := readFramed(t, c); m.Id < 1000 || len(m.Answer) != 1 {
			t.Fatal(m)
		}
	}
}

// A query that is sent twice on one connection holds nothing for ever: the connection
// ends, and its place is free.
func TestTCPRepeatedQueryHoldsNothing(t *testing.T) {
	needWorld(t)
	up := newUpstream(t, "127.0.0.2:5302")
	release := up.hold()
	defer release()
	s, _ := start(t, resolvConf(t), via(up))
	c := dial(t, "guest", "tcp", "192.168.10.1:53")
	q := question("www.example.org.", dns.TypeA)
	send(t, c, append(framed(t, q), framed(t, q)...))
	eventually(t, "it is asked", func() bool { return len(up.queries()) > 0 })
	release()
	if m := readFramed(t, c); m.Id != q.Id || len(m.Answer) != 1 {
		t.Fatal(m)
	}
	c.Close()
	n := s.networks["lab"]
	eventually(t, "no connection is held", func() bool {
		all, _ := n.conns.Len(addr("0.0.0.0"))
		return all == 0
	})
}
