package daemon_test

import (
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// told says all that guests can be told.
const told = `
name: told
mode: nat
bridge: {name: told0}
dns: {domain: told.test}
subnets:
  - address: 192.168.70.1/24
    dhcp:
      ranges: [{start: 192.168.70.100, end: 192.168.70.200}]
      leaseTime: 1h
      renewTime: 20m
      rebindTime: 50m
      options:
        routers: [192.168.70.2]
        dnsServers: [192.168.70.1, 192.168.70.3]
        domain: other.test
        search: [a.test, b.test]
        routes: [{destination: 10.0.0.0/8, via: 192.168.70.4}]
        mtu: 1400
        ntpServers: [192.168.70.5]
        vendor: "01:04:c0:a8:46:06"
        vendorClass: told
        tftpServerName: boot.test
        bootFile: pxelinux.0
        ipv6OnlyWait: 30m
        captivePortal: https://portal.test/api
        custom:
          - {code: 101, text: Europe/Berlin}
          - {code: 150, address: 192.168.70.7}
          - {code: 224, text: LONG}
          - {code: 225, text: HALF}
      tags:
        - {name: phones, match: {vendorClass: "phone*"}, options: {bootFile: phone.bin, mtu: 1300}}
        - {name: desk, match: {userClass: desk}, options: {bootFile: desk.bin, omit: [ntpServers]}}
        - {name: ours, match: {macPrefix: "02:00:00:00:00"}, options: {tftpServerName: ours.test}}
      reservations:
        - {mac: "02:00:00:00:00:02", address: 192.168.70.22, hostname: fixed, options: {mtu: 1200, omit: [routers]}, tags: [desk]}
  - address: fd00:70::1/64
    slaac: true
    dhcp:
      ranges: [{start: "fd00:70::1000", end: "fd00:70::1fff"}]
      leaseTime: 1h
      renewTime: 20m
      rebindTime: 50m
      options:
        dnsServers: ["fd00:70::1", "fd00:70::3"]
        search: [a.test, b.test]
        ntpServers: ["fd00:70::5"]
        vendor: "00:00:01:37:00:01:00:02:68:69"
        bootFile: tftp://[fd00:70::6]/boot.efi
        captivePortal: https://portal.test/api
        informationRefreshTime: 2h
        solMaxRt: 10m
        infMaxRt: 20m
        custom: [{code: 42, text: Europe/Berlin}]
`

// long is a value that takes two pieces.
var long = strings.Repeat("0123456789", 30)

func toldWorld(t *testing.T) (*nettest.World, *nettest.Daemon) {
	t.Helper()
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, strings.NewReplacer("LONG", long, "HALF", half).Replace(told), "network", "create", "-f", "-")
	return w, d
}

// asks starts a client whose script prints the variables that it gets. config is
// dhclient's.
func asks(t *testing.T, g *nettest.Guest, config, command string) *nettest.Process {
	t.Helper()
	g.WriteFile(t, "/run/report", "#!/bin/sh\nenv | grep '^[a-z]'\necho \"done $1 $reason\"\n")
	g.WriteFile(t, "/run/dhclient.conf", config)
	words := strings.Fields(command)
	return g.Start(t, words[0], words[1:]...)
}

const (
	dhclient  = "dhclient -d -v -cf /run/dhclient.conf -lf /run/leases -pf /run/pid -sf /run/report eth0"
	dhclient6 = "dhclient -6 -d -v -cf /run/dhclient.conf -lf /run/leases -pf /run/pid -sf /run/report eth0"
	udhcpc    = "udhcpc -f -i eth0 -s /run/report -O search -O staticroutes -O mtu -O ntpsrv -O tftp -O bootfile -O 43 -O 101 -O 108 -O 114 -O 150 "

	// What dhclient has no name for, and what it is to ask for.
	dhclientOptions = `
option v6-only code 108 = unsigned integer 32;
option captive-portal code 114 = text;
option classless code 121 = array of unsigned integer 8;
option tz code 101 = text;
option tftp-addr code 150 = ip-address;
option long code 224 = text;
option half code 225 = text;
request subnet-mask, routers, domain-name-servers, domain-name, domain-search, classless, interface-mtu, ntp-servers, broadcast-address,
  vendor-encapsulated-options, vendor-class-identifier, tftp-server-name, bootfile-name, captive-portal, tz, tftp-addr`
)

// What clients of others say that they were told. Each value ends its line.
func TestOptions(t *testing.T) {
	nettest.Need(t, "dhclient", "udhcpc", "dhcpcd")
	w, _ := toldWorld(t)
	common := []string{
		"new_subnet_mask=255.255.255.0", "new_domain_name_servers=192.168.70.1 192.168.70.3", "new_domain_name=other.test",
		"new_interface_mtu=1400", "new_ntp_servers=192.168.70.5", "new_tftp_server_name=ours.test", "new_bootfile_name=pxelinux.0",
		"new_dhcp_lease_time=3600", "new_dhcp_renewal_time=1200", "new_dhcp_rebinding_time=3000", "new_broadcast_address=192.168.70.255",
	}
	for _, c := range []struct {
		name, config, command, until string
		wants                        []string // "!" before what is not there
	}{
		{"dhclient", dhclientOptions + ";", dhclient, "done  BOUND", append([]string{
			"new_domain_search=a.test. b.test.", "new_classless=0 192 168 70 2 8 10 192 168 70 4", "!new_routers",
			"new_vendor_encapsulated_options=1:4:c0:a8:46:6", "new_vendor_class_identifier=told", "new_captive_portal=https://portal.test/api",
			"new_tz=Europe/Berlin", "new_tftp_addr=192.168.70.7", "!new_v6_only",
		}, common...)},
		{"reserved", "", udhcpc + "-O 60", "done bound", []string{
			"ip=192.168.70.22", "mtu=1200", "hostname=fixed", "bootfile=desk.bin", "tftp=ours.test", "!ntpsrv", "!router=",
			"staticroutes=10.0.0.0/8 192.168.70.4", "vendor=told",
		}},
		{"udhcpc", "", udhcpc, "done bound", []string{
			"subnet=255.255.255.0", "dns=192.168.70.1 192.168.70.3", "domain=other.test", "search=a.test b.test", "mtu=1400",
			"ntpsrv=192.168.70.5", "tftp=ours.test", "bootfile=pxelinux.0", "staticroutes=0.0.0.0/0 192.168.70.2 10.0.0.0/8 192.168.70.4",
			"opt43=0104c0a84606", "tzdbstr=Europe/Berlin", "opt108=00000708", "opt150=c0a84607", "lease=3600", "opt58=000004b0",
			"opt114=68747470733a2f2f706f7274616c2e746573742f617069", "opt59=00000bb8", "!router=",
		}},
		{"dhcpcd", "", "dhcpcd -T -4 -B --noarp -c /run/report -o domain_search,classless_static_routes,interface_mtu,ntp_servers," +
			"tftp_server_name,bootfile_name,tzdb_timezone eth0", "done  TEST", append([]string{
			"new_domain_search=a.test b.test", "new_classless_static_routes=0.0.0.0/0 192.168.70.2 10.0.0.0/8 192.168.70.4", "!new_routers",
			"new_tzdb_timezone=Europe/Berlin",
		}, common...)},
		{"phone", "", udhcpc + "-V phone9", "done bound", []string{"bootfile=phone.bin", "mtu=1300", "ntpsrv=192.168.70.5", "tftp=ours.test"}},
		{"desk", "", udhcpc + "-x 0x4d:046465736b", "done bound", []string{"bootfile=desk.bin", "mtu=1400", "!ntpsrv"}},
		{"deskphone", "", udhcpc + "-V phone9 -x 0x4d:6465736b", "done bound", []string{"bootfile=phone.bin", "mtu=1300", "!ntpsrv"}},
		{"frugal", "option old code 33 = text; request routers, domain-search;", dhclient, "done  BOUND", []string{
			"new_routers=192.168.70.2", "new_domain_search=a.test. b.test.", "!new_domain_name=", "!new_interface_mtu", "!new_subnet_mask",
		}},
		// Two pieces that a client joins; and where they do not fit, what does.
		{
			"large", "send dhcp-max-message-size 1500;" + dhclientOptions + ", half, long;", dhclient, "done  BOUND",
			append([]string{"new_long=" + long, "new_half=" + half}, common...),
		},
		{"small", dhclientOptions + ", half, long;", dhclient, "done  BOUND", append([]string{"!new_long", "new_half=" + half}, common...)},
		// RFC 8925: it does without IPv4.
		{"modern", dhclientOptions + ", v6-only;", dhclient, "v6 only preferred for 1800", nil},
		{"six", `
option dhcp6.sol-max-rt code 82 = unsigned integer 32;
option dhcp6.inf-max-rt code 83 = unsigned integer 32;
option dhcp6.ntp code 56 = text;
option dhcp6.portal code 103 = text;
option dhcp6.tz code 42 = text;
request dhcp6.name-servers, dhcp6.domain-search, dhcp6.sntp-servers, dhcp6.vendor-opts, dhcp6.bootfile-url, dhcp6.ntp,
  dhcp6.portal, dhcp6.sol-max-rt, dhcp6.inf-max-rt, dhcp6.tz;`, dhclient6, "done  BOUND6", []string{
			"new_dhcp6_name_servers=fd00:70::1 fd00:70::3", "new_dhcp6_domain_search=a.test. b.test.", "new_dhcp6_sntp_servers=fd00:70::5",
			"new_dhcp6_bootfile_url=tftp://[fd00:70::6]/boot.efi", "new_dhcp6_portal=https://portal.test/api",
			"new_dhcp6_sol_max_rt=600", "new_dhcp6_inf_max_rt=1200", "new_dhcp6_tz=Europe/Berlin", "new_renew=1200", "new_rebind=3000",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := w.Guest(t, c.name)
			g.Attach(t, "told0")
			if strings.Contains(c.command, " -6 ") {
				sees(t, g, "ip -6 addr show dev eth0 scope link -tentative", "inet6 fe80::")
			}
			p := asks(t, g, c.config, c.command)
			if err := p.WaitFor(t.Context(), c.until); err != nil {
				t.Fatalf("%v\n%s", err, p.Output())
			}
			hears(t, p.Output(), c.wants)
		})
	}
}

// half fits into the field of a boot file.
var half = strings.Repeat("x", 120)

// hears looks for lines, or for the beginnings of lines that are not to be there.
func hears(t *testing.T, output string, wants []string) {
	t.Helper()
	lines := "\n" + output
	for _, want := range wants {
		if no, is := strings.CutPrefix(want, "!"); is {
			if strings.Contains(lines, "\n"+no) {
				t.Errorf("%s is there in\n%s", no, output)
			}
		} else if !strings.Contains(lines, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, output)
		}
	}
}

// What clients do not show: packets, decoded by tcpdump.
func TestOptionsOnTheWire(t *testing.T) {
	nettest.Need(t, "tcpdump", "dhclient")
	w, _ := toldWorld(t)
	g := w.Guest(t, "web")
	wire := w.Host.Start(t, "tcpdump", "-l", "-n", "-vvv", "-i", "told0", "icmp6 and ip6[40] == 134 or udp port 68 or udp port 546")
	if err := wire.WaitFor(t.Context(), "listening on"); err != nil {
		t.Fatal(err)
	}
	g.Attach(t, "told0")
	asks(t, g, dhclientOptions+", half, long;", dhclient)
	sees(t, g, "ip -6 addr show dev eth0 scope link -tentative", "inet6 fe80::")
	asks(t, g, "option dhcp6.refresh code 32 = unsigned integer 32; also request dhcp6.refresh;",
		"dhclient -6 -S -d -v -cf /run/dhclient.conf -lf /run/leases6 -pf /run/pid6 -sf /run/report eth0")
	for _, want := range []string{
		"length 458)", "file \"M-axxxx", "OO (52), length 1: file", // 576 octets would do, but not in the options field
		"Classless-Static-Route (121), length 11: (default:192.168.70.2),(10.0.0.0/8:192.168.70.4)",
		"rdnss option (25), length 40 (5):  lifetime 1800s, addr: fd00:70::1 addr: fd00:70::3", "domain(s): a.test. b.test.",
		"unknown option (37), length 32 (4)", "6874 7470 733a 2f2f 706f 7274 616c 2e74", // https://portal.t
		"(lifetime 7200)",
	} {
		if err := wire.WaitFor(t.Context(), want); err != nil {
			t.Errorf("%q: %v in\n%s", want, err, wire.Output())
		}
	}
}

// A client that sends option 81 alone gets its name in the DNS, and is told.
func TestFQDN(t *testing.T) {
	nettest.Need(t, "dhclient", "dig")
	w, _ := toldWorld(t)
	g := w.Guest(t, "web")
	g.Attach(t, "told0")
	p := asks(t, g, "send fqdn.fqdn \"only.elsewhere.test\"; send fqdn.encoded on; send fqdn.server-update on; request fqdn.fqdn;", dhclient)
	if err := p.WaitFor(t.Context(), "done  BOUND"); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	hears(t, p.Output(), []string{"new_fqdn_fqdn=only.told.test", "new_fqdn_server_update=true", "new_fqdn_no_client_update=false"})
	if got := strings.TrimSpace(w.Host.Run(t, "dig +short @192.168.70.1 only.told.test")); !strings.HasPrefix(got, "192.168.70.1") {
		t.Errorf("dig says %q", got)
	}
}

// networkd writes down what it was told. An edit is in its next ACK, and its
// lease and all that it has stays.
func TestOptionsChangeLive(t *testing.T) {
	nettest.Need(t, "systemd-networkd", "networkctl", "dbus-daemon", "udhcpc")
	w, d := toldWorld(t)
	g := w.Guest(t, "web")
	g.Attach(t, "told0")
	c := g.Networkd(t, nettest.ClientConfig{})
	g.WriteFile(t, "/run/systemd/network/10-eth0.network", "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n[DHCPv4]\nUseDomains=yes\n")
	l, err := c.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"DNS": "192.168.70.1 192.168.70.3", "DOMAINNAME": "other.test", "DOMAIN_SEARCH_LIST": "a.test b.test", "NTP": "192.168.70.5",
		"CLASSLESS_ROUTES": "0.0.0.0/0,192.168.70.2 10.0.0.0/8,192.168.70.4", "T1": "1200", "T2": "3000", "ROUTER": "",
	}
	agrees(t, l.Raw, want)

	const edit = "subnets[0].dhcp.options."
	d.Ctl(t, "network", "set", "told", edit+"search[1]=c.test", edit+"ntpServers=", edit+"omit[0]=dnsServers", edit+"dnsServers=",
		edit+"routes=", "subnets[0].dhcp.renewTime=15m")
	next, err := c.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if next.Address != l.Address {
		t.Errorf("had %s, has %s", l.Address, next.Address)
	}
	want["DOMAIN_SEARCH_LIST"], want["NTP"], want["DNS"], want["CLASSLESS_ROUTES"], want["ROUTER"], want["T1"] = "a.test c.test", "", "", "", "192.168.70.2", "900"
	agrees(t, next.Raw, want)
}

func agrees(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
}
