package dnsd

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/bpf"
)

// Who sends nearly all of a whole sample, while others send, too.
func TestFindFlooder(t *testing.T) {
	frames := func(mac byte, host, n int) (out []frame) {
		for range n {
			out = append(out, frame{[6]byte{2, 0, 0, 0, 0, mac}, netip.AddrFrom4([4]byte{192, 168, 10, byte(host)})})
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
		"nothing":                       {nil, ""},
		"alone":                         {frames(1, 50, window), ""},
		"too few":                       {append(frames(1, 50, window/2), other...), ""},
		"two alike":                     {append(frames(1, 50, window/2), frames(2, 51, window/2)...), ""},
		"a guest and others":            {append(frames(1, 50, window-len(other)), other...), "192.168.10.50 (02:00:00:00:00:01)"},
		"in the other's name":           {append(frames(1, 51, window-len(other)), other...), "192.168.10.51 (02:00:00:00:00:01)"},
		"in everybody's name":           {append(many[:window-len(other)], other...), "02:00:00:00:00:01"},
		"two addresses behind a router": {append(append(frames(1, 60, 60), frames(1, 61, window-60-len(other))...), other...), "192.168.10.61 (02:00:00:00:00:01)"},
	} {
		f, ok := findFlooder(tt.frames)
		if ok != (tt.want != "") || ok && f.String() != tt.want {
			t.Errorf("%s: %v, %v, want %q", name, f, ok, tt.want)
		}
	}
}

// What a flooder sends is dropped, and nothing else: neither what others send by its
// address, nor what it sends by another, nor the host's own.
func TestFlooderIsFound(t *testing.T) {
	needWorld(t)
	s, log := start(t, resolvConf(t), lab())
	n := s.networks[lab().Network]
	mac := macOf(t, "guest")
	for server, src := range map[string]string{"192.168.10.1": "192.168.10.50", "fd00:10::1": "fd00:10::50"} {
		at := netip.AddrPortFrom(addr(server), 53)
		e := n.listeners[at].udp
		e.least = time.Hour
		hush := loud(t, at, map[bool]string{true: "udp", false: "tcp"}[at.Addr().Is4()])
		eventually(t, src+" is found", func() bool { n.deafen(e); return slices.Equal(e.whom(), flooder{mac, addr(src)}.filter()) })
		hush()
		answered(t, server, map[string]bool{"guest": false, "neighbour": true, "": true})
		e.hearAgain()
		for to, from := range map[string]flooder{"neighbour": {macOf(t, "neighbour"), addr(src)}, "nobody": {mac, addr("192.0.2.1")}} {
			e.ignore(from.filter())
			answered(t, server, map[string]bool{"guest": true, "neighbour": true, "": true})
			if e.hearAgain(); t.Failed() {
				t.Fatalf("in the name of %s", to)
			}
		}
	}
	if !log.has(fmt.Sprintf("(%s)", mac)) {
		t.Errorf("nothing of %s in the log:\n%s", mac, log)
	}
}

// whom returns what drops who is not heard.
func (e *ears) whom() []bpf.Instruction {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deaf
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

func macOf(t *testing.T, netns string) net.HardwareAddr {
	t.Helper()
	out, err := in(netns, "cat", "/sys/class/net/eth0/address").Output()
	mac, perr := net.ParseMAC(strings.TrimSpace(string(out)))
	if err != nil || perr != nil {
		t.Fatal(err, perr)
	}
	return mac
}
