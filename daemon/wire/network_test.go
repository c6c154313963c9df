package wire

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

var fullRate = netdrv.Rate{Average: 10_000_000, Peak: 25_000_000, Burst: 64 << 10, Floor: 8_000_000}

// full has every field set.
func full() netdrv.Network {
	return netdrv.Network{
		Name:   "lab",
		Mode:   netdrv.NAT,
		Bridge: netdrv.Bridge{Name: "lab0", MAC: netdrv.MAC{2, 0, 0, 0, 10, 1}, MTU: 1400, Uplinks: []string{"eno1"}, FDBMaxLearned: 64},
		Direct: netdrv.Direct{Uplinks: []string{"eno2"}, Mode: netdrv.DirectVEPA, HostAccess: true},
		Subnets: []netdrv.Subnet{{
			Address: netip.MustParsePrefix("192.168.10.1/24"),
			DHCP: &netdrv.DHCP{
				Ranges:    []netdrv.Range{{Start: netip.MustParseAddr("192.168.10.2"), End: netip.MustParseAddr("192.168.10.9")}},
				LeaseTime: 2 * time.Hour,
				Reservations: []netdrv.Reservation{
					{
						MAC: netdrv.MAC{2, 0, 0, 0, 10, 11}, DUID: "\x00\x03\x00\x01\x02", ClientID: "\x01\x02",
						Address: netip.MustParseAddr("192.168.10.11"), Hostname: "web",
						Options: fullOptions(), Tags: []string{"phones"}, BootFile: "web.ipxe",
					},
				},
				Stateless: true,
				RenewTime: time.Minute, RebindTime: time.Hour,
				Options: fullOptions(),
				Tags: []netdrv.Tag{{
					Name: "phones", Options: fullOptions(),
					Match: netdrv.OptionMatch{VendorClass: "phone*", UserClass: "desk", MACPrefix: "\x52\x54", Hostname: "p*"},
				}},
				Boot: &netdrv.Boot{
					Root: "/srv/boot", Server: netip.MustParseAddr("192.168.10.5"), HTTPPort: 8080,
					Files: []netdrv.BootFile{
						{Arch: netdrv.BootArch{Known: true, Number: 7}, IPXE: true, File: "boot.ipxe", Params: []string{"quiet"}},
						{Arch: netdrv.BootArch{Known: true}, File: "undionly.kpxe"},
						{Arch: netdrv.BootArch{Known: true, Number: 4711}, File: "http://192.168.10.5/x"},
						{File: "pxelinux.0"},
					},
				},
				Exclude: []netdrv.Range{{Start: netip.MustParseAddr("192.168.10.5"), End: netip.MustParseAddr("192.168.10.5")}},
				Relayed: []netdrv.RelayedSubnet{{
					Subnet: netip.MustParsePrefix("10.30.0.0/24"), Router: netip.MustParseAddr("10.30.0.1"),
					Ranges:    []netdrv.Range{{Start: netip.MustParseAddr("10.30.0.2"), End: netip.MustParseAddr("10.30.0.9")}},
					Exclude:   []netdrv.Range{{Start: netip.MustParseAddr("10.30.0.5"), End: netip.MustParseAddr("10.30.0.6")}},
					LeaseTime: netdrv.Infinite,
					Reservations: []netdrv.Reservation{{
						MAC: netdrv.MAC{2, 0, 0, 0, 10, 12}, DUID: "\x00\x03\x00\x01\x03", ClientID: "text",
						Address: netip.MustParseAddr("10.30.0.11"), Hostname: "far", Options: fullOptions(), Tags: []string{"phones"}, BootFile: "far.ipxe",
					}},
				}},
			},
			SLAAC: netdrv.No,
		}},
		DNS: netdrv.DNS{
			Enabled:   netdrv.No,
			Domain:    "lab.test",
			LocalOnly: netdrv.Yes,
			Forwarders: []netdrv.Forwarder{
				{Domain: "corp.example", Address: netip.MustParseAddrPort("10.0.0.53:853"), TLS: "dns.example"},
				{Address: netip.MustParseAddrPort("[fd00::53]:5353")},
			},
			Records:          []netdrv.Record{{Name: "www", Type: "A", Value: "192.168.10.11", TTL: 5 * time.Minute}},
			Peers:            []string{"office"},
			RebindProtection: true,
		},
		NAT: netdrv.NATOptions{
			Ports:     netdrv.PortRange{Start: 2000, End: 3000},
			Addresses: []netdrv.Range{{Start: netip.MustParseAddr("203.0.113.5"), End: netip.MustParseAddr("203.0.113.9")}},
			IPv6:      true,
		},
		RA: netdrv.RA{
			Enabled: netdrv.Yes, Interval: time.Minute, Lifetime: time.Hour, Preference: netdrv.Low,
			Routes: []netip.Prefix{netip.MustParsePrefix("fd00:99::/48")},
		},
		Uplinks: []string{"eno3"},
		Routes: []netdrv.StaticRoute{
			{Destination: netip.MustParsePrefix("10.99.0.0/16"), Via: netip.MustParseAddr("192.168.10.5"), Metric: 7},
		},
		Filter: fullFilter(),
		HostAccess: netdrv.HostAccess{
			Limited: true, Services: []netdrv.Service{{Protocol: netdrv.UDP, Ports: netdrv.PortRange{Start: 5000, End: 5010}}},
		},
		Forwards: []netdrv.Forward{{
			From:    []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")},
			Listen:  netdrv.Service{Protocol: netdrv.TCP, Ports: netdrv.PortRange{Start: 8000, End: 8010}},
			Address: netip.MustParseAddr("203.0.113.2"), Guest: "web", Ports: netdrv.PortRange{Start: 9000, End: 9010},
			AllowDHCPName: true,
		}},
		Access: netdrv.Access{Users: []string{"alice"}, Groups: []string{"kvm"}, MACPrefix: "52:54:00", MaxPorts: 4},
		Bandwidth: netdrv.NetworkBandwidth{
			In: fullRate, Out: fullRate, PerPort: netdrv.Bandwidth{In: fullRate, Out: fullRate},
		},
		Autostart: true,
		Transient: true,
	}
}

func fullFilter() netdrv.Filter {
	return netdrv.Filter{
		Preset: netdrv.CleanTraffic, Isolated: true, In: netdrv.Drop, Out: netdrv.Reject,
		Rules: []netdrv.FilterRule{{
			Direction: netdrv.In, Action: netdrv.Accept, Protocol: netdrv.TCP, Remote: "@office", Log: true,
			Ports: []netdrv.PortRange{{Start: 22, End: 22}, {Start: 8000, End: 8080}},
		}},
		Allow: []netdrv.FrameKind{netdrv.BPDU, netdrv.DHCPServer},
		Sets: []netdrv.FilterSet{{Name: "office", Prefixes: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128"),
		}}},
	}
}

func fullOptions() netdrv.Options {
	return netdrv.Options{
		Routers: []netip.Addr{netip.MustParseAddr("192.168.10.2")}, DNSServers: []netip.Addr{netip.MustParseAddr("192.168.10.3")},
		Domain: "other.test", Search: []string{"a.test", "b.test"}, MTU: 1400,
		Routes:     []netdrv.OptionRoute{{Destination: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("192.168.10.4")}},
		NTPServers: []netip.Addr{netip.MustParseAddr("192.168.10.5")}, Vendor: "\x01\x02", VendorClass: "PXEClient",
		TFTPServerName: "boot.test", BootFile: "a.efi", IPv6OnlyWait: 30 * time.Minute, CaptivePortal: "https://portal.test/api",
		RefreshTime: time.Hour, SolMaxRT: time.Minute, InfMaxRT: 2 * time.Minute,
		Custom: []netdrv.CustomOption{
			{Code: 150, Form: netdrv.FormIPv4, Value: "\xc0\xa8\x0a\x05"},
			{Code: 151, Form: netdrv.FormIPv4, Value: "\xc0\xa8\x0a\x05\xc0\xa8\x0a\x06"},
			{Code: 152, Form: netdrv.FormIPv6, Value: "\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
			{Code: 153, Form: netdrv.FormText, Value: "Europe/Berlin"},
			{Code: 154, Form: netdrv.FormHex, Value: "\x00\xff"},
			{Code: 155, Form: netdrv.FormU8, Value: "\x00"},
			{Code: 156, Form: netdrv.FormU16, Value: "\x01\x02"},
			{Code: 157, Form: netdrv.FormU32, Value: "\x01\x02\x03\x04"},
			{Code: 158, Form: netdrv.FormDomains, Value: "\x01a\x04test\x00\x01b\x00"},
		},
		Omit: []string{"150"},
	}
}

func TestRoundTrip(t *testing.T) {
	want := full()
	got, unread := FromNetwork(ToNetwork(&want))
	if unread != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v), want %+v", got, unread, want)
	}
	for m := range vnetv1.Mode_name {
		if m == 0 {
			continue
		}
		p := &vnetv1.Network{Mode: vnetv1.Mode(m)}
		n, fs := FromNetwork(p)
		if fs != nil || ToNetwork(&n).Mode != p.Mode {
			t.Errorf("mode %s does not come back: %v, %v", p.Mode, n.Mode, fs)
		}
	}
}

// A client identifier is text or octets, and comes back as the octets it was.
func TestClientID(t *testing.T) {
	for text, octets := range map[string]string{
		"web": "web", "01:52:54:00:AA:bb:01": "\x01\x52\x54\x00\xaa\xbb\x01", "ab": "ab", "0:1": "0:1", "": "", "a1:zz": "a1:zz",
	} {
		if got := readClientID(text); got != octets {
			t.Errorf("%q: %q", text, got)
		}
	}
	for octets, text := range map[string]string{
		"web": "web", "\x00web": "00:77:65:62", "a1:b2": "61:31:3a:62:32", "\xff\x01": "ff:01", "Grüße": "47:72:c3:bc:c3:9f:65",
	} {
		if got := writeClientID(octets); got != text || readClientID(got) != octets {
			t.Errorf("%q: %q, and back %q", octets, got, readClientID(got))
		}
	}
}

// Breaks when a field is added to the contract or to the vocabulary, and not
// translated: a full network sets every field of both.
func TestEveryFieldIsTranslated(t *testing.T) {
	n := full()
	requireSet(t, "Network", reflect.ValueOf(n))
	p := ToNetwork(&n)
	requireProtoSet(t, p, map[protoreflect.Name]bool{"revision": true, "status": true}, map[protoreflect.Name]bool{})
}

func requireSet(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is not set in full(): is it translated?", path)
		return
	}
	switch {
	case v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[netdrv.Network]().PkgPath():
		for i := range v.NumField() {
			requireSet(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem() == reflect.TypeFor[netdrv.CustomOption]():
		// One value in one form each; TestRoundTrip has them all.
	case v.Kind() == reflect.Slice:
		requireSet(t, path+"[0]", v.Index(0))
	case v.Kind() == reflect.Pointer:
		requireSet(t, path, v.Elem())
	}
}

func requireProtoSet(t *testing.T, m proto.Message, outputOnly, seen map[protoreflect.Name]bool) {
	t.Helper()
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if outputOnly[f.Name()] {
			continue
		}
		if !r.Has(f) {
			t.Errorf("%s.%s is not set by ToNetwork", r.Descriptor().Name(), f.Name())
			continue
		}
		if f.Kind() != protoreflect.MessageKind {
			continue
		}
		if f.Message().Name() == "DHCPCustomOption" {
			requireForms(t, r.Get(f).List())
		} else if f.IsList() {
			requireProtoSet(t, r.Get(f).List().Get(0).Message().Interface(), nil, seen)
		} else if f.Message().ParentFile().Package() == r.Descriptor().ParentFile().Package() {
			requireProtoSet(t, r.Get(f).Message().Interface(), nil, seen)
		}
	}
}

// requireForms wants every way to write a value in one of the elements.
func requireForms(t *testing.T, list protoreflect.List) {
	t.Helper()
	fields := list.NewElement().Message().Descriptor().Fields()
	for i := range fields.Len() {
		found := false
		for j := range list.Len() {
			found = found || list.Get(j).Message().Has(fields.Get(i))
		}
		if !found {
			t.Errorf("DHCPCustomOption.%s is not set by ToNetwork", fields.Get(i).Name())
		}
	}
}

func TestUnreadable(t *testing.T) {
	p := &vnetv1.Network{
		Name: "lab", Mode: vnetv1.Mode_MODE_NAT,
		Bridge: &vnetv1.Bridge{Name: "lab0", Mac: "nonsense"},
		Subnets: []*vnetv1.Subnet{
			{Address: "192.168.10.1"},
			{Address: "192.168.11.1/24", Dhcp: &vnetv1.DHCP{Ranges: []*vnetv1.AddressRange{{Start: "x", End: "192.168.11.9"}}}},
		},
		Dns: &vnetv1.DNS{Forwarders: []*vnetv1.Forwarder{{Address: "dns.example"}, {Address: "10.0.0.53", Tls: &vnetv1.ForwarderTLS{}}}},
		Nat: &vnetv1.NAT{Ports: &vnetv1.PortRange{Start: 70000, End: 80000}},
	}
	n, unread := FromNetwork(p)
	got := unread.Join(netdrv.Validate(&n))
	want := []string{
		`bridge.mac: "nonsense" is not an Ethernet address such as 52:54:00:12:34:56`,
		`subnets[0].address: "192.168.10.1" has no prefix length: write it as in 192.168.10.1/24`,
		`subnets[1].dhcp.ranges[0].start: "x" is not an IP address`,
		`dns.forwarders[0].address: "dns.example" is not ADDRESS or ADDRESS:PORT`,
		`dns.forwarders[1].tls.name: is missing: the name that the server's certificate is for`,
		`nat.ports: 70000 to 80000 is not a range of ports`,
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i].String() != want[i] {
			t.Fatalf("got %q,\nwant %q", got, want)
		}
	}
}
