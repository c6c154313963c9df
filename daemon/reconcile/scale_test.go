package reconcile

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
)

// world is a definition, and what there is besides.
type world struct {
	n      netdrv.Network
	others []netdrv.Network
	ports  []netdrv.Port
	leased map[netdrv.MAC][]netip.Addr
}

func addr4(base string, i int) netip.Addr {
	b := netip.MustParseAddr(base).As4()
	v := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]) + i
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func addr6(base string, i int) netip.Addr {
	b := netip.MustParseAddr(base).As16()
	b[13], b[14], b[15] = byte(i>>16), byte(i>>8), byte(i)
	return netip.AddrFrom16(b)
}

func mac(i int) netdrv.MAC { return netdrv.MAC{0x52, 0x54, 1, byte(i >> 16), byte(i >> 8), byte(i)} }

func big() netdrv.Network {
	return netdrv.Network{
		Name: "big", Mode: netdrv.NAT, Bridge: netdrv.Bridge{Name: "big", MAC: netdrv.MAC{2, 0, 0, 0, 0, 1}},
		Subnets: []netdrv.Subnet{
			{Address: netip.MustParsePrefix("10.64.0.1/10"), DHCP: &netdrv.DHCP{Ranges: []netdrv.Range{{Start: addr4("10.127.0.0", 0), End: addr4("10.127.255.0", 0)}}}},
			{Address: netip.MustParsePrefix("fd00::1/64"), DHCP: &netdrv.DHCP{Ranges: []netdrv.Range{{Start: addr6("fd00::ffff:0:0:0", 0), End: addr6("fd00::ffff:0:0:0", 9)}}}},
		},
		DNS: netdrv.DNS{Domain: "big.test"},
	}
}

// lists have one list each of n elements.
var lists = map[string]func(w *world, n int){
	"reservations": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[0].DHCP.Reservations = append(w.n.Subnets[0].DHCP.Reservations, netdrv.Reservation{MAC: mac(i), Address: addr4("10.65.0.0", i), Hostname: fmt.Sprint("h", i)})
		}
	},
	"reservations by client id": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[0].DHCP.Reservations = append(w.n.Subnets[0].DHCP.Reservations, netdrv.Reservation{ClientID: fmt.Sprint("c", i), Address: addr4("10.65.0.0", i)})
		}
	},
	"reservations by name": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[0].DHCP.Reservations = append(w.n.Subnets[0].DHCP.Reservations, netdrv.Reservation{Address: addr4("10.65.0.0", i), Hostname: fmt.Sprint("h", i)})
		}
	},
	"reservations with options": func(w *world, n int) {
		w.n.Subnets[0].DHCP.Tags = []netdrv.Tag{{Name: "t", Options: netdrv.Options{Domain: "t.test"}}}
		for i := range n {
			w.n.Subnets[0].DHCP.Reservations = append(w.n.Subnets[0].DHCP.Reservations, netdrv.Reservation{MAC: mac(i), Address: addr4("10.65.0.0", i), Options: netdrv.Options{Domain: "a.test"}, Tags: []string{"t"}})
		}
	},
	"reservations of IPv6": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[1].DHCP.Reservations = append(w.n.Subnets[1].DHCP.Reservations, netdrv.Reservation{DUID: fmt.Sprintf("%08d", i), Address: addr6("fd00::", 16+i), Hostname: fmt.Sprint("h", i)})
		}
	},
	"ranges": func(w *world, n int) {
		w.n.Subnets[0].DHCP.Ranges = nil
		for i := range n {
			w.n.Subnets[0].DHCP.Ranges = append(w.n.Subnets[0].DHCP.Ranges, netdrv.Range{Start: addr4("10.65.0.0", 4*i), End: addr4("10.65.0.0", 4*i+1)})
		}
	},
	"ranges of IPv6": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[1].DHCP.Ranges = append(w.n.Subnets[1].DHCP.Ranges, netdrv.Range{Start: addr6("fd00::", 16+4*i), End: addr6("fd00::", 16+4*i+1)})
		}
	},
	"exclude": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[0].DHCP.Exclude = append(w.n.Subnets[0].DHCP.Exclude, netdrv.Range{Start: addr4("10.127.0.0", 4*i), End: addr4("10.127.0.0", 4*i+1)})
		}
	},
	"relayed": func(w *world, n int) {
		for i := range n {
			p := netip.PrefixFrom(addr4("10.128.0.0", 256*i), 24)
			w.n.Subnets[0].DHCP.Relayed = append(w.n.Subnets[0].DHCP.Relayed, netdrv.RelayedSubnet{Subnet: p, Ranges: []netdrv.Range{{Start: addr4(p.Addr().String(), 2), End: addr4(p.Addr().String(), 9)}}})
		}
	},
	"subnets": func(w *world, n int) {
		for i := range n {
			p := netip.PrefixFrom(addr4("10.128.0.1", 256*i), 24)
			w.n.Subnets = append(w.n.Subnets, netdrv.Subnet{Address: p, DHCP: &netdrv.DHCP{Ranges: []netdrv.Range{{Start: p.Addr().Next(), End: addr4(p.Addr().String(), 9)}}}})
		}
	},
	"routes": func(w *world, n int) {
		for i := range n {
			w.n.Routes = append(w.n.Routes, netdrv.StaticRoute{Destination: netip.PrefixFrom(addr4("10.128.0.0", 256*i), 24), Via: addr4("10.64.0.9", 0)})
		}
	},
	"records": func(w *world, n int) {
		for i := range n {
			w.n.DNS.Records = append(w.n.DNS.Records, netdrv.Record{Name: fmt.Sprint("r", i), Type: "A", Value: addr4("10.65.0.0", i).String()})
		}
	},
	"records of one name": func(w *world, n int) {
		for i := range min(n, 3000) {
			w.n.DNS.Records = append(w.n.DNS.Records, netdrv.Record{Name: "r", Type: "A", Value: addr4("10.65.0.0", i).String()})
		}
	},
	"aliases": func(w *world, n int) {
		w.n.DNS.Records = append(w.n.DNS.Records, netdrv.Record{Name: "r", Type: "A", Value: "10.65.0.0"})
		for i := range n - 1 {
			w.n.DNS.Records = append(w.n.DNS.Records, netdrv.Record{Name: fmt.Sprint("r", i), Type: "CNAME", Value: "r"})
		}
	},
	"forwarders": func(w *world, n int) {
		for i := range n {
			w.n.DNS.Forwarders = append(w.n.DNS.Forwarders, netdrv.Forwarder{Domain: fmt.Sprint("d", i, ".test"), Address: netip.AddrPortFrom(addr4("192.0.2.1", 0), 53)})
		}
	},
	"forwards to addresses": func(w *world, n int) {
		for i := range n {
			p := netdrv.PortRange{Start: uint16(1024 + i), End: uint16(1024 + i)}
			w.n.Forwards = append(w.n.Forwards, netdrv.Forward{Listen: netdrv.Service{Protocol: netdrv.TCP, Ports: p}, Guest: addr4("10.65.0.0", i).String(), Ports: p})
		}
	},
	"forwards to reserved names": func(w *world, n int) {
		for i := range n {
			p := netdrv.PortRange{Start: uint16(1024 + i), End: uint16(1024 + i)}
			w.n.Subnets[0].DHCP.Reservations = append(w.n.Subnets[0].DHCP.Reservations, netdrv.Reservation{MAC: mac(i), Address: addr4("10.65.0.0", i), Hostname: fmt.Sprint("h", i)})
			w.n.Forwards = append(w.n.Forwards, netdrv.Forward{Listen: netdrv.Service{Protocol: netdrv.TCP, Ports: p}, Guest: fmt.Sprint("h", i), Ports: p})
		}
	},
	"forwards to records": func(w *world, n int) {
		for i := range n {
			p := netdrv.PortRange{Start: uint16(1024 + i), End: uint16(1024 + i)}
			w.n.DNS.Records = append(w.n.DNS.Records, netdrv.Record{Name: fmt.Sprint("r", i), Type: "A", Value: addr4("10.65.0.0", i).String()})
			w.n.Forwards = append(w.n.Forwards, netdrv.Forward{Listen: netdrv.Service{Protocol: netdrv.TCP, Ports: p}, Guest: fmt.Sprint("r", i), Ports: p})
		}
	},
	"sources of a forward": func(w *world, n int) {
		p := netdrv.PortRange{Start: 80, End: 80}
		f := netdrv.Forward{Listen: netdrv.Service{Protocol: netdrv.TCP, Ports: p}, Guest: "10.65.0.0", Ports: p}
		for i := range n {
			f.From = append(f.From, netip.PrefixFrom(addr4("172.16.0.0", 256*i), 24))
		}
		w.n.Forwards = []netdrv.Forward{f}
	},
	"host services": func(w *world, n int) {
		w.n.HostAccess.Limited = true
		for i := range n {
			w.n.HostAccess.Services = append(w.n.HostAccess.Services, netdrv.Service{Protocol: netdrv.TCP, Ports: netdrv.PortRange{Start: uint16(1 + 2*i), End: uint16(1 + 2*i)}})
		}
	},
	"advertised routes": func(w *world, n int) {
		for i := range min(n, 16) {
			w.n.RA.Routes = append(w.n.RA.Routes, netip.PrefixFrom(addr6("fd01::", 0), 64+i%60))
		}
	},
	"uplinks": func(w *world, n int) {
		for i := range n {
			w.n.Uplinks = append(w.n.Uplinks, fmt.Sprint("e", i))
		}
	},
	"users": func(w *world, n int) {
		for i := range n {
			w.n.Access.Users = append(w.n.Access.Users, fmt.Sprint(i))
		}
	},
	"ports": func(w *world, n int) {
		w.n.Filter.Preset = netdrv.CleanTraffic
		for i := range n {
			w.ports = append(w.ports, netdrv.Port{Network: "big", Link: fmt.Sprint("vnet", i), MAC: mac(i), Guest: fmt.Sprint("h", i), Addresses: []netip.Addr{addr4("10.65.0.0", i)}})
		}
	},
	"ports with rules": func(w *world, n int) {
		for i := range n {
			w.ports = append(w.ports, netdrv.Port{
				Network: "big", Link: fmt.Sprint("vnet", i), MAC: mac(i), Guest: fmt.Sprint("h", i), Addresses: []netip.Addr{addr4("10.65.0.0", i)},
				Filter: netdrv.Filter{Rules: []netdrv.FilterRule{{Direction: netdrv.In, Action: netdrv.Accept, Remote: fmt.Sprint("h", (i+1)%n)}}},
			})
		}
	},
	"ports beside reservations": func(w *world, n int) {
		for i := range n {
			w.n.Subnets[0].DHCP.Reservations = append(w.n.Subnets[0].DHCP.Reservations, netdrv.Reservation{MAC: mac(i), Address: addr4("10.65.0.0", i), Hostname: fmt.Sprint("h", i)})
			w.ports = append(w.ports, netdrv.Port{Network: "big", Link: fmt.Sprint("vnet", i), MAC: mac(i), Guest: fmt.Sprint("h", i)})
		}
	},
	"leases": func(w *world, n int) {
		w.n.Filter.Preset = netdrv.CleanTraffic
		for i := range n {
			w.leased[mac(i)] = []netip.Addr{addr4("10.65.0.0", i)}
		}
	},
	"ports without MAC": func(w *world, n int) {
		w.n.Filter.Preset = netdrv.CleanTraffic
		for i := range n {
			w.ports = append(w.ports, netdrv.Port{Network: "big", Link: fmt.Sprint("vnet", i), Transient: true})
		}
	},
	"subnets to be picked": func(w *world, n int) {
		for range n {
			w.n.Subnets = append(w.n.Subnets, netdrv.Subnet{Address: netip.MustParsePrefix("0.0.0.0/28")})
		}
	},
	"networks": func(w *world, n int) {
		for i := range n {
			w.others = append(w.others, netdrv.Network{
				Name: fmt.Sprint("n", i), Mode: netdrv.NAT, Bridge: netdrv.Bridge{Name: fmt.Sprint("b", i), MAC: mac(i)},
				Subnets: []netdrv.Subnet{{Address: netip.PrefixFrom(addr4("10.128.0.1", 256*i), 24), DHCP: &netdrv.DHCP{Ranges: []netdrv.Range{{Start: addr4("10.128.0.2", 256*i), End: addr4("10.128.0.9", 256*i)}}}}},
				DNS:     netdrv.DNS{Domain: fmt.Sprint("n", i, ".test")},
			})
		}
	},
}

type stage struct {
	name string
	took time.Duration
}

// path takes a definition from a file to what is served, as the daemon does.
func path(t testing.TB, w *world) (out []stage) {
	at := cpu()
	lap := func(name string) {
		out = append(out, stage{name, cpu() - at})
		at = cpu()
	}
	fail := func(err error) {
		if err != nil {
			s := err.Error()
			t.Fatal(s[:min(len(s), 400)])
		}
	}
	text, err := definition.Marshal(wire.ToNetwork(&w.n))
	fail(err)
	lap("write")
	var p vnetv1.Network
	fail(definition.Unmarshal("f", text, &p))
	lap("parse")
	n, none := netdrv.Pick(w.n, nil, netdrv.DefaultPools, netdrv.Taken(w.others, netdrv.Host{}), [5]byte{})
	fail(none.Err())
	p.Subnets = wire.ToNetwork(&n).Subnets
	lap("pick")
	n, unread := wire.FromNetwork(&p)
	fail(unread.Err())
	lap("read")
	n = netdrv.Complete(n, &w.n, func(string) bool { return false }, [3]byte{})
	lap("complete")
	fail(netdrv.Validate(&n).Err())
	lap("validate")
	all := append(append([]netdrv.Network{}, w.others...), n)
	fail(netdrv.Conflicts(&n, all).Err())
	fail(netdrv.PortsAgainst(w.ports, &n).Err())
	fail(netdrv.UnknownRemotes(&n.Filter, &n, all, w.ports).Err())
	lap("conflicts")
	c := n.Clone()
	c.Subnets[0].DHCP.LeaseTime = time.Hour * 7
	definition.Diff(wire.ToNetwork(&n), wire.ToNetwork(c))
	lap("changes")
	with := n.WithPorts(w.ports)
	lap("ports")
	cfg, _ := dhcpConfig(with, 1500)
	_, err = v4.Compile(cfg.V4...)
	fail(err)
	if cfg.V6 != nil {
		cfg.V6.DUID = "\x00\x03\x00\x01abcdef"
		_, err = v6.Compile(*cfg.V6)
		fail(err)
	}
	lap("dhcp")
	d, _ := dnsConfig(&n, w.ports, "host")
	z := zone.Check(d.Zone())
	if z != nil {
		t.Fatal(z[0])
	}
	_, err = zone.New(d.Zone())
	fail(err)
	lap("dns")
	index := netdrv.NamesOf(with)
	noLeases := netdrv.Leased{Named: func(string) []netip.Addr { return nil }, Held: func(netdrv.MAC) []netip.Addr { return nil }}
	names := func(f *netdrv.Forward) []netip.Addr {
		out, _ := index.Published(f, noLeases)
		return out
	}
	resolved := netdrv.Resolved(n, names)
	proxyConfig(&n, names)
	all[len(all)-1] = resolved
	lap("resolve")
	var members []netdrv.Member
	for i, p := range w.ports {
		members = append(members, netdrv.Member{Network: "big", Link: p.Link, Bridge: "big", Index: i + 10, MAC: p.MAC})
	}
	around := netdrv.Resolver{Networks: all, Ports: w.ports, Leased: func(_ string, m netdrv.MAC) []netip.Addr { return w.leased[m] }}
	fp := ruled(portsOf(with, members, w.leased), &n, w.ports, &around)
	lap("rules of ports")
	rs := firewall.Compile(all, fp...)
	firewall.Diff(rs, firewall.Compile(all, fp...))
	lap("firewall")
	doors := netdrv.PublishedPorts(all)
	netdrv.PortChanges(doors, doors)
	lap("doors")
	want := netdrv.Compile(netdrv.Intent{Live: all, Members: members, Ports: w.ports}, netdrv.Host{})
	netdrv.Diff(want, netdrv.State{})
	netdrv.Diff(want, want)
	lap("links")
	return out
}

// cpu is the time that the process has used.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Ten times the elements take some ten times the time, in each list and in each step
// from a file to what is served. It is what the process spends, as others use the
// machine too, and the best of some tries.
func TestNoStepIsQuadraticInAList(t *testing.T) {
	const n, most, noise = 400, 30, 15 * time.Millisecond
	debug.SetGCPercent(400)
	defer debug.SetGCPercent(100)
	for name, fill := range lists {
		t.Run(name, func(t *testing.T) {
			measure := func(n int) []stage {
				w := &world{n: big(), leased: map[netdrv.MAC][]netip.Addr{}}
				fill(w, n)
				return path(t, w)
			}
			var few, many []stage
			for try := range 5 {
				few, many = best(few, measure(n)), best(many, measure(10*n))
				slow := slices.IndexFunc(many, func(s stage) bool {
					i := slices.IndexFunc(few, func(f stage) bool { return f.name == s.name })
					return s.took > noise && s.took > most*few[i].took
				})
				switch {
				case slow < 0:
					return
				case try == 4:
					t.Errorf("%s: %s for %d elements, %s for %d", many[slow].name, few[slow].took, n, many[slow].took, 10*n)
				}
			}
		})
	}
}

func best(a, b []stage) []stage {
	for i := range a {
		b[i].took = min(a[i].took, b[i].took)
	}
	return b
}
