package dnsd

import (
	"hash/maphash"
	"net"
	"net/netip"
	"testing"
)

func TestFairnessIsAboutOthers(t *testing.T) {
	flooder, other := addr("192.168.10.50"), addr("192.168.10.51")
	f := fairness{seed: maphash.MakeSeed()}
	for i := range 10 * window {
		if !f.admit(flooder) {
			t.Fatalf("packet %d passed over, though nobody else is there", i)
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

// A pile on a real socket is seen.
func TestBacklogIsSeen(t *testing.T) {
	needWorld(t)
	conn, err := socket{}.listenUDP(mustAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := newBatch(conn)
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
		if _, err := b.next(); err != nil {
			t.Fatal(err)
		}
		if got, want := b.piled(), packets > 1000; got != want {
			t.Errorf("%d packets, %d bytes waiting: piled %v", packets, b.waiting, got)
		}
	}
}
