package daemon_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/tapbroker"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// plugged has a namespace be the guest of a declared port: frames are copied between
// the port's tap and one of the namespace's.
func plugged(t *testing.T, d *nettest.Daemon, p port, address string) *nettest.Namespace {
	t.Helper()
	ns := nettest.NewNamespace(t, "guest")
	_, files := taken(t, d, 0, 0, tapbroker.Request{Port: p.Link})
	var inside *os.File
	err := ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("eth0")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		inside = os.NewFile(uintptr(fd), "eth0") // the poller takes a tap only
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inside.Close() })
	pump := func(from, to *os.File) {
		frame := make([]byte, 70000)
		for {
			n, err := from.Read(frame)
			if err != nil {
				return
			}
			_, _ = to.Write(frame[:n])
		}
	}
	go pump(files[0], inside)
	go pump(inside, files[0])
	ns.Run(t, "ip link set eth0 address "+p.Mac+" up")
	ns.Address(t, "eth0", address+"/24")
	ns.Route(t, "0.0.0.0/0", "192.168.10.1", 0)
	return ns
}

// A port has limits of its own, which change while frames pass; what it does not say,
// its network does.
func TestBandwidthOfOnePort(t *testing.T) {
	nettest.Need(t, "iperf3")
	w, d := labWorld(t)
	iperfServers(t, w.Internet.Namespace, 1)
	set(t, d, "{perPort: {in: {average: 40mbit}, out: {average: 20mbit}}}")
	p := createPort(t, d, "lab", "--link", "web0", "--address", "192.168.10.44", "--set", "bandwidth.in.average=10mbit")
	g := plugged(t, d, p, "192.168.10.44")
	check(t, g, flow{"its own, TCP to the guest", "-c 203.0.113.1 -R", tcpShare, 10})
	check(t, g, flow{"its network's, TCP from it", "-c 203.0.113.1", tcpShare, 20})
	says(t, "port set", d.Ctl(t, "port", "set", p.Link, "bandwidth.in.average=25mbit", "bandwidth.out={average: 5mbit}"), "port "+p.Link+" changed")
	check(t, g, flow{"changed, UDP to the guest", "-c 203.0.113.1 -R -u -l 1448 -b 60M", udpShare, 25})
	check(t, g, flow{"changed, UDP from it", "-c 203.0.113.1 -u -l 1448 -b 30M", udpShare, 5})
	says(t, "port set", d.Ctl(t, "port", "set", p.Link, "bandwidth.in.average=25mbit"), "unchanged")
	says(t, "port show", d.Ctl(t, "port", "show", p.Link), "limits:", "average: 25mbit")
	other, _ := guest(t, w, "db", "lab0")
	check(t, other.Namespace, flow{"another, TCP to it", "-c 203.0.113.1 -R", tcpShare, 40})
	d.Ctl(t, "port", "set", p.Link, "bandwidth=")
	check(t, g, flow{"its network's, TCP to it", "-c 203.0.113.1 -R", tcpShare, 40})

	for _, c := range []struct{ word, says string }{
		{"bandwidth.in.average=7bit", "bandwidth.in.average: \"7bit\" is not a whole number of bytes"},
		{"bandwidth.in.floor=1mbit", "bandwidth.in.floor: is a part of what all guests share, and network lab has no bandwidth.in.average"},
		{"queues=2", "queues: is part of how a port is made"},
		{"addresses=[10.0.0.1]", "addresses[0]: 10.0.0.1 is in none of the network's subnets"},
	} {
		refused(t, d, "", 1, []string{"port", "set", p.Link, c.word}, c.says)
	}
	refused(t, d, "", 3, []string{"port", "set", "nope", "guest=x"}, "port nope")
	d.Ctl(t, "port", "set", p.Link, "guest=web", "addresses=[192.168.10.45]")
	says(t, "DNS", other.Run(t, "dig +short web.lab.test @192.168.10.1"), "192.168.10.45")
}

// together measures flows of several guests at once, in Mbit/s of whole frames. What
// each offers by UDP, in Mbit/s, is to be more than it gets, and no more than a slow
// machine can send.
func together(t *testing.T, guests []*nettest.Namespace, args string, share float64, offers ...int) []float64 {
	t.Helper()
	out := make([]float64, len(guests))
	var wg sync.WaitGroup
	for i, g := range guests {
		args := args
		if offers != nil {
			args += fmt.Sprintf(" -u -l 1448 -b %dM", offers[i])
		}
		wg.Go(func() { out[i] = iperf(t, g, 5201+i, flow{args: args}) / share })
	}
	wg.Wait()
	return out
}

// wants measures until each flow is within 5 percent of what it is to be, for this
// machine may be busy with something else; 0 is as it comes.
func wants(t *testing.T, what string, want []float64, total float64, measure func() []float64) {
	t.Helper()
	ok := func(got, want, percent float64) bool {
		return want == 0 || 100*got >= want*(100-percent) && 100*got <= want*(100+percent)
	}
	for range 4 {
		got, sum, good := measure(), 0.0, true
		for i, g := range got {
			sum += g
			good = good && ok(g, want[i], 5)
		}
		t.Logf("%s: %.1f, together %.1f; want %.1f, together %.1f", what, got, sum, want, total)
		if good && ok(sum, total, 5) {
			return
		}
	}
	t.Errorf("%s: not within 5 %%", what)
}

// A floor is a guest's however many others want, in both directions; what it leaves is
// theirs, and what they leave is its.
func TestBandwidthFloor(t *testing.T) {
	nettest.Need(t, "iperf3")
	w, d := labWorld(t)
	iperfServers(t, w.Internet.Namespace, 4)
	set(t, d, "{in: {average: 40mbit}, out: {average: 24mbit}}")
	p := createPort(t, d, "lab", "--link", "web0", "--address", "192.168.10.44", "--set", "bandwidth={in: {floor: 24mbit}, out: {floor: 15mbit}}")
	guests := []*nettest.Namespace{plugged(t, d, p, "192.168.10.44")}
	for i := range 3 {
		g, _ := guest(t, w, fmt.Sprint("other", i), "lab0")
		guests = append(guests, g.Namespace)
	}
	wants(t, "to guests", []float64{24, 0, 0, 0}, 40, func() []float64 {
		return together(t, guests, "-c 203.0.113.1 -R", udpShare, 30, 12, 12, 12)
	})
	wants(t, "from guests", []float64{15, 0, 0, 0}, 0, func() []float64 {
		return together(t, guests, "-c 203.0.113.1", udpShare, 20, 8, 8, 8)
	})
	wants(t, "others alone", []float64{0, 0, 0}, 40, func() []float64 {
		return together(t, guests[1:], "-c 203.0.113.1 -R", tcpShare)
	})
	refused(t, d, "", 1, []string{"port", "create", "lab", "--link", "web1", "--set", "bandwidth.in.floor=17mbit"},
		"bandwidth.in.floor: the floors of the network's ports are 41mbit then, and its bandwidth.in.average is 40mbit")
	says(t, "tc", tcSays(t, w.Host, "lab0"), "rate 24Mbit ceil 40Mbit")
	d.Restart()
	if n := strings.Count(d.Log(), "step applied"); n > 0 {
		t.Errorf("a restart changed something: %d steps", n)
	}
	for _, breaks := range []string{"tc filter del dev lab0 parent 766e: pref 30318", "tc filter del dev lab0 parent 766e: pref 30319", "tc class change dev lab0 parent 766e:1 classid 766e:2 htb rate 1gbit"} {
		before := tcShares(t, w.Host, "lab0")
		w.Host.Run(t, breaks)
		nettest.Eventually(t, breaks+" is mended", func() error {
			if now := tcShares(t, w.Host, "lab0"); now != before {
				return fmt.Errorf("tc says %s, said %s", now, before)
			}
			return nil
		})
	}
	d.Ctl(t, "port", "delete", p.Link)
	if said := tcSays(t, w.Host, "lab0"); strings.Contains(said, "766e:2") {
		t.Errorf("nobody has a floor any more, and tc says %s", said)
	}
}

// tcShares is what tc says of shares, without what the kernel numbers as it likes.
func tcShares(t *testing.T, ns *nettest.Namespace, link string) string {
	t.Helper()
	return ns.Run(t, "tc class show dev "+link+" | sed 's/leaf [^ ]*//' | sort; tc filter show dev "+link+" | grep -o 'flowid.*\\|match.*' | sort")
}

// Guests have a limit each, and one together: a guest alone has its own, and two
// divide what there is; to each other they have their own.
func TestBandwidthOutOfBoth(t *testing.T) {
	nettest.Need(t, "iperf3")
	w, d := labWorld(t)
	iperfServers(t, w.Internet.Namespace, 2)
	set(t, d, "{out: {average: 30mbit}, perPort: {out: {average: 20mbit}}}")
	a, _ := guest(t, w, "web", "lab0")
	b, l := guest(t, w, "db", "lab0")
	iperfServers(t, b.Namespace, 1)
	both := []*nettest.Namespace{a.Namespace, b.Namespace}
	check(t, a.Namespace, flow{"one alone, TCP", "-c 203.0.113.1", tcpShare, 20})
	wants(t, "two at once", []float64{15, 15}, 30, func() []float64 {
		return together(t, both, "-c 203.0.113.1", udpShare, 25, 25)
	})
	check(t, a.Namespace, flow{"to the other", "-c " + l.Address.Addr().String(), tcpShare, 20})
	d.Restart()
	if n := strings.Count(d.Log(), "step applied"); n > 0 {
		t.Errorf("a restart changed something: %d steps", n)
	}
	set(t, d, "{out: {average: 30mbit}}")
	check(t, a.Namespace, flow{"the network's alone", "-c 203.0.113.1", tcpShare, 30})
}

// After a time of silence a burst passes at the peak, and then the average holds.
func TestBandwidthPeak(t *testing.T) {
	nettest.Need(t, "iperf3")
	w, d := labWorld(t)
	iperfServers(t, w.Internet.Namespace, 1)
	g, _ := guest(t, w, "web", "lab0")
	// A burst takes burst / (peak - average) = 1 s.
	set(t, d, "{perPort: {in: {average: 8mbit, peak: 40mbit, burst: 4MB}}}")
	wants(t, "peak, and average", []float64{40, 8}, 0, func() []float64 {
		out := g.Run(t, "sleep 4; iperf3 -J -t 3 -i 0.1 -p 5201 -c 203.0.113.1 -R -u -l 1448 -b 60M")
		var r struct {
			Intervals []struct {
				Sum struct {
					Start float64
					Bytes float64
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		var peak, average float64 // of 0.1 to 0.7 s, and 1.8 to 2.8 s
		for _, i := range r.Intervals {
			switch at := i.Sum.Start + 0.05; {
			case at > 0.1 && at < 0.7:
				peak += i.Sum.Bytes * 8 / 1e6 / 0.6
			case at > 1.8 && at < 2.8:
				average += i.Sum.Bytes * 8 / 1e6
			}
		}
		return []float64{peak / udpShare, average / udpShare}
	})
}
