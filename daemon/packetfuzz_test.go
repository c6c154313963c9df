package daemon_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
	"github.com/mdlayher/packet"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

const (
	// framesVar is how many frames TestPacketFuzz sends (make packet-fuzz: a million).
	framesVar    = "VNETD_TEST_FRAMES"
	fewFrames    = 100_000
	seedVar      = "VNETD_TEST_SEED" // of the mutations; the test prints the one it picks
	fuzzingPorts = 8                 // each has a credit of its own with the DHCP server
	atOnce       = 64                // frames of one system call
	pacing       = 2500 * time.Microsecond
)

const fuzzed = `
name: lab
mode: nat
bridge: {name: lab0}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.2, end: 192.168.10.254}]
      leaseTime: 2m
      relayed: [{subnet: 192.168.30.0/24, ranges: [{start: 192.168.30.2, end: 192.168.30.254}]}]
      boot: {root: %[1]s, files: [{arch: efi-x86-64, file: f}, {client: ipxe, file: f}, {file: f}]}
  - address: fd00:10::1/64
    dhcp: {ranges: [{start: "fd00:10::1000", end: "fd00:10::ffff"}], boot: {root: %[1]s, files: [{file: f}]}}
dns: {domain: lab.test, forwarders: [{domain: evil.test, address: "203.0.113.1:5301"}]}
`

// TestPacketFuzz sends mutated frames of every protocol that guests reach to a running
// daemon, from several guests, while other guests of the same network get leases and
// names: no frame causes a panic, and memory and log stay bounded.
func TestPacketFuzz(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig", "curl")
	frames := fewFrames
	if s := os.Getenv(framesVar); s != "" {
		var err error
		if frames, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(seedVar); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d %s=%d", seedVar, seed, framesVar, frames)

	root := nettest.TempDir(t)
	if err := os.WriteFile(filepath.Join(root, "f"), make([]byte, 3000), 0o644); err != nil {
		t.Fatal(err)
	}
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: "defaultNetwork: false\nmetrics: {listen: \"127.0.0.1:9178\"}\n"})
	d.CtlInput(t, fmt.Sprintf(fuzzed, root), "network", "create", "-f", "-")
	var bridge net.HardwareAddr
	if err := w.Host.Do(func() error {
		ifi, err := net.InterfaceByName("lab0")
		if err == nil {
			bridge = ifi.HardwareAddr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	victim, _ := guest(t, w, "victim", "lab0")
	// What a network without clean-traffic does not stop is not what this test is about.
	victim.Run(t, "ip neigh replace 192.168.10.1 lladdr "+bridge.String()+" dev eth0 nud permanent; sysctl -qw net.ipv6.conf.eth0.accept_ra=0")
	newcomer := w.Guest(t, "newcomer")
	newcomer.Attach(t, "lab0")

	stop := make(chan struct{})
	var victims, attackers sync.WaitGroup
	served := [3]atomic.Int64{}
	for i, want := range []string{"host.lab.test 192.168.10.1", "www.example.org 203.0.113.1"} {
		name, addr, _ := strings.Cut(want, " ")
		victims.Go(func() {
			for ; !over(stop); served[i].Add(1) {
				if out, err := victim.Try(t.Context(), "dig +tries=6 +time=2 @192.168.10.1 "+name); err != nil || !strings.Contains(out, addr) {
					t.Errorf("the victim asks for %s: %v\n%s", name, err, out)
					return
				}
			}
		})
	}
	victims.Go(func() {
		for ; !over(stop); served[2].Add(1) {
			c := newcomer.Udhcpc(t, nettest.ClientConfig{})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			_, err := c.Lease(ctx)
			if err == nil {
				err = c.Release(ctx)
			}
			cancel()
			if err != nil {
				t.Errorf("a new client: %v", err)
				return
			}
		}
	})

	upstream, err := w.Internet.ListenPacket("udp", "203.0.113.1:5301")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	go evilUpstream(upstream, rand.New(rand.NewPCG(seed, 53)))
	asker, _ := guest(t, w, "asker", "lab0")
	victims.Go(func() { // no victim, but as long: replies have to be asked for
		r := rand.New(rand.NewPCG(seed, 1))
		c, err := asker.Dial("udp", "192.168.10.1:53")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for pace := time.NewTicker(2 * time.Millisecond); !over(stop); <-pace.C {
			_, _ = c.Write(query(fmt.Sprintf("r%d.evil.test.", r.Uint32()), []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT}[r.IntN(4)]))
		}
	})

	start, most := time.Now(), 0
	var sent atomic.Int64
	for n := range fuzzingPorts {
		g := w.Guest(t, fmt.Sprintf("fuzz%d", n))
		g.Attach(t, "lab0")
		g.Run(t, fmt.Sprintf("ip address add 192.168.10.%d/24 dev eth0; sysctl -qw net.ipv6.conf.eth0.accept_ra=0", 230+n))
		f := newFuzzer(g, bridge, seed+uint64(n))
		conn := newWire(t, g).conn
		attackers.Go(func() { f.flood(t, conn, frames/fuzzingPorts, &sent) })
		attackers.Go(func() { f.streams(g, []int{53, 80}[n%2], frames/fuzzingPorts/200) })
	}
	ended := make(chan struct{})
	go func() { attackers.Wait(); close(ended) }()
	for tick := time.NewTicker(200 * time.Millisecond); !over(ended); <-tick.C {
		most = max(most, residentMiB(t, d))
	}
	close(stop)
	victims.Wait()
	took := time.Since(start)

	metrics := w.Host.Run(t, "curl -sS http://127.0.0.1:9178/metrics")
	log := d.Log()
	t.Logf("%d frames in %s; victims: %d and %d names, %d leases; at most %d MiB; %d KiB of log", sent.Load(), took.Round(time.Millisecond),
		served[0].Load(), served[1].Load(), served[2].Load(), most, len(log)/1024)
	for i := range served {
		if served[i].Load() == 0 {
			t.Errorf("victim %d was not served once", i)
		}
	}
	if strings.Contains(log, "panic") || regexp.MustCompile(`vnetd_panics_total{.*} [^0]`).MatchString(metrics) {
		t.Errorf("a frame caused a panic:\n%s", grep(metrics+log, "panic"))
	}
	if most > 100 {
		t.Errorf("%d MiB are resident", most)
	}
	if bound := 128<<10 + int(took.Seconds())*32<<10; len(log) > bound {
		t.Errorf("%d octets of log in %s", len(log), took)
	}
	// The frames got to where they were to go.
	for _, want := range []string{
		`vnetd_dhcp_messages_total{network="lab",family="ipv4",message="other",reply="none",reason="malformed"}`,
		`vnetd_dhcp_messages_total{network="lab",family="ipv6",message="other",reply="none",reason="malformed"}`,
		`vnetd_dhcp_messages_total{network="lab",family="ipv6",message="SOLICIT",reply="ADVERTISE"`,
		`vnetd_dhcp_messages_total{network="lab",family="ipv4",message="DISCOVER",reply="OFFER"`,
		`vnetd_dns_queries_total{network="lab",outcome="malformed"}`,
		`vnetd_dns_upstream_replies_total{upstream="203.0.113.1:5301"}`, `vnetd_dns_upstream_failures_total{upstream="203.0.113.1:5301"}`,
		`vnetd_boot_requests_total{network="lab",protocol="tftp",outcome="missing"}`,
		`vnetd_boot_requests_total{network="lab",protocol="http",outcome="missing"}`,
	} {
		if !regexp.MustCompile(regexp.QuoteMeta(want) + `.* [1-9]`).MatchString(metrics) {
			t.Errorf("the metrics lack %s:\n%s", want, grep(metrics, "vnetd_d|vnetd_boot"))
		}
	}
	says(t, "the daemon", d.Ctl(t, "network", "list"), "lab")
}

// evilUpstream answers each query with a mutated reply. Most have the query's header and
// question, without which a reply is not looked at.
func evilUpstream(c net.PacketConn, r *rand.Rand) {
	f := &fuzzer{Rand: r}
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		var q dns.Msg
		if q.Unpack(buf[:n]) != nil || len(q.Question) != 1 {
			continue
		}
		name := q.Question[0].Name
		m := new(dns.Msg).SetReply(&q)
		for _, line := range []string{
			"%s 300 IN CNAME a.%[1]s", "a.%s 5 IN CNAME b.lab.test.", "%s 2147483648 IN A 192.168.10.1", "%s 1 IN AAAA 64:ff9b::1", "%s 1 IN HTTPS 1 . ipv4hint=10.0.0.1 alpn=h2",
			"%s 1 IN TXT \"x\" \"y\"", "%s 1 IN DNAME evil.test.", "%s 1 IN MX 1 %[1]s",
		} {
			if rr, err := dns.NewRR(fmt.Sprintf(line, name)); err == nil && r.IntN(3) == 0 {
				m.Answer = append(m.Answer, rr)
			}
		}
		if rr, err := dns.NewRR("evil.test. 60 IN SOA ns.evil.test. x.evil.test. 1 2 3 4 5"); err == nil && r.IntN(2) == 0 {
			m.Ns = append(m.Ns, rr)
		}
		m.SetEdns0(4096, true)
		m.Compress = r.IntN(2) == 0
		b, err := m.Pack()
		if err != nil {
			continue
		}
		f.seeds = [][][]byte{{b}}
		keep := min(n, len(b))
		if r.IntN(8) == 0 {
			keep = 0
		} else if opt := q.IsEdns0(); opt != nil {
			keep = min(n-11, len(b)) // the query without its OPT
		}
		_, _ = c.WriteTo(append(slices.Clone(b[:keep]), f.mutate(b[keep:])...), from)
	}
}

// grep returns the lines that match.
func grep(text, like string) string {
	var out []string
	for line := range strings.Lines(text) {
		if regexp.MustCompile(like).MatchString(line) {
			out = append(out, line[:min(len(line), 2000)])
		}
	}
	return strings.Join(out, "")
}

// A fuzzer mutates frames that a guest could send.
type fuzzer struct {
	*rand.Rand
	mac, bridge net.HardwareAddr
	addr        netip.Addr
	seeds       [][][]byte       // frames by protocol
	streamed    map[int][][]byte // valid messages over TCP, by port
}

func newFuzzer(g *nettest.Guest, bridge net.HardwareAddr, seed uint64) *fuzzer {
	f := &fuzzer{Rand: rand.New(rand.NewPCG(seed, 0)), bridge: bridge}
	f.mac, _ = net.ParseMAC(g.MAC)
	f.addr = netip.MustParseAddr("192.168.10.230")
	f.seeds = [][][]byte{f.dhcp4(), f.dhcp6(), f.dns(), f.tftp(), f.neighbours(), f.others()}
	query := query("www.example.org.", dns.TypeHTTPS)
	f.streamed = map[int][][]byte{
		53: {append([]byte{0, byte(len(query))}, query...)},
		80: {
			[]byte("GET /f HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2,5-\r\nIf-Range: \"x\"\r\nConnection: close\r\n\r\n"),
			[]byte("GET /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
			[]byte("HEAD /missing/../f%00 HTTP/1.0\r\nIf-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT\r\n\r\n"),
			[]byte("POST /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		},
	}
	return f
}

func (f *fuzzer) dhcp4() (out [][]byte) {
	option := func(code uint8, value string) dhcpv4.Modifier {
		b, err := hex.DecodeString(strings.ReplaceAll(value, " ", ""))
		if err != nil {
			panic(err)
		}
		return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), b))
	}
	own := net.IP{192, 168, 10, 77}
	for _, typ := range []dhcpv4.MessageType{1, 3, 3, 4, 7, 8} {
		m, _ := dhcpv4.New(dhcpv4.WithMessageType(typ), dhcpv4.WithHwAddr(f.mac),
			option(12, "6775657374"), option(81, "04 00 00 05 6775657374 03 6c6162 00"), option(55, "0103060f1a2a334336 3b 42 43 77 79 fc 72"),
			option(60, "505845436c69656e743a417263683a30303030373a"), option(61, "01 020000000001"), option(77, "04 69505845"), option(82, "01 03 657468 02 02 0102 05 04 c0a81e01 0b 04 c0a80a01"),
			option(93, "0007"), option(97, "00 00112233445566778899aabbccddeeff"), option(57, "0240"), option(51, "00000e10"), option(43, "06 01 08 ff"),
			option(116, "01"), option(118, "c0a80a00"), option(124, "00000137 03 021234"), option(125, "00000137 03 010161"), option(175, "b1 01 01 ff"), option(52, "03"), option(80, ""))
		out = append(out, udp4(f.mac, m.ToBytes()))
		m, _ = dhcpv4.New(dhcpv4.WithMessageType(typ), dhcpv4.WithHwAddr(f.mac), dhcpv4.WithClientIP(own),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 168, 10, 1})), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(own)))
		out = append(out, udp4(f.mac, m.ToBytes()), f.unicast(68, 67, m.ToBytes()))
		out = append(out, relayedBy(f.mac, fmt.Sprint("eth", typ), m))
	}
	for code := range uint8(255) { // long ones, and lengths within them that are too long
		m, _ := dhcpv4.NewDiscovery(f.mac, option(code, strings.Repeat("fe", 255)), dhcpv4.WithRelay(net.IP{192, 168, 30, 1}))
		out = append(out, udp4(f.mac, m.ToBytes()))
	}
	return out
}

func (f *fuzzer) dhcp6() (out [][]byte) {
	server := dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: f.bridge})
	for typ := dhcpv6.MessageTypeSolicit; typ <= dhcpv6.MessageTypeInformationRequest; typ++ {
		mods := []dhcpv6.Modifier{
			address6(0x77), dhcpv6.WithIAPD([4]byte{1}), dhcpv6.WithRapidCommit, dhcpv6.WithArchType(iana.EFI_X86_64), dhcpv6.WithUserClass([]byte("iPXE")),
			dhcpv6.WithOption(&dhcpv6.OptFQDN{Flags: 1, DomainName: &rfc1035label.Labels{Labels: []string{"guest.lab.test"}}}),
			dhcpv6.WithOption(&dhcpv6.OptVendorClass{EnterpriseNumber: 343, Data: [][]byte{[]byte("HTTPClient:Arch:00016")}}),
			dhcpv6.WithOption(&dhcpv6.OptionGeneric{OptionCode: 62, OptionData: []byte{1, 3, 16}}), dhcpv6.WithOption(&dhcpv6.OptionGeneric{OptionCode: 4, OptionData: []byte{0, 0, 0, 9}}),
		}
		if typ != dhcpv6.MessageTypeSolicit && typ != dhcpv6.MessageTypeRebind {
			mods = append(mods, server)
		}
		plain := say6(typ, f.mac, mods...).ToBytes()
		out = append(out, udp6(f.mac, plain))
		for code := range dhcpv6.OptionCode(90) { // long ones, and names with impossible labels
			out = append(out, udp6(f.mac, say6(typ, f.mac, dhcpv6.WithOption(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: append([]byte{1, 254 + byte(typ)%2}, make([]byte, 300)...)})).ToBytes()))
		}
		b := plain
		for depth := range 3 { // RELAY-FORW with Interface-Id, the client's MAC and a remote id
			relayed := append([]byte{12, byte(depth)}, make([]byte, 32)...)
			copy(relayed[2:], net.ParseIP("fd00:10::9"))
			copy(relayed[18:], net.ParseIP("fe80::9"))
			relayed = append(relayed, 0, 18, 0, 4, 'e', 't', 'h', byte(depth), 0, 79, 0, 8, 0, 1)
			relayed = append(append(relayed, f.mac...), 0, 37, 0, 6, 0, 0, 1, 55, 1, 2, 0, 9, byte(len(b)>>8), byte(len(b)))
			b = append(relayed, b...)
			out = append(out, udp6(f.mac, b))
		}
	}
	return out
}

func (f *fuzzer) dns() (out [][]byte) {
	for _, name := range []string{"host.lab.test.", "www.example.org.", "1.10.168.192.in-addr.arpa.", "a.b.c.d.e.f.nothing.test.", "."} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeANY, dns.TypeAXFR, dns.TypeHTTPS} {
			m := new(dns.Msg).SetQuestion(name, typ).SetEdns0(1232, true)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: 10, Cookie: "0011223344556677"}, &dns.EDNS0_SUBNET{Code: 8, Family: 1, SourceNetmask: 24, Address: net.IP{10, 0, 0, 0}})
			b, err := m.Pack()
			if err != nil {
				panic(err)
			}
			out = append(out, f.unicast(5353, 53, b), f.unicast(5354, 53, query(name, typ)), f.unicast6(5353, 53, b))
		}
	}
	update := new(dns.Msg).SetUpdate("lab.test.")
	update.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "x.lab.test.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IP{1, 2, 3, 4}}})
	b, _ := update.Pack()
	return append(out, f.unicast(5355, 53, b))
}

func (f *fuzzer) tftp() (out [][]byte) {
	for _, m := range []string{
		"\x00\x01f\x00octet\x00blksize\x001468\x00windowsize\x0016\x00tsize\x000\x00timeout\x001\x00", "\x00\x01missing\x00octet\x00", "\x00\x01../f\x00netascii\x00",
		"\x00\x02f\x00octet\x00", "\x00\x03\x00\x01data", "\x00\x04\x00\x01", "\x00\x05\x00\x08no\x00",
	} {
		out = append(out, f.unicast(2070, 69, []byte(m)), f.unicast6(2071, 69, []byte(m)))
	}
	return out
}

// neighbours are ARP, ND, RS and MLD.
func (f *fuzzer) neighbours() (out [][]byte) {
	arp := func(op byte, dst net.HardwareAddr, spa, tpa string) []byte {
		b := concat(dst, f.mac, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, op}, f.mac, netip.MustParseAddr(spa).AsSlice(), f.bridge, netip.MustParseAddr(tpa).AsSlice())
		return append(b, make([]byte, 18)...)
	}
	all := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	out = append(out, arp(1, all, "192.168.10.230", "192.168.10.1"), arp(1, all, "0.0.0.0", "192.168.10.66"), arp(2, f.bridge, "192.168.10.66", "192.168.10.1"), arp(3, all, "0.0.0.0", "0.0.0.0"))
	icmp := func(src, dst string, hops byte, body ...byte) {
		b := concat(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 2}, f.mac, []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, hops}, net.ParseIP(src), net.ParseIP(dst), body)
		out = append(out, f.repair(b))
	}
	source := append([]byte{1, 1}, f.mac...)
	icmp("fe80::77", "ff02::2", 255, append([]byte{133, 0, 0, 0, 0, 0, 0, 0}, source...)...)
	icmp("::", "ff02::2", 255, 133, 0, 0, 0, 0, 0, 0, 0)
	target := concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, net.ParseIP("fd00:10::1"))
	icmp("fd00:10::77", "ff02::1:ff00:1", 255, append(target, source...)...)
	icmp("::", "ff02::1:ff00:1", 255, append(target, 14, 1, 1, 2, 3, 4, 5, 6)...)
	icmp("fe80::77", "ff02::16", 1, append([]byte{143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0}, net.ParseIP("ff02::1:2")...)...)
	return out
}

// others are fragments, tags, and protocols that no server of the daemon's speaks.
func (f *fuzzer) others() (out [][]byte) {
	discover, _ := dhcpv4.NewDiscovery(f.mac)
	frame := udp4(f.mac, discover.ToBytes())
	for _, offset := range []uint16{0x2000, 0x2001, 0x0008, 0x1fff} {
		b := slices.Clone(frame)
		binary.BigEndian.PutUint16(b[20:], offset)
		out = append(out, f.repair(b))
	}
	solicit := udp6(f.mac, say6(dhcpv6.MessageTypeSolicit, f.mac).ToBytes())
	for _, header := range [][]byte{{17, 0, 0, 1, 1, 2, 3, 4}, {17, 0, 0, 0, 1, 2, 3, 4}, {17, 0, 1, 4, 0, 0, 0, 0}} { // fragment, atomic, padding
		b := concat(solicit[:54], header, solicit[54:])
		b[20] = 44
		if header[2] == 1 {
			b[20] = 60
		}
		out = append(out, f.repair(b))
	}
	tag := func(b []byte, tags ...byte) []byte { return concat(b[:12], tags, b[12:]) }
	out = append(out, tag(frame, 0x81, 0, 0, 10), tag(frame, 0x88, 0xa8, 0, 10, 0x81, 0, 0, 20), tag(solicit, 0x81, 0, 0xe0, 0))
	for _, ethertype := range []uint16{0x88cc, 0x888e, 0x8808, 0x86dd, 0x0800, 0x8847, 0x8863, 0x0042, 0x05dc, 0xffff} {
		b := append(concat(f.bridge, f.mac), binary.BigEndian.AppendUint16(nil, ethertype)...)
		out = append(out, append(b, make([]byte, 46)...))
	}
	return append(out, concat(f.bridge, f.mac), []byte{1, 2, 3})
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// unicast is a frame to the network's gateway.
func (f *fuzzer) unicast(from, to uint16, b []byte) []byte {
	return frame4(f.mac, f.bridge, netip.AddrPortFrom(f.addr, from), netip.AddrPortFrom(netip.MustParseAddr("192.168.10.1"), to), b)
}

func (f *fuzzer) unicast6(from, to uint16, payload []byte) []byte {
	b := udp6(f.mac, payload)
	copy(b, f.bridge)
	copy(b[22:], net.ParseIP("fd00:10::77"))
	copy(b[38:], net.ParseIP("fd00:10::1"))
	binary.BigEndian.PutUint16(b[54:], from)
	binary.BigEndian.PutUint16(b[56:], to)
	return f.repair(b)
}

func (f *fuzzer) seed() []byte {
	of := f.seeds[f.IntN(len(f.seeds))]
	return of[f.IntN(len(of))]
}

// next returns a mutated frame. Most have headers that get it to its server.
func (f *fuzzer) next() []byte {
	b := slices.Clone(f.seed())
	from := 0
	switch {
	case f.IntN(8) == 0 || len(b) < 64:
	case b[12] == 8 && b[13] == 0:
		from = 42
	case b[12] == 0x86 && b[20] == 17:
		from = 62
	case b[12] == 0x86:
		from = 54
	}
	b = append(b[:from:from], f.mutate(b[from:])...)
	if f.IntN(8) != 0 {
		b = f.repair(b)
	}
	if len(b) < 14 { // the socket takes no less
		b = append(b, make([]byte, 14-len(b))...)
	}
	return b[:min(len(b), 1514)]
}

// mutate changes a few things about a message.
func (f *fuzzer) mutate(b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + f.IntN(6) {
		if len(b) == 0 {
			return []byte{byte(f.Uint32())}
		}
		at := f.IntN(len(b))
		end := at + f.IntN(min(len(b)-at, 32)+1)
		switch f.IntN(9) {
		case 0:
			b[at] ^= 1 << f.IntN(8)
		case 1:
			b[at] = byte(f.Uint32())
		case 2:
			b[at] = []byte{0, 1, 2, 62, 63, 64, 127, 128, 192, 253, 254, 255}[f.IntN(12)]
		case 3:
			if at+1 < len(b) {
				binary.BigEndian.PutUint16(b[at:], []uint16{0, 1, 255, 256, 0x7fff, 0xffff, uint16(len(b)), uint16(len(b) - at)}[f.IntN(8)])
			}
		case 4:
			b = b[:at]
		case 5:
			b = slices.Delete(b, at, end)
		case 6:
			b = slices.Insert(b, at, b[at:end]...)
		case 7:
			other := f.seed()
			from := f.IntN(len(other))
			b = slices.Insert(b, at, other[from:min(len(other), from+f.IntN(64))]...)
		case 8:
			for i := at; i < end; i++ {
				b[i] = byte(f.Uint32())
			}
		}
	}
	return b
}

// repair has the lengths and checksums of a frame agree with what is in it, so that the
// host's stack passes it on.
func (f *fuzzer) repair(b []byte) []byte {
	sum := func(b []byte, sum uint32) uint16 {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		return ^uint16(sum)
	}
	switch {
	case len(b) >= 34 && b[12] == 8 && b[13] == 0:
		binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
		b[24], b[25] = 0, 0
		binary.BigEndian.PutUint16(b[24:], sum(b[14:34], 0))
		if len(b) >= 42 && b[23] == 17 {
			binary.BigEndian.PutUint16(b[38:], uint16(len(b)-34))
			b[40], b[41] = 0, 0 // none
		}
	case len(b) >= 62 && b[12] == 0x86 && b[13] == 0xdd:
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
		at := 0
		switch b[20] {
		case 17:
			binary.BigEndian.PutUint16(b[58:], uint16(len(b)-54))
			at = 60
		case 58:
			at = 56
		default:
			return b
		}
		b[at], b[at+1] = 0, 0
		binary.BigEndian.PutUint16(b[at:], sum(b[22:], uint32(len(b)-54)+uint32(b[20])))
	}
	return b
}

// flood sends frames in batches, not faster than a server may take them: what the kernel
// drops because a queue is full tests nothing.
func (f *fuzzer) flood(t *testing.T, conn *packet.Conn, frames int, sent *atomic.Int64) {
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	var batch mmsgBatch
	pace := time.NewTicker(pacing * fuzzingPorts)
	defer pace.Stop()
	for n := 0; n < frames; n += atOnce {
		batch.fill(f.next)
		for batch.sent = 0; batch.sent < atOnce; {
			if err := raw.Write(batch.send); err != nil {
				t.Error(err)
				return
			}
		}
		sent.Add(atOnce)
		<-pace.C
	}
}

// An mmsgBatch is sent with sendmmsg(2).
type mmsgBatch struct {
	headers [atOnce]struct {
		unix.Msghdr
		len uint32
	}
	vectors [atOnce]unix.Iovec
	sent    int
}

func (m *mmsgBatch) fill(next func() []byte) {
	for i := range atOnce {
		b := next()
		m.vectors[i].Base = unsafe.SliceData(b)
		m.vectors[i].SetLen(len(b))
		m.headers[i].Iov = &m.vectors[i]
		m.headers[i].SetIovlen(1)
	}
}

// send reports whether the socket had room. A frame that the kernel refuses is passed over.
func (m *mmsgBatch) send(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&m.headers[m.sent])), uintptr(atOnce-m.sent), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		m.sent += int(n)
	case syscall.EAGAIN, syscall.ENOBUFS:
		return false
	default:
		m.sent++
	}
	return true
}

// streams sends mutated messages over connections of TCP.
func (f *fuzzer) streams(g *nettest.Guest, port, times int) {
	r := &fuzzer{Rand: rand.New(rand.NewPCG(uint64(port), uint64(times))), seeds: f.seeds}
	seeds := f.streamed[port]
	for n := range times + len(seeds) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c, err := g.DialContext(ctx, "tcp", fmt.Sprintf("192.168.10.1:%d", port))
		cancel()
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		b := seeds[n%len(seeds)]
		if n >= len(seeds) { // first as they are
			b = r.mutate(b)
		}
		b = slices.Clone(b)
		if port == 53 && r.IntN(4) != 0 && len(b) > 2 {
			binary.BigEndian.PutUint16(b, uint16(len(b)-2))
		}
		_, _ = c.Write(b)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		_, _ = c.Read(make([]byte, 512))
		_ = c.Close()
	}
}
