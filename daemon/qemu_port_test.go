package daemon_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// patiently is a line of shell that repeats a command for as long as a machine takes
// to boot.
func patiently(command string) string {
	return "for i in $(seq 100); do " + command + " && exit 0; sleep 1; done; exit 1"
}

// finds has a machine look another up by its name, and reach it.
func finds(other string) string {
	return patiently("nslookup " + other + ".lab.test >/dev/null && ping -c 1 -W 2 " + other + ".lab.test")
}

// get fetches a page by address: the C library of a machine is static, and names are
// none of its.
func get(at string, port int, path string) string {
	return patiently(fmt.Sprintf(`printf 'GET %s HTTP/1.0\r\n\r\n' | nc -w 5 %s %d > /page; grep '200 OK' /page && tail -n 1 /page`, path, at, port))
}

// A counter is a web server in a machine. Whoever calls says who he is, and gets to
// know by which address the machine knows him.
const counter = `mkdir -p /www/cgi-bin /called
cat >/www/cgi-bin/who <<'END'
#!/bin/sh
echo "$REMOTE_ADDR" >"/called/$QUERY_STRING"
printf 'Content-Type: text/plain\r\n\r\n%s %s\n' "$(hostname)" "$REMOTE_ADDR"
END
chmod +x /www/cgi-bin/who
httpd -p 0.0.0.0:80 -h /www`

// calls asks the counter behind a published port, until it answers.
func calls(t *testing.T, ns *nettest.Namespace, at, as string) string {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			return ns.DialContext(ctx, network, to)
		},
	}}
	for range 150 {
		resp, err := client.Get("http://" + at + "/cgi-bin/who?" + as)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return strings.TrimSpace(string(body))
			}
		}
		select {
		case <-t.Context().Done():
			return "the test is over"
		case <-time.After(time.Second):
		}
	}
	return "no answer"
}

// Two virtual machines of a user who is not root, on one network by QEMU's own -netdev
// bridge and our helper, and a third on a macvtap by its descriptor: leases, names,
// each other, the world outside, and a published port that is reached from there, from
// the host and from the neighbour.
func TestQEMUWithoutRoot(t *testing.T) {
	nettest.Need(t, "qemu-system-x86_64", "setpriv")
	w, lan, d := lanWorldWith(t, func(w *nettest.World) { w.Host.Udev(t, 0) })
	w.Internet.Connect(t, lan, nettest.Uplink{Name: "up0", Gateway: []string{"198.51.100.1/24"}, Address: []string{"198.51.100.2/24"}})
	w.Internet.Route(t, "192.168.77.0/24", "198.51.100.2", 0)
	lan.Sysctl(t, "net/ipv4/ip_forward", "1")
	w.Host.Run(t, "echo alice:x:4242:4242::/:/bin/sh >> /etc/passwd; echo virt:x:7777: >> /etc/group")
	d.CtlInput(t, lab+"access: {users: [alice], macPrefix: '52:54:00'}\nfilter: {preset: clean-traffic}\n", "network", "create", "-f", "-")
	d.CtlInput(t, `
name: lan
mode: direct
direct: {uplinks: [eno1]}
access: {groups: [virt]}
`, "network", "create", "-f", "-")
	d.Ctl(t, "forward", "add", "lab", "tcp/8080", "alpha:80", "--allow-dhcp-name")
	env := []string{"VNETD_RUNTIME_DIR=" + d.RuntimeDir}
	user := []string{"setpriv", "--reuid", "4242", "--regid", "4242", "--groups", "7777"}
	helper := "helper=" + d.Program("vnet-bridge-helper")
	machines := []nettest.Machine{
		{
			Name: "alpha", MAC: "52:54:00:00:00:0a", Netdev: "bridge,br=lab0," + helper, Wrap: user,
			Commands: []string{
				counter, finds("beta"), get("203.0.113.1", 80, "/"), "touch /www/done",
				patiently("[ $(ls /called | wc -l) = 4 ]"), "sleep 1; cd /called && grep . *",
			},
		},
		{
			Name: "beta", MAC: "52:54:00:00:00:0b", Netdev: "tap,br=lab0," + helper, Wrap: user,
			// The last word is beta's, so that alpha does not look for it in vain.
			Commands: []string{
				finds("alpha"), get("203.0.113.1", 80, "/"), get("203.0.113.2", 8080, "/done"),
				get("203.0.113.2", 8080, "/cgi-bin/who?neighbour"),
			},
		},
		{
			Name: "gamma", MAC: "52:54:00:00:00:0c", Netdev: "tap,fd=3",
			Commands: []string{"ping -c 1 -W 5 192.168.77.1", get("198.51.100.1", 80, "/")},
			Wrap:     append(user, d.Program("vnetctl"), "run", "--network", "lan", "--mac", "52:54:00:00:00:0c", "--"),
		},
	}
	sessions := make([]nettest.Session, len(machines))
	var wg sync.WaitGroup
	for i := range machines {
		machines[i].Host, machines[i].Env = w.Host, env
		wg.Go(func() { sessions[i] = machines[i].Run(t) })
	}
	for _, c := range []struct {
		ns           *nettest.Namespace
		at, as, want string
	}{
		{w.Internet.Namespace, "203.0.113.2:8080", "internet", "alpha 203.0.113.1"},
		{w.Host, "203.0.113.2:8080", "host", "alpha 203.0.113.2"},
		{w.Host, "127.0.0.1:8080", "loopback", "alpha 192.168.10.1"},
	} {
		wg.Go(func() {
			if got := calls(t, c.ns, c.at, c.as); got != c.want {
				t.Errorf("%s calls %s: %q, want %q", c.as, c.at, got, c.want)
			}
		})
	}
	nettest.Eventually(t, "three guests", func() error {
		if got := append(ports(t, d, "lab"), ports(t, d, "lan")...); len(got) != 3 {
			return fmt.Errorf("ports %+v", got)
		}
		return nil
	})
	wg.Wait()
	for i, s := range sessions {
		for _, r := range s.Results {
			if r.Status != 0 {
				t.Errorf("%s: %s: exit %d\n%s", machines[i].Name, r.Command, r.Status, r.Output)
			}
		}
	}
	if t.Failed() {
		return
	}
	for i, prefix := range []string{"192.168.10.0/24", "192.168.10.0/24", "192.168.77.0/24"} {
		if a := sessions[i].Lease.Address; !netip.MustParsePrefix(prefix).Contains(a.Addr()) {
			t.Errorf("%s has %s, want one of %s", machines[i].Name, a, prefix)
		}
	}
	alpha, beta, gamma := sessions[0], sessions[1], sessions[2]
	says(t, "alpha", alpha.Results[1].Output, "1 packets received", beta.Lease.Address.Addr().String())
	says(t, "beta", beta.Results[0].Output, "1 packets received", alpha.Lease.Address.Addr().String())
	says(t, "alpha's download", alpha.Results[2].Output, "203.0.113.2")
	says(t, "beta's download", beta.Results[1].Output, "203.0.113.2")
	says(t, "gamma's download", gamma.Results[1].Output, gamma.Lease.Address.Addr().String())
	says(t, "the neighbour's call", beta.Results[3].Output, "alpha 192.168.10.1")
	says(t, "who called", alpha.Results[5].Output, "internet:203.0.113.1", "host:203.0.113.2", "loopback:192.168.10.1", "neighbour:192.168.10.1")
	noPorts(t, d, "lab")
	noPorts(t, d, "lan")
}
