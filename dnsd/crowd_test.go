package dnsd

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Who sends nearly all, though somebody else sends, too, is the crowd.
func TestLoudest(t *testing.T) {
	one, two, three := "\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", "\x02\x00\x00\x00\x00\x03"
	for name, tt := range map[string]struct {
		frames map[string]int
		want   string
	}{
		"nobody":            {nil, ""},
		"alone":             {map[string]int{one: 512}, ""},
		"too few":           {map[string]int{one: 10, two: 1}, ""},
		"a crowd":           {map[string]int{one: 200, two: 150, three: 162}, ""},
		"three quarters":    {map[string]int{one: 384, two: 128}, ""},
		"one and others":    {map[string]int{one: 450, two: 40, three: 22}, one},
		"one in a low tide": {map[string]int{two: 30, three: 1}, two},
	} {
		if mac, ok := loudest(tt.frames); ok != (tt.want != "") || ok && string(mac) != tt.want {
			t.Errorf("%s: %v, %v", name, mac, ok)
		}
	}
}

// A guest that asks all the time is found by its MAC, whatever its address, and the
// kernel drops what it sends for a while. Others and the host are heard.
func TestGuestIsUnmasked(t *testing.T) {
	needWorld(t)
	s, log := start(t, resolvConf(t), lab())
	n := s.networks[lab().Network]
	for server, src := range map[string]string{"192.168.10.1": "192.168.10.50", "fd00:10::1": "fd00:10::50"} {
		at := netip.AddrPortFrom(addr(server), 53)
		hush := loud(t, at)
		e := n.listeners[at].udp
		e.least = time.Hour
		eventually(t, src+" is unmasked", func() bool {
			n.unmask(e)
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.deaf != nil
		})
		hush()
		for _, netns := range []string{"guest", "neighbour", ""} {
			got := len(dig(t, netns, "@"+server, "+time=1", "+tries=1", "web.lab.test", "A").lines) == 1
			if got != (netns != "guest") {
				t.Errorf("%q asks %s: answered %v", netns, server, got)
			}
		}
		e.hearAgain()
		eventually(t, src+" is heard again", func() bool { return len(dig(t, "guest", "@"+server, "web.lab.test", "A").lines) == 1 })
	}
	if mac := macOf(t, "guest"); !log.has("client=" + mac) {
		t.Errorf("nothing of %s in the log:\n%s", mac, log)
	}
}

// loud has the guest ask a hundred times as often as its neighbour.
func loud(t *testing.T, at netip.AddrPort) (hush func()) {
	t.Helper()
	guest, neighbour := dial(t, "guest", "udp", at.String()), dial(t, "neighbour", "udp", at.String())
	pkt := pack(t, question("web.lab.test.", dns.TypeA))
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			c := guest
			if i%100 == 0 {
				c = neighbour
			}
			_, _ = c.Write(pkt)
		}
	})
	return func() { close(stop); asking.Wait() }
}

func macOf(t *testing.T, netns string) string {
	t.Helper()
	out, err := in(netns, "cat", "/sys/class/net/eth0/address").Output()
	mac, perr := net.ParseMAC(string(out[:max(len(out)-1, 0)]))
	if err != nil || perr != nil {
		t.Fatal(err, perr)
	}
	return mac.String()
}
