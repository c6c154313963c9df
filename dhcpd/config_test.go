package dhcpd

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
)

func both() Config {
	return Config{
		V4: []v4.Config{{
			Server:       netip.MustParsePrefix("192.168.10.1/24"),
			Reservations: []v4.Reservation{{MAC: lease.MAC{2, 1}, Address: netip.MustParseAddr("192.168.10.10"), Hostname: "web"}},
		}},
		V6: &v6.Config{Subnets: []v6.Subnet{{
			Server: netip.MustParsePrefix("fd00:10::1/64"),
			Reservations: []v6.Reservation{
				{MAC: lease.MAC{2, 1}, Address: netip.MustParseAddr("fd00:10::10")},
				{MAC: lease.MAC{2, 2}, Address: netip.MustParseAddr("fd00:10::11"), Hostname: "db"},
				{MAC: lease.MAC{2, 3}, Hostname: "Web"}, // a mistake, and not ours to refuse
			},
		}}},
		RA: &ra.Config{},
	}
}

// A name that is reserved in one family is nobody else's in the other.
func TestReservedNamesHoldInBothFamilies(t *testing.T) {
	c := both()
	v := served{cfg: c}
	if err := v.compile(&net.Interface{Name: "br0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}); err != nil {
		t.Fatal(err)
	}
	four := c.v4()[0].Reservations
	if len(four) != 2 || !reflect.DeepEqual(four[1], v4.Reservation{MAC: lease.MAC{2, 2}, Hostname: "db"}) {
		t.Errorf("%v", four)
	}
	six := c.v6(lease.MAC{}).Subnets[0].Reservations
	if len(six) != 3 {
		t.Errorf("%v", six)
	}
	c.V6.Subnets[0].Reservations = six[:2]
	six = c.v6(lease.MAC{}).Subnets[0].Reservations
	if len(six) != 3 || !reflect.DeepEqual(six[2], v6.Reservation{MAC: lease.MAC{2, 1}, Hostname: "web"}) {
		t.Errorf("%v", six)
	}
	if o := both(); !reflect.DeepEqual(o, both()) || len(both().V6.Subnets[0].Reservations) != 3 {
		t.Error("equal configurations are not, or one was changed")
	}
}

func TestCompileNamesThePart(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"subnets[0].ranges[0]":            func(c *Config) { c.V4[0].Ranges = []v4.Range{{}} },
		"IPv6: subnets[0].server":         func(c *Config) { c.V6.Subnets[0].Server = netip.Prefix{} },
		"router advertisements: interval": func(c *Config) { c.RA.Interval = 1 },
		"not an Ethernet interface":       func(c *Config) { c.Interface = "none" },
	} {
		c := both()
		spoil(&c)
		v := served{cfg: c}
		ifi := &net.Interface{Name: c.Interface}
		if c.Interface == "" {
			ifi.HardwareAddr = make(net.HardwareAddr, 6)
		}
		if err := v.compile(ifi); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Reserved names are matched between the families in a time that grows with their
// number, not with its square.
func TestReservedNamesAreMatchedInLinearTime(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // its time depends on other tests
	took := func(n int) time.Duration {
		cfg := Config{V4: []v4.Config{{}}, V6: &v6.Config{Subnets: []v6.Subnet{{}}}}
		for i := range n {
			mac := lease.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
			cfg.V4[0].Reservations = append(cfg.V4[0].Reservations, v4.Reservation{MAC: mac, Hostname: fmt.Sprint("h", i)})
			cfg.V6.Subnets[0].Reservations = append(cfg.V6.Subnets[0].Reservations, v6.Reservation{DUID: fmt.Sprint("duid", i), Hostname: fmt.Sprint("g", i)})
		}
		best := time.Hour
		for range 5 {
			start := cpu()
			four, six := cfg.v4(), cfg.v6(lease.MAC{})
			best = min(best, cpu()-start)
			if len(four[0].Reservations) != 2*n || len(six.Subnets[0].Reservations) != 2*n {
				t.Fatal("not each family has the names of both")
			}
		}
		return best
	}
	if few, many := took(2000), took(20000); many > 40*few && many > 100*time.Millisecond {
		t.Errorf("2000 of each family take %s, 20000 take %s", few, many)
	}
}

// cpu is the time that the process has used.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
