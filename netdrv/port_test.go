package netdrv

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func guestAddrs(words ...string) []netip.Addr {
	var out []netip.Addr
	for _, w := range words {
		out = append(out, netip.MustParseAddr(w))
	}
	return out
}

func TestCompletePort(t *testing.T) {
	direct := Network{Name: "lan", Mode: DirectLink, Direct: Direct{Uplinks: []string{"eno1", "eno2"}}}
	others := []Port{{Link: "vnet0", Uplink: "eno1"}, {Link: "vnet2"}}
	taken := func(link string) bool { return link == "vnet1" }
	p := CompletePort(Port{}, &direct, others, taken, [3]byte{1, 2, 3})
	if p.Link != "vnet3" || p.Uplink != "eno2" || p.MAC != (MAC{0x52, 0x54, 0, 1, 2, 3}) {
		t.Errorf("got %+v", p)
	}
	n := lab()
	if p := CompletePort(Port{Transient: true}, &n, nil, taken, [3]byte{}); !p.MAC.IsZero() || p.Uplink != "" {
		t.Errorf("a guest of the tap broker that does not say its MAC: %+v", p)
	}
}

// What a port reserves in DHCP comes behind what the definition says, and never meets it.
func TestWithPorts(t *testing.T) {
	n := lab()
	n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix("192.168.11.1/24")})
	web := Port{Network: "lab", Guest: "db", MAC: MAC{2, 0, 0, 0, 10, 12}, Addresses: guestAddrs("192.168.10.12", "192.168.11.12")}
	for name, c := range map[string]struct {
		port Port
		want []Reservation
	}{
		"an address":             {web, []Reservation{{MAC: web.MAC, Address: web.Addresses[0], Hostname: "db"}}},
		"a name only":            {Port{Network: "lab", Guest: "db", MAC: web.MAC}, []Reservation{{MAC: web.MAC, Hostname: "db"}}},
		"neither":                {Port{Network: "lab", MAC: web.MAC}, nil},
		"of another network":     {Port{Network: "x", MAC: web.MAC, Guest: "db"}, nil},
		"no MAC":                 {Port{Network: "lab", Guest: "db", Addresses: web.Addresses}, nil},
		"a MAC that is reserved": {Port{Network: "lab", MAC: MAC{2, 0, 0, 0, 10, 11}, Addresses: web.Addresses}, nil},
		"an address that is":     {Port{Network: "lab", MAC: web.MAC, Addresses: guestAddrs("192.168.10.11")}, nil},
		"a name that is":         {Port{Network: "lab", MAC: web.MAC, Guest: "WEB"}, nil},
	} {
		got := n.WithPorts([]Port{c.port}).Subnets[0].DHCP.Reservations[1:]
		if d := cmp.Diff(c.want, append([]Reservation(nil), got...), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if len(n.Subnets[0].DHCP.Reservations) != 1 {
		t.Error("the network itself was changed")
	}
}

// A tap is made, put into its bridge and brought up, after the bridge; while its
// network is stopped it stays, outside and down.
func TestPlanOfPorts(t *testing.T) {
	n := lab()
	ports := []Port{{Network: "lab", Link: "vnet0", MAC: MAC{2, 0, 0, 0, 10, 12}, Owner: 1000, Queues: 2}}
	live := Compile(Intent{Live: []Network{n}, Ports: ports}, Host{})
	bare := Compile(Intent{Live: []Network{n}}, Host{})
	stopped := Compile(Intent{Stopped: []Network{n}, Ports: ports}, Host{})
	for name, c := range map[string]struct {
		want, have State
		plan       string
	}{
		"made":     {live, bare, "ip tuntap add vnet0 mode tap vnet_hdr multi_queue user 1000\nip link set vnet0 master lab0\nip link set vnet0 up\n"},
		"deleted":  {bare, live, "ip link del vnet0\n"},
		"there":    {live, live, ""},
		"detached": {live, detached(live, "lab0"), "ip link set vnet0 master lab0\n"},
		"stopped":  {stopped, live, "ip link set vnet0 nomaster\nip link set vnet0 down\nip link del lab0\n"},
	} {
		got := ""
		for _, p := range Diff(c.want, c.have) {
			got += p.String()
		}
		if d := cmp.Diff(c.plan, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func detached(s State, master string) State {
	s.Links = append([]Link(nil), s.Links...)
	for i := range s.Links {
		if s.Links[i].Master == master {
			s.Links[i].Master = ""
		}
	}
	return s
}

func TestAccess(t *testing.T) {
	for name, c := range map[string]struct {
		a    Access
		want []string
	}{
		"nothing wrong": {Access{Users: []string{"alice", "1000"}, Groups: []string{"kvm"}, MACPrefix: "52:54:00", MaxPorts: 4}, nil},
		"bad names":     {Access{Users: []string{"a b", ""}, Groups: []string{"../x"}}, []string{"access.users[0]", "access.users[1]", "access.groups[0]"}},
		"half an octet": {Access{MACPrefix: "52:5"}, []string{"access.macPrefix"}},
		"no colons":     {Access{MACPrefix: "525400"}, []string{"access.macPrefix"}},
		"a whole MAC":   {Access{MACPrefix: "52:54:00:00:00:01"}, []string{"access.macPrefix"}},
		"multicast":     {Access{MACPrefix: "01"}, []string{"access.macPrefix"}},
		"too many":      {Access{MaxPorts: 1025}, []string{"access.maxPorts"}},
	} {
		n := lab()
		n.Access = c.a
		var got []string
		for _, f := range Validate(&n) {
			got = append(got, f.Path)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	a := Access{MACPrefix: "52:54"}
	if !a.Allows(MAC{0x52, 0x54, 1}) || a.Allows(MAC{0x52, 0x55}) {
		t.Error("52:54 allows what it should not, or the other way round")
	}
}

// An edit that a declared port contradicts is found before anything changes.
func TestPortsAgainstAnEdit(t *testing.T) {
	ports := []Port{
		{Network: "lab", Link: "vnet0", MAC: MAC{2, 0, 0, 0, 0, 9}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.10.44")}, Bandwidth: Bandwidth{In: Rate{Floor: 6_000_000}}},
		{Network: "lab", Link: "vnet1", MAC: MAC{2, 0, 0, 0, 0, 10}, Bandwidth: Bandwidth{In: Rate{Floor: 3_000_000}}},
		{Network: "lab", Link: "vnet2", Transient: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
		{Network: "other", Link: "vnet3", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
	}
	n := lab()
	n.Bandwidth.In.Average = 10_000_000
	if fs := PortsAgainst(ports, &n); fs != nil {
		t.Errorf("as it is: %v", fs)
	}
	n.Subnets[0].Address = netip.MustParsePrefix("10.9.0.1/24")
	n.Subnets[0].DHCP = nil
	n.Bandwidth.In.Average = 8_000_000
	got := PortsAgainst(ports, &n).Error()
	for _, want := range []string{
		"ports.vnet0.addresses[0]: 192.168.10.44 is in none of the network's subnets", "change the port first (vnetctl port set), or delete it",
		"ports.vnet0.bandwidth.in.floor: the floors of the network's ports are 9mbit then", "ports.vnet1.bandwidth.in.floor",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "vnet2") || strings.Contains(got, "vnet3") {
		t.Errorf("got %s", got)
	}
}
