//go:build bench

package bench

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/nft"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

const manyPorts = 500

// What a forwarded packet costs with anti-spoofing for 1 and for 500 ports, and
// without: the rates are those of one processor, which does all the work. The ratio
// that is wanted is 0.9 or more.
func TestPortCost(t *testing.T) {
	nettest.Need(t, "ip", "nft")
	routers := map[int]*router{}
	for _, ports := range []int{0, 1, manyPorts} {
		routers[ports] = newRouter(t, fmt.Sprint(ports, " clean ports"), ports, byPorts)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\nforwarded, NAT, clean-traffic\tno filter\t1 port\t%d ports\t%[1]d ports beside 1\n", manyPorts)
	small := rates(t, routers, 64)
	fmt.Fprintf(out, "datagrams of 64 octets, 1/s\t%.0f\t%.0f\t%.0f\t%.2f\n", small[0], small[1], small[manyPorts], small[manyPorts]/small[1])
	large := rates(t, routers, 1400)
	fmt.Fprintf(out, "of 1400 octets, Gbit/s\t%.2f\t%.2f\t%.2f\t%.2f\n", gigabits(large[0]), gigabits(large[1]), gigabits(large[manyPorts]), large[manyPorts]/large[1])
	out.Flush()
}

func gigabits(rate float64) float64 { return rate * 1400 * 8 / 1e9 }

// rates measures in turns, so that what else the machine does hits all alike.
func rates(t *testing.T, routers map[int]*router, size int) map[int]float64 {
	t.Helper()
	cost := map[int][]time.Duration{}
	for range rounds {
		for ports, r := range routers {
			r.size = size
			cost[ports] = append(cost[ports], r.burst(t))
		}
	}
	out := map[int]float64{}
	for ports, all := range cost {
		out[ports] = 1 / slices.Min(all).Seconds()
	}
	return out
}

// byPorts are the rules of a NAT network whose first guest is the real one.
func byPorts(t *testing.T, w *nettest.World, ports int) {
	t.Helper()
	bridges(t, w, 1)
	n := netdrv.Network{
		Name: "n0", Mode: netdrv.NAT, Bridge: netdrv.Bridge{Name: bridge(0), MAC: netdrv.MAC{2, 0, 0, 0, 1}},
		Subnets: []netdrv.Subnet{{Address: netip.MustParsePrefix("10.0.0.1/16")}},
	}
	var list []firewall.Port
	for i := range ports {
		list = append(list, firewall.Port{
			Link: fmt.Sprintf("vnet%d", i), Network: n.Name, MAC: netdrv.MAC{2, 0, 0, 0, byte((i + 1) >> 8), byte(i + 1)},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte((i + 2) >> 8), byte(i + 2)})},
			Preset:    netdrv.CleanTraffic,
		})
	}
	err := w.Host.Do(func() error {
		d, err := nft.Open(slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		t.Cleanup(func() { d.Close() })
		return d.Apply(t.Context(), firewall.Compile([]netdrv.Network{n}, list...))
	})
	if err != nil {
		t.Fatal(err)
	}
}
