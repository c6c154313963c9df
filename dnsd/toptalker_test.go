package dnsd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The ports that send nearly all of a whole sample, while others send, too.
func TestTopTalkers(t *testing.T) {
	frames := func(port, host, n int) (out []frame) {
		for range n {
			out = append(out, frame{fmt.Sprint("tap", port), netip.AddrFrom4([4]byte{192, 168, 10, byte(host)})})
		}
		return out
	}
	var many []frame
	for host := range 250 {
		many = append(many, frames(1, host, 2)...)
	}
	other := frames(2, 51, window/10)
	for name, tt := range map[string]struct {
		frames []frame
		want   string
	}{
		"nothing":                       {nil, "[]"},
		"alone":                         {frames(1, 50, window), "[]"},
		"too few":                       {slices.Concat(frames(1, 50, window/3), other), "[]"},
		"two alike":                     {slices.Concat(frames(1, 50, window/2), frames(2, 51, window/2)), "[]"},
		"a guest and others":            {slices.Concat(frames(1, 50, window-len(other)), other), "[192.168.10.50 (tap1)]"},
		"in the other's name":           {slices.Concat(frames(1, 51, window-len(other)), other), "[192.168.10.51 (tap1)]"},
		"in everybody's name":           {slices.Concat(many[:window-len(other)], other), "[tap1]"},
		"two addresses behind a router": {slices.Concat(frames(1, 60, 60), frames(1, 61, window-60-len(other)), other), "[192.168.10.61 (tap1)]"},
		"two together":                  {slices.Concat(frames(1, 50, window/2), frames(3, 52, window/3), other), "[192.168.10.50 (tap1) 192.168.10.52 (tap3)]"},
		"many small ones": {slices.Concat(
			frames(1, 1, 50), frames(2, 2, 50), frames(3, 3, 50), frames(4, 4, 50), frames(5, 5, 50), frames(6, 6, 50), frames(7, 7, 50), frames(8, 8, 50), frames(9, 9, 50),
		), "[]"},
	} {
		if got := fmt.Sprint(topTalkers(tt.frames)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// What a port sends is dropped there, whatever MACs and addresses it invents, and
// nothing else: neither what another port sends by the same address, nor what the port
// sends by others if one address sends nearly all, nor the host's own.
func TestTopTalkersAreBlocked(t *testing.T) {
	needWorld(t)
	s, log := start(t, resolvConf(t), lab())
	n := s.networks[lab().Network]
	for server, src := range map[string]string{"192.168.10.1": "192.168.10.50", "fd00:10::1": "fd00:10::50"} {
		at := netip.AddrPortFrom(addr(server), 53)
		l := n.listeners[at].udp
		l.least, l.rate = time.Hour, 1
		hush := loud(t, at, map[bool]string{true: "udp", false: "tcp"}[at.Addr().Is4()])
		eventually(t, src+" is blocked", func() bool { n.blockTopTalkers(l); return l.blocks() })
		hush()
		if n := replies(t, "guest", at, 200); n > 5 {
			t.Errorf("%d of 200 queries of %s were answered", n, src)
		}
		answered(t, server, map[string]bool{"neighbour": true, "": true})
		l.unblock()
		for _, other := range []talker{{"g2", addr(src)}, {"g0", addr(server).Next().Next()}} {
			l.blockPorts([]talker{other})
			if !l.blocks() {
				t.Fatalf("%v is not blocked", other)
			}
			answered(t, server, map[string]bool{"guest": true, "neighbour": true, "": true})
			if l.unblock(); t.Failed() {
				t.Fatalf("%v was blocked", other)
			}
		}
	}
	if !log.has("50 (g0)") {
		t.Errorf("the port is not in the log:\n%s", log)
	}
	if out, err := in("", "nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), "vnetd-dns") {
		t.Errorf("left behind: %s, %v", out, err)
	}
}

// replies returns how many of n queries at once are answered.
func replies(t *testing.T, netns string, at netip.AddrPort, n int) (got int) {
	t.Helper()
	c := dial(t, netns, "udp", at.String())
	pkt := pack(t, question("web.lab.test.", dns.TypeA))
	for range n {
		_, _ = c.Write(pkt)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	for buf := make([]byte, 1500); got < n; got++ {
		if _, err := c.Read(buf); err != nil {
			break
		}
	}
	return got
}

func (l *udpListeners) blocks() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.block != nil
}

// A port that floods on is blocked for longer each time.
func TestBlockedForLongerEachTime(t *testing.T) {
	needWorld(t)
	l := &udpListeners{at: mustAddrPort("192.168.10.1:53"), least: blockTime, rate: blockedRate}
	for _, tt := range []struct{ quiet, want time.Duration }{
		{time.Hour, blockTime},
		{blockTime / 2, 2 * blockTime},
		{0, 4 * blockTime},
		{0, maxBlockTime},
		{0, maxBlockTime},
		{2 * blockTime, blockTime},
	} {
		l.ended = time.Now().Add(-tt.quiet)
		if !l.blockPorts([]talker{{port: "g0"}}) || l.span != tt.want {
			t.Errorf("after %s: blocked for %s, want %s", tt.quiet, l.span, tt.want)
		}
		if l.blockPorts([]talker{{port: "g2"}}) {
			t.Error("two blocks at once")
		}
		l.unblock()
	}
	if l.blockPorts([]talker{{port: "g0"}, {port: "vanished0"}}) {
		t.Log("a port that is not there can be blocked with this kernel")
	}
	eventually(t, "a block ends by itself", func() bool { return !l.blocks() })
}

func answered(t *testing.T, server string, want map[string]bool) {
	t.Helper()
	for netns, want := range want {
		if got := len(dig(t, netns, "@"+server, "+time=1", "+tries=1", "web.lab.test", "A").lines) == 1; got != want {
			t.Errorf("%q asks %s: answered %v", netns, server, got)
		}
	}
}

// loud has the guest ask a hundred times as often as its neighbour, which asks by
// UDP or TCP.
func loud(t *testing.T, at netip.AddrPort, network string) (hush func()) {
	t.Helper()
	guest := dial(t, "guest", "udp", at.String())
	neighbour := &dns.Conn{Conn: dial(t, "neighbour", network, at.String())}
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
			if _, _ = guest.Write(pkt); i%100 == 0 {
				_, _ = neighbour.Write(pkt)
			}
			if i%100 == 0 && network == "tcp" {
				_, _ = neighbour.ReadMsg()
			}
		}
	})
	return func() { close(stop); asking.Wait() }
}
