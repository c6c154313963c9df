package daemon_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	conntrackMax = 1000 // as the daemon reads it; the kernel's own is one of all namespaces
	floodRate    = 500  // connections a second
)

// A guest that fills the table of tracked connections, with an accomplice outside that
// answers or begins them, has a share of it; guests of other networks begin connections all
// the time, established ones go on, and its network begins connections again once the flood
// is over.
func TestTrackedConnectionsAreShared(t *testing.T) {
	nettest.Need(t, "udhcpc", "nft")
	t.Run("begun by the guest", func(t *testing.T) { shareTrackedConnections(t, false) })
	t.Run("begun outside", func(t *testing.T) { shareTrackedConnections(t, true) })
}

func shareTrackedConnections(t *testing.T, outside bool) {
	w := nettest.New(t)
	w.Host.WriteFile(t, "/etc/conntrack-max", strconv.Itoa(conntrackMax)+"\n")
	w.Host.Run(t, "mount --bind /etc/conntrack-max /proc/sys/net/netfilter/nf_conntrack_max")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	definition := lab
	if outside {
		definition = strings.Replace(lab, "mode: nat", "mode: route", 1)
		w.Internet.Run(t, "ip route add 192.168.10.0/24 via 203.0.113.2")
	}
	d.CtlInput(t, definition, "network", "create", "-f", "-")
	d.CtlInput(t, strings.NewReplacer("lab", "other", "192.168.10.", "192.168.20.").Replace(lab), "network", "create", "-f", "-")
	flooder, lease := guest(t, w, "flooder", "lab0")
	calm, _ := guest(t, w, "calm", "lab0")
	victim, _ := guest(t, w, "victim", "other0")
	established, beside := dialEcho(t, calm), dialEcho(t, victim)
	established.works("before the flood")
	if got := w.Host.Run(t, "nft -s list table inet vnetd"); strings.Contains(got, "conntrack") {
		t.Errorf("without a flood, the rules are\n%s", got)
	}

	opens := func(from *nettest.Namespace, to string, wait time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return from.DialContext(ctx, "tcp", to)
	}
	flooded, to := flooder.Namespace, "203.0.113.1:7"
	if outside {
		l, err := flooder.Listen("tcp", ":7")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		flooded, to = w.Internet.Namespace, lease.Address.Addr().String()+":7"
	}
	tracked := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(w.Host.Run(t, "cat /proc/sys/net/netfilter/nf_conntrack_count")))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var end sync.Once
	over := func() { end.Do(func() { close(stop) }); flood.Wait() }
	t.Cleanup(over)
	for range 5 {
		flood.Go(func() {
			var held []net.Conn // which keeps their entries assured
			tick := time.NewTicker(5 * time.Second / floodRate)
			defer tick.Stop()
			for len(held) < 700 {
				select {
				case <-stop:
				case <-tick.C:
					if c, err := opens(flooded, to, 100*time.Millisecond); err == nil {
						held = append(held, c)
					}
					continue
				}
				break
			}
			<-stop
			for _, c := range held {
				c.Close()
			}
		})
	}
	most := 0
	others := func(what string, done func() bool) {
		t.Helper()
		nettest.Eventually(t, what, func() error {
			time.Sleep(100 * time.Millisecond) // its own connections are far from a share
			c, err := opens(victim.Namespace, "203.0.113.1:7", 2*time.Second)
			if err != nil {
				t.Fatalf("a guest of the other network opens no connection: %v", err)
			}
			c.Close()
			most = max(most, tracked())
			if !done() {
				return fmt.Errorf("%d tracked connections; problems: %s", tracked(), d.Ctl(t, "status"))
			}
			return nil
		})
	}
	others("the network is closed", func() bool {
		return strings.Contains(w.Host.Run(t, "nft list table inet vnetd"), "elements = { \"lab0\" counter packets") &&
			strings.Contains(d.Log(), "for=10s") && strings.Contains(d.Ctl(t, "status"), "closed for new ones: network lab")
	})
	others("the surplus is ended", func() bool { return tracked() < conntrackMax*3/4 })
	// Meanwhile no guest hides behind addresses that belong to no network.
	victim.Run(t, "ip addr add 198.51.100.9/32 dev lo")
	foreign, err := victim.ListenPacket("udp", "198.51.100.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := foreign.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(192, 168, 20, 1), Port: 5555}); err != nil {
		t.Fatal(err)
	}
	if got := w.Host.Run(t, "nft list chain inet vnetd conntrack"); !strings.Contains(got, "@conntrack4 counter packets") || strings.Contains(got, "@conntrack4 counter packets 0 ") {
		t.Errorf("a packet from a foreign address was not dropped:\n%s", got)
	}
	established.works("during the flood")
	beside.works("during the flood")
	others("the network is open again", func() bool {
		return strings.Contains(d.Log()[strings.Index(d.Log(), "for=10s"):], "network open for new connections")
	})
	if limit := conntrackMax*3/4 + 3*floodRate; most > limit {
		t.Errorf("%d tracked connections, want at most %d", most, limit)
	}
	over()
	nettest.Eventually(t, "the network recovers", func() error {
		c, err := opens(flooded, to, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
	nettest.Eventually(t, "nothing is asked of new connections", func() error {
		if now := w.Host.Run(t, "nft -s list table inet vnetd"); strings.Contains(now, "conntrack") {
			return fmt.Errorf("the rules are\n%s", now)
		}
		if got := d.Ctl(t, "status"); strings.Contains(got, "tracked connections") {
			return fmt.Errorf("status says %s", got)
		}
		return nil
	})
	established.works("after the flood")
	if strings.Contains(d.Log(), "external change repaired") {
		t.Error("the rules under pressure were taken for a change by others")
	}
}
