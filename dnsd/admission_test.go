package dnsd

import (
	"hash/maphash"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/internal/batchio"
)

// Packets of a burst are waited for, until it ends; a client that
// waits for each answer is never delayed.
func TestCoalescing(t *testing.T) {
	var c coalescing
	now := time.Now()
	come := func(packets, each int, apart time.Duration) (waited int) {
		for range packets / each {
			now = now.Add(apart)
			if c.after(each, now) {
				waited++
			}
		}
		return waited
	}
	if n := come(1000, 1, 40*time.Microsecond); n > 0 {
		t.Errorf("one after the other: waited %d times", n)
	}
	if n := come(1000, 4, 100*time.Microsecond); n < 200 {
		t.Errorf("40 000 a second: waited %d times", n)
	}
	now = now.Add(time.Hour)
	if n := come(1000, 1, time.Millisecond); n > burstPackets {
		t.Errorf("after a flood: waited %d times", n)
	}
}

func TestFairnessIsAboutOthers(t *testing.T) {
	flooder, other := addr("192.168.10.50"), addr("192.168.10.51")
	f := fairness{seed: maphash.MakeSeed()}
	for i := range 10 * window {
		if !f.admit(flooder) {
			t.Fatalf("packet %d dropped, though there is no other client", i)
		}
	}
	passed := map[netip.Addr]int{}
	const rounds = 500
	for range rounds {
		for range 99 {
			if f.admit(flooder) {
				passed[flooder]++
			}
		}
		if f.admit(other) {
			passed[other]++
		}
	}
	t.Logf("of %d packets of the one, %d passed; of %d of the other, %d", 99*rounds, passed[flooder], rounds, passed[other])
	if passed[other] != rounds || passed[flooder] > 99*rounds/2 {
		t.Error("not fair")
	}
}

// The backlog of a real socket is measured.
func TestBacklog(t *testing.T) {
	needWorld(t)
	sock, err := openSocket("udp", mustAddrPort("127.0.0.1:0"), ingress{}, false)
	if err != nil {
		t.Fatal(err)
	}
	conn := sock.(*net.UDPConn)
	defer conn.Close()
	b, err := batchio.NewReader(conn, batches)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, packets := range []int{100, 2000} {
		for range packets {
			_, _ = c.Write(make([]byte, 40))
		}
		if _, err := b.Read(true); err != nil {
			t.Fatal(err)
		}
		if got, want := b.Backlog() > maxBacklog, packets > 1000; got != want {
			t.Errorf("%d packets, %d bytes waiting", packets, b.Backlog())
		}
	}
}
