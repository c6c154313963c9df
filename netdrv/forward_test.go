package netdrv

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func forwardTo(listen, to, address string) Forward {
	s, err := ParseService(listen)
	if err != nil {
		panic(err)
	}
	f := Forward{Listen: s[0]}
	if f.Guest, f.Ports, err = ParseTarget(to); err != nil {
		panic(err)
	}
	if f.Ports.IsZero() {
		f.Ports = f.Listen.Ports
	}
	if address != "" {
		f.Address = netip.MustParseAddr(address)
	}
	return f
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"web:80": "web:80", "Web.Lab.Test:80-81": "web.lab.test:80-81", "10.0.0.5:80": "10.0.0.5:80",
		"[fd00::5]:80": "[fd00::5]:80", "web": "web:0", "fd00::5": "[fd00::5]:0", "10.0.0.5": "10.0.0.5:0",
	} {
		guest, ports, err := ParseTarget(in)
		f := Forward{Guest: guest, Ports: ports}
		if err != nil || f.To() != want {
			t.Errorf("%q: got %s, %v; want %s", in, f.To(), err, want)
		}
	}
	for _, in := range []string{"web:", "web:0", "web:x", "web:9-8", "fd00::x:80", "web:70000"} {
		if guest, _, err := ParseTarget(in); err == nil {
			t.Errorf("%q is read as %s", in, guest)
		}
	}
}

func publishing(forwards ...Forward) Network {
	n := Network{
		Name: "lab", Mode: NAT, DNS: DNS{Domain: "lab.test"}, Forwards: forwards,
		Subnets: []Subnet{
			{Address: netip.MustParsePrefix("10.0.0.1/24"), DHCP: &DHCP{Reservations: []Reservation{
				{Address: netip.MustParseAddr("10.0.0.7"), Hostname: "Printer"},
			}}},
			{Address: netip.MustParsePrefix("fd00::1/64")},
		},
	}
	n.DNS.Records = []Record{
		{Name: "www", Type: "CNAME", Value: "web"},
		{Name: "db.lab.test.", Type: "A", Value: "10.0.0.9"},
		{Name: "db", Type: "AAAA", Value: "fd00::9"},
		{Name: "far", Type: "A", Value: "192.0.2.1"},
		{Name: "loop", Type: "CNAME", Value: "loop"},
	}
	return n
}

func TestTargets(t *testing.T) {
	n := publishing()
	leases := func(label string) []netip.Addr {
		return map[string][]netip.Addr{
			"web": {netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")},
			"db":  {netip.MustParseAddr("10.0.0.66")}, // a record's name is not a lease's
		}[label]
	}
	for _, c := range []struct{ to, address, want string }{
		{"web:80", "", "[10.0.0.5 fd00::5]"},
		{"www.lab.test:80", "", "[10.0.0.5 fd00::5]"},
		{"web:80", "2001:db8::1", "[fd00::5]"},
		{"web:80", "192.0.2.2", "[10.0.0.5]"},
		{"web:80", "::1", "[10.0.0.5 fd00::5]"},
		{"db:80", "", "[10.0.0.9 fd00::9]"},
		{"printer:80", "", "[10.0.0.7]"},
		{"far:80", "", "[]"},
		{"loop:80", "", "[]"},
		{"nobody:80", "", "[]"},
		{"10.0.0.8:80", "", "[10.0.0.8]"},
	} {
		f := forwardTo("tcp/80", c.to, c.address)
		got := Targets(&n, &f, func(f *Forward) []netip.Addr {
			f.AllowDHCPName = true
			out, _ := NamesOf(&n).Published(f, Leased{Named: leases, Held: func(MAC) []netip.Addr { return nil }})
			return out
		})
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s on %q: got %s, want %s", c.to, c.address, got, c.want)
		}
	}
}

// A forward publishes to declared guests; to a name that guests chose themselves only if
// it allows that.
func TestPublishedNames(t *testing.T) {
	mac := MAC{2, 0, 0, 0, 0, 1}
	ip := netip.MustParseAddr
	n := publishing()
	d := n.Subnets[0].DHCP
	d.Reservations = append(d.Reservations, Reservation{MAC: mac, Hostname: "app"}, Reservation{Hostname: "self", Address: ip("10.0.0.8")},
		Reservation{ClientID: "\x01x", Hostname: "id", Address: ip("10.0.0.11")})
	named := map[string][]netip.Addr{"web": {ip("10.0.0.5")}, "app": {ip("10.0.0.66")}, "id": {ip("10.0.0.12")}}
	leased := Leased{
		Named: func(label string) []netip.Addr { return named[label] },
		Held: func(m MAC) []netip.Addr {
			if m == mac {
				return []netip.Addr{ip("10.0.0.6")}
			}
			return nil
		},
	}
	for _, c := range []struct {
		to    string
		allow bool
		want  string
	}{
		{"web:80", false, "[] web"},
		{"Web.Lab.Test:80", false, "[] web"},
		{"www:80", false, "[] web"}, // an alias of the definition, to a name that a guest chose
		{"web:80", true, "[10.0.0.5] "},
		{"www:80", true, "[10.0.0.5] "},
		{"app:80", false, "[10.0.0.6] "}, // by its MAC, whatever other guest has the name
		{"app:80", true, "[10.0.0.6] "},
		{"self:80", false, "[] self"}, // reserved for who says so
		{"self:80", true, "[10.0.0.8] "},
		{"id:80", false, "[10.0.0.12] "},
		{"db:80", false, "[10.0.0.9 fd00::9] "},
		{"none:80", false, "[] "},
		{"10.0.0.5:80", false, "[10.0.0.5] "},
	} {
		f := forwardTo("tcp/80", c.to, "")
		f.AllowDHCPName = c.allow
		x := NamesOf(&n)
		var chosen string
		got := Targets(&n, &f, func(f *Forward) (out []netip.Addr) {
			out, chosen = x.Published(f, leased)
			return out
		})
		if s := fmt.Sprint(got) + " " + chosen; s != c.want {
			t.Errorf("%s, allowed %t: got %s, want %s", c.to, c.allow, s, c.want)
		}
	}
}

// What ends is what goes where no forward leads any more, and what is led past one.
func TestStaleFlows(t *testing.T) {
	at := netip.MustParseAddrPort
	was := PublishedPorts([]Network{publishing(forwardTo("tcp/8080-8081", "10.0.0.5:80-81", ""), forwardTo("udp/53", "10.0.0.5:53", "203.0.113.2"))})
	is := PublishedPorts([]Network{publishing(forwardTo("tcp/8080", "10.0.0.6:80", ""), forwardTo("udp/53", "10.0.0.5:53", "203.0.113.2"))})
	moved := PortChanges(was, is)
	if len(moved) != 2 {
		t.Fatalf("moved: %v", moved)
	}
	local := []netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("127.0.0.1")}
	stale := FlowDel{Changes: moved}.Stale(func(a netip.Addr) bool { return slices.Contains(local, a) })
	for _, c := range []struct {
		protocol          Protocol
		from, to, answers string
		want              bool
		what              string
	}{
		{TCP, "198.51.100.1:1", "203.0.113.2:8080", "10.0.0.5:80", true, "to the old guest"},
		{TCP, "198.51.100.1:1", "203.0.113.2:8080", "10.0.0.6:80", false, "to the new guest"},
		{TCP, "198.51.100.1:1", "203.0.113.2:8080", "203.0.113.2:8080", true, "to the host itself"},
		{TCP, "198.51.100.1:1", "203.0.113.2:8081", "10.0.0.5:81", true, "a forward that is gone"},
		{TCP, "198.51.100.1:1", "203.0.113.2:8081", "203.0.113.2:8081", false, "to the host, where no forward is"},
		{TCP, "10.0.0.9:1", "192.0.2.9:8080", "192.0.2.9:8080", false, "a guest's own call to a port of that number"},
		{TCP, "10.0.0.6:1", "203.0.113.2:8080", "10.0.0.1:8080", false, "the guest to itself, by the proxy"},
		{TCP, "127.0.0.1:1", "127.0.0.1:8080", "127.0.0.1:8080", false, "by the loopback's proxy"},
		{UDP, "198.51.100.1:1", "203.0.113.2:8080", "10.0.0.5:80", false, "another protocol"},
		{UDP, "198.51.100.1:1", "203.0.113.2:53", "10.0.0.5:53", false, "a forward that stays"},
		{TCP, "[2001:db8::1]:1", "[2001:db8::2]:8080", "[fd00::5]:80", false, "another family"},
	} {
		if got := stale(Flow{c.protocol, at(c.from), at(c.to), at(c.answers)}); got != c.want {
			t.Errorf("%s: ends = %t, want %t", c.what, got, c.want)
		}
	}
}

func TestForwardFindings(t *testing.T) {
	many := publishing(forwardTo("tcp/1-16384", "web:1-16384", ""), forwardTo("udp/1", "web:1", ""))
	if fs := forwardFindings(&many); len(fs) != 1 || fs[0].String() != "forwards: are 16385 ports, times the prefixes in from; at most 16384 can be published" {
		t.Errorf("too many ports: %v", fs)
	}
	for _, c := range []struct{ listen, to, address, want string }{
		{"tcp/80", "web:80", "0.0.0.0", "forwards[0].address: 0.0.0.0 is not one address of the host; leave it out for all of them"},
		{"sctp/80", "web:80", "127.0.0.1", "forwards[0].address: 127.0.0.1 is served for tcp and udp only"},
		{"tcp/80", "we_b:80", "", `forwards[0].to: "we_b" is neither an address nor a name: labels are letters, digits and '-', 1 to 63 of them`},
		{"tcp/80", "", "", "forwards[0].to: is missing: name a guest and its port, such as web:80"},
		{"tcp/80-81", "web:80", "", "forwards[0].to: has 1 ports for 2 of the host; give as many"},
	} {
		n := publishing(forwardTo(c.listen, c.to, c.address))
		if fs := forwardFindings(&n); len(fs) != 1 || fs[0].String() != c.want {
			t.Errorf("%s to %s: got %v, want %s", c.listen, c.to, fs, c.want)
		}
	}
}

func forwardFindings(n *Network) Findings {
	var fs Findings
	validateForwards(&fs, n)
	return fs
}
