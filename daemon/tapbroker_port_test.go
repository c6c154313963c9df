package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnetd/vnetd/api/tapbroker"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// labAccess lets a user and a group take ports of lab.
const labAccess = lab + "access: {users: ['4242'], groups: ['7777'], macPrefix: '52:54:00', maxPorts: 2}\n"

// doorWorld is a host whose network lab has an access list.
func doorWorld(t *testing.T) (*nettest.World, *nettest.Daemon) {
	t.Helper()
	w := nettest.New(t)
	w.Host.Udev(t, 0)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, labAccess, "network", "create", "-f", "-")
	return w, d
}

func door(d *nettest.Daemon) string { return filepath.Join(d.RuntimeDir, "tap.sock") }

// take asks the door as a user.
func take(t *testing.T, d *nettest.Daemon, uid, gid int, req tapbroker.Request) (resp tapbroker.Response, files []*os.File, err error) {
	t.Helper()
	nettest.As(uid, gid, func() { resp, files, err = tapbroker.Open(t.Context(), door(d), req) })
	t.Cleanup(func() { closeFiles(files) })
	return resp, files, err
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func taken(t *testing.T, d *nettest.Daemon, uid, gid int, req tapbroker.Request) (tapbroker.Response, []*os.File) {
	t.Helper()
	resp, files, err := take(t, d, uid, gid, req)
	if err != nil {
		t.Fatalf("user %d asks for %+v: %v", uid, req, err)
	}
	return resp, files
}

func noPorts(t *testing.T, d *nettest.Daemon, network string) {
	t.Helper()
	nettest.Eventually(t, "the ports are gone", func() error {
		if got := ports(t, d, network); len(got) > 0 {
			return fmt.Errorf("there are %+v", got)
		}
		left, _ := filepath.Glob(filepath.Join(d.RuntimeDir, "ports", "*"))
		if len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}

// A user who is named gets taps, which are gone with their files; nobody else does.
func TestTapBroker(t *testing.T) {
	w, d := doorWorld(t)
	one, files := taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab", MAC: tapbroker.AutoMAC, Guest: "web"})
	if one.Network != "lab" || one.Kind != "tap" || !strings.HasPrefix(one.MAC, "52:54:00:") || len(files) != 1 {
		t.Errorf("got %+v and %d files", one, len(files))
	}
	says(t, "the tap", onTap(t, w.Host, one.Link), "master lab0", "persist off", "user 4242", "vnet_hdr on", "pi off", ",UP", "LOWER_UP")
	two, queues := taken(t, d, 4242, 4242, tapbroker.Request{Bridge: "lab0", Queues: 4, NoVnetHeader: true})
	if len(queues) != 4 || two.MAC != "" {
		t.Errorf("got %+v and %d files", two, len(queues))
	}
	says(t, "the second tap", onTap(t, w.Host, two.Link), "master lab0", "multi_queue", "vnet_hdr off", "numtxqueues", "link/ether fe:54:")

	for name, c := range map[string]struct {
		uid, gid int
		req      tapbroker.Request
		want     string
	}{
		"one too many":    {4242, 4242, tapbroker.Request{Network: "lab"}, "has 2 ports of network lab, and may have no more"},
		"a stranger":      {9999, 9999, tapbroker.Request{Network: "lab"}, "user 9999 may not take ports of network lab"},
		"by the bridge":   {9999, 9999, tapbroker.Request{Bridge: "lab0"}, "user 9999 may not take ports of network lab"},
		"another's MAC":   {9999, 7777, tapbroker.Request{Network: "lab", MAC: one.MAC}, "is the MAC of port " + one.Link},
		"a foreign MAC":   {9999, 7777, tapbroker.Request{Network: "lab", MAC: "02:00:00:00:00:01"}, "begin with 52:54:00"},
		"another's name":  {9999, 7777, tapbroker.Request{Network: "lab", MAC: tapbroker.AutoMAC, Guest: "printer"}, "is the name of another guest"},
		"no network":      {9999, 7777, tapbroker.Request{Network: "nowhere"}, "there is no network nowhere"},
		"no bridge":       {9999, 7777, tapbroker.Request{Bridge: "eth0"}, "no network has the bridge eth0"},
		"no port":         {9999, 7777, tapbroker.Request{Port: "vnet9"}, "there is no declared port vnet9"},
		"not a declared":  {4242, 4242, tapbroker.Request{Port: one.Link}, "there is no declared port"},
		"too many queues": {9999, 7777, tapbroker.Request{Network: "lab", Queues: 65}, "65 queues"},
		"two at once":     {9999, 7777, tapbroker.Request{Network: "lab", Bridge: "lab0"}, "names one of"},
	} {
		_, _, err := take(t, d, c.uid, c.gid, c.req)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	by, group := taken(t, d, 9999, 7777, tapbroker.Request{Network: "lab"})
	_, root := taken(t, d, 0, 0, tapbroker.Request{Network: "lab", MAC: "02:00:00:00:00:01"})

	index := w.Host.Ifindex(t, by.Link)
	d.Kill()
	d.Start()
	if now := w.Host.Ifindex(t, by.Link); now != index || len(ports(t, d, "lab")) != 4 {
		t.Errorf("after a restart: link %d, was %d; ports %+v", now, index, ports(t, d, "lab"))
	}
	closeFiles(files)
	closeFiles(queues)
	closeFiles(group)
	closeFiles(root)
	noPorts(t, d, "lab")
	taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab"})
}

// A declared port is opened by its owner, and stays when he has gone.
func TestTapBrokerOpensDeclaredPorts(t *testing.T) {
	w, d := doorWorld(t)
	p := createPort(t, d, "lab", "--owner", "9999", "--queues", "2")
	if _, _, err := take(t, d, 4242, 4242, tapbroker.Request{Port: p.Link}); err == nil || !strings.Contains(err.Error(), "does not belong to user 4242") {
		t.Errorf("another user: %v", err)
	}
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch")
	told := func(text string) {
		t.Helper()
		if err := events.WaitFor(t.Context(), text); err != nil {
			t.Errorf("%v; got\n%s", err, events.Output())
		}
	}
	told("synced")
	resp, files := taken(t, d, 9999, 9999, tapbroker.Request{Port: p.Link})
	told("port-up lab " + p.Link)
	if resp.MAC != p.Mac || len(files) != 2 {
		t.Errorf("got %+v and %d files", resp, len(files))
	}
	closeFiles(files)
	told("port-down lab " + p.Link)
	says(t, "the tap", onTap(t, w.Host, p.Link), "master lab0", "persist on")
	// A definition in a file, as port show prints it.
	d.Ctl(t, "port", "delete", p.Link)
	d.CtlInput(t, fmt.Sprintf("{network: lab, link: %s, mac: '%s', owner: '9999', queues: 2}", p.Link, p.Mac), "port", "create", "-f", "-")
	shown := d.Ctl(t, "port", "show", p.Link)
	d.Ctl(t, "port", "delete", p.Link)
	d.CtlInput(t, shown, "port", "create", "-f", "-")
	says(t, "port show", d.Ctl(t, "port", "show", p.Link), p.Mac, "9999")
}

// Whoever sends nonsense, says nothing, hangs up or comes by the hundred is refused or
// cleaned up after, and costs the others nothing.
func TestHostilePeersOfTheTapBroker(t *testing.T) {
	_, d := doorWorld(t)
	dial := func() net.Conn {
		c, err := net.Dial("unix", door(d))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	answer := func(c net.Conn) string {
		_ = c.SetReadDeadline(time.Now().Add(nettest.Patience))
		line, err := tapbroker.ReadLine(c)
		if err != nil {
			return err.Error()
		}
		var resp tapbroker.Response
		if err := json.Unmarshal(line, &resp); err != nil {
			return err.Error()
		}
		return resp.Error
	}
	nettest.As(4242, 4242, func() {
		for text, want := range map[string]string{
			"GET / HTTP/1.0\r\n\r\n":                "not a line of JSON",
			"{}\n":                                  "names one of network, bridge and port",
			"null\n":                                "names one of",
			`{"network": 7}` + "\n":                 "not a line of JSON",
			strings.Repeat("x", 9000):               "longer than 4096 bytes",
			"{\"network\":\"lab\",\"mac\":\"x\"}\n": "x",
		} {
			c := dial()
			_, _ = c.Write([]byte(text))
			if got := answer(c); !strings.Contains(got, want) {
				t.Errorf("%.20q: answered %q, want %q", text, got, want)
			}
		}
		// Dead before the answer.
		for range 5 {
			c := dial()
			_, _ = c.Write([]byte("{\"network\":\"lab\"}\n"))
			c.Close()
		}
	})
	noPorts(t, d, "lab")
	// The daemon may still be ending the connections of the peers before.
	nettest.Eventually(t, "all but 8 connections are refused", func() error {
		var silent []net.Conn
		refused := 0
		nettest.As(4242, 4242, func() {
			for range 100 {
				silent = append(silent, dial())
			}
			for _, c := range silent[8:] {
				if strings.Contains(answer(c), "too many connections") {
					refused++
				}
			}
		})
		// Others are served meanwhile.
		_, files := taken(t, d, 9999, 7777, tapbroker.Request{Network: "lab"})
		closeFiles(files)
		told := 0
		for _, c := range silent[:8] {
			if strings.Contains(answer(c), "read the request") {
				told++
			}
		}
		for _, c := range silent {
			c.Close()
		}
		if refused != 92 || told != 8 {
			return fmt.Errorf("of 100 connections %d were refused and %d silent ones ended, want all but 8, and 8", refused, told)
		}
		return nil
	})
	_, files := taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab"})
	closeFiles(files)
	noPorts(t, d, "lab")
}

// A user who asks for ports and drops them without end is held to his rate, and costs
// another, who starts his machines meanwhile, next to nothing.
func TestFloodOfTheTapBroker(t *testing.T) {
	_, d := doorWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var given, refused atomic.Int32
	var flood sync.WaitGroup
	for range 6 {
		flood.Go(func() {
			for ctx.Err() == nil {
				_, files, err := take(t, d, 4242, 4242, tapbroker.Request{Network: "lab"})
				closeFiles(files)
				switch {
				case err == nil:
					given.Add(1)
				case strings.Contains(err.Error(), "too many requests"):
					refused.Add(1)
				}
			}
		})
	}
	nettest.Eventually(t, "the flood is stopped", func() error {
		if n := refused.Load(); n < 50 {
			return fmt.Errorf("%d refused", n)
		}
		return nil
	})
	before, began := given.Load(), time.Now()
	for range 5 {
		_, files := taken(t, d, 9999, 7777, tapbroker.Request{Network: "lab"})
		closeFiles(files)
	}
	took := time.Since(began)
	more := given.Load() - before
	stop()
	flood.Wait()
	t.Logf("five ports in %s beside a flood, of which %d of %d were served", took, given.Load(), given.Load()+refused.Load())
	if took > 10*time.Second || float64(more) > 4*took.Seconds()+8 {
		t.Errorf("five ports took %s, and %d of the flood's were given", took, more)
	}
}

// vnetctl run gives a program its descriptors, and the port is gone with it; a macvtap,
// too, which would stay by itself, and also if the daemon is killed meanwhile.
func TestRun(t *testing.T) {
	w, d := doorWorld(t)
	nettest.Connect(t, w.Host, "eno1", w.Internet.Namespace, "lan1")
	d.CtlInput(t, "{name: lan, mode: direct, direct: {uplinks: [eno1]}, access: {users: ['4242']}}", "network", "create", "-f", "-")
	as := "VNETD_RUNTIME_DIR=" + d.RuntimeDir + " exec setpriv --reuid 4242 --regid 4242 --clear-groups " + d.Program("vnetctl") + " run "
	out := w.Host.Run(t, as+"--network lab --queues 2 --fd 7 --mac 52:54:00:00:00:09 -- sh -c 'echo {fd} {mac}; cat /proc/self/fdinfo/8; exit 0'")
	says(t, "run", out, "7:8 52:54:00:00:00:09", "iff:\tvnet")
	if out, err := w.Host.Try(t.Context(), as+"--network lab -- sh -c 'exit 7'"); err == nil || !strings.Contains(err.Error(), "7") {
		t.Errorf("the program's exit code: %v, %s", err, out)
	}
	noPorts(t, d, "lab")

	for _, network := range []string{"lab", "lan"} {
		p := w.Host.Start(t, "sh", "-c", as+"--network "+network+" -- sh -c 'test -c /proc/self/fd/3 && echo open; exec sleep 1000'")
		if err := p.WaitFor(t.Context(), "open"); err != nil {
			t.Fatalf("%v\n%s", err, d.Log())
		}
		if got := ports(t, d, network); len(got) != 1 || !got[0].Attached {
			t.Errorf("ports %+v", got)
		}
		d.Kill()
		d.Start()
		if got := ports(t, d, network); len(got) != 1 {
			t.Errorf("after a restart: ports %+v", got)
		}
		p.Kill()
		noPorts(t, d, network)
	}
	if out := w.Host.Run(t, "ip -o link show type macvtap"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

// What the guide says works as it is written.
func TestPortsGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/ports.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(guide), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("no definition")
	}
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		d.CtlInput(t, text, "network", "create", "-f", "-")
	}
	d.Ctl(t, "network", "set", "lab", "access.users[2]=4242")
	out := d.Ctl(t, "port", "create", "lab", "--guest", "web", "--address", "10.20.0.10", "--owner", "nobody", "--link", "web0")
	says(t, "port create", out, "web0 52:54:00:")
	_, files := taken(t, d, 1000, 1000, tapbroker.Request{Network: "lab", MAC: "auto", Queues: 2})
	if len(files) != 2 {
		t.Errorf("%d descriptors", len(files))
	}
	taken(t, d, 4242, 4242, tapbroker.Request{Network: "lab"})
	says(t, "port list", d.Ctl(t, "port", "list", "lab"), "web0", "10.20.0.10")
}
