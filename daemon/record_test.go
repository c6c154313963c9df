package daemon_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// named is lab with a record of each type.
const named = lab + `
  records:
    - {name: www, type: A, value: 192.168.10.20, ttl: 5m}
    - {name: www, type: A, value: 192.168.10.21}
    - {name: www, type: AAAA, value: "fd00:10::20"}
    - {name: "@", type: MX, value: 10 mail}
    - {name: mail, type: A, value: 192.168.10.25}
    - {name: "@", type: TXT, value: v=spf1 -all}
    - {name: "@", type: CAA, value: 0 issue "ca.example"}
    - {name: _ldap._tcp, type: SRV, value: 0 5 389 printer}
    - {name: ftp, type: CNAME, value: www}
    - {name: out, type: CNAME, value: www.example.org.}
    - {name: "*.apps", type: CNAME, value: mail}
    - {name: 192.168.10.77, type: PTR, value: seven}
    - {name: svc, type: HTTPS, value: 1 . alpn=h2 port=8443}
    - {name: key, type: SSHFP, value: 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789}
    - {name: _443._tcp, type: TLSA, value: 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971}
`

var namedLab = strings.Replace(named, "dns: {domain: lab.test}", "dns:\n  domain: lab.test", 1)

// asker is a guest with a lease whose programs ask the network's DNS server, be
// there a resolvconf(8) on this machine or not.
func asker(t *testing.T, w *nettest.World, name, bridge, gateway string) (g *nettest.Guest, address string) {
	t.Helper()
	g, l := guest(t, w, name, bridge)
	g.WriteFile(t, "/etc/resolv.conf", "search "+l.Domain+"\nnameserver "+gateway+"\n")
	return g, l.Address.Addr().String()
}

// short runs a guest's resolver and returns its lines, sorted.
func short(t *testing.T, g *nettest.Guest, line string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(g.Run(t, line)), "\n")
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// Three resolvers of others ask for a record of each type, and understand.
func TestRecords(t *testing.T) {
	nettest.Need(t, "dig", "kdig", "drill", "busybox", "udhcpc")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, namedLab, "network", "create", "-f", "-")
	g, address := asker(t, w, "pc", "lab0", "192.168.10.1")
	for _, c := range []struct{ ask, want string }{
		{"www.lab.test A", "192.168.10.20, 192.168.10.21"},
		{"WWW.lab.test AAAA", "fd00:10::20"},
		{"lab.test MX", "10 mail.lab.test."},
		{"lab.test TXT", `"v=spf1 -all"`},
		{"lab.test CAA", `0 issue "ca.example"`},
		{"_ldap._tcp.lab.test SRV", "0 5 389 printer.lab.test."},
		{"ftp.lab.test A", "192.168.10.20, 192.168.10.21, www.lab.test."},
		{"x.y.apps.lab.test A", "192.168.10.25, mail.lab.test."},
		{"out.lab.test A", "203.0.113.1, www.example.org."},
		{"-x 192.168.10.77", "seven.lab.test."},
		{"-x 192.168.10.25", "mail.lab.test."},
		{"-x 192.168.10.15", "printer.lab.test."},
		{"pc.lab.test A", address},
		{"none.lab.test A", ""},
		{"mail.lab.test SRV", ""},
	} {
		for _, with := range []string{"dig +short", "dig +short +tcp +bufsize=512", "kdig +short +dnssec"} {
			if got := short(t, g, with+" @192.168.10.1 "+c.ask); got != c.want {
				t.Errorf("%s %s: got %q, want %q", with, c.ask, got, c.want)
			}
		}
	}
	for ask, want := range map[string]string{
		"dig svc.lab.test HTTPS":                                      `1 . alpn="h2" port=8443`,
		"dig key.lab.test SSHFP":                                      "4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF1 23456789",
		"dig _443._tcp.lab.test TLSA":                                 "3 1 1 D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB10 6618E971",
		"dig www.lab.test A":                                          "60", // the shortest of the set's TTLs
		"dig none.lab.test":                                           "NXDOMAIN",
		"dig mail.lab.test SRV":                                       "status: NOERROR",
		"dig _ldap._tcp.lab.test SRV ":                                "ADDITIONAL SECTION:\nprinter.lab.test.",
		"dig out.lab.test":                                            "flags: qr aa rd ra",
		"dig out.lab.test +norecurse":                                 "ANSWER: 1",
		"dig wWw.LaB.test":                                            "wWw.LaB.test.",
		"dig lab.test ANY +notcp":                                     "RFC8482",
		"drill @192.168.10.1 ftp.lab.test":                            "ftp.lab.test.\t60\tIN\tCNAME\twww.lab.test.",
		"drill -x 192.168.10.77":                                      "PTR\tseven.lab.test.",
		"busybox nslookup ftp.lab.test 192.168.10.1":                  "192.168.10.21",
		"busybox nslookup 192.168.10.25 192.168.10.1":                 "mail.lab.test",
		"busybox nslookup -type=srv _ldap._tcp.lab.test 192.168.10.1": "printer.lab.test",
		"getent hosts www":                                            "fd00:10::20",
		"getent ahostsv4 x.apps.lab.test":                             "192.168.10.25",
		"getent hosts 192.168.10.77":                                  "seven.lab.test",
	} {
		if got, _ := g.Try(t.Context(), ask); !strings.Contains(got, want) {
			t.Errorf("%s: want %q in\n%s", ask, want, got)
		}
	}
}

// An answer that is too long for UDP says so, and dig asks again over TCP.
func TestLargeRecordSet(t *testing.T) {
	nettest.Need(t, "dig", "udhcpc")
	w, d := labWorld(t)
	text := d.Ctl(t, "network", "show", "lab")
	var records []string
	for i := range 100 {
		records = append(records, fmt.Sprintf("{name: big, type: TXT, value: %q}", fmt.Sprint(i, strings.Repeat(" x", 40))))
	}
	text = strings.Replace(text, "domain: lab.test", "domain: lab.test, records: ["+strings.Join(records, ", ")+"]", 1)
	d.CtlInput(t, text, "network", "apply", "-f", "-")
	g, _ := asker(t, w, "pc", "lab0", "192.168.10.1")
	if got := g.Run(t, "dig +ignore big.lab.test TXT"); !strings.Contains(got, "flags: qr aa tc") || !strings.Contains(got, "ANSWER: 0") {
		t.Errorf("over UDP: %s", got)
	}
	if got := g.Run(t, "dig big.lab.test TXT"); !strings.Contains(got, "ANSWER: 100") || !strings.Contains(got, "(TCP)") {
		t.Errorf("over TCP: %s", got)
	}
}

type listed struct{ Network, Name, Type, Value, TTL, Source string }

func recordList(t *testing.T, d *nettest.Daemon, args ...string) []string {
	t.Helper()
	var list []listed
	out := d.Ctl(t, append([]string{"record", "list", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []string
	for _, r := range list {
		lines = append(lines, strings.Join([]string{r.Name, r.TTL, r.Type, r.Value, r.Source}, " "))
	}
	return lines
}

// Records come and go by the command line; guests know at once, watchers hear of
// it, and the definition has them.
func TestRecordCommands(t *testing.T) {
	nettest.Need(t, "dig", "udhcpc")
	w, d := labWorld(t)
	g, address := asker(t, w, "pc", "lab0", "192.168.10.1")
	events := w.Host.Start(t, d.Program("vnetctl"), "--socket", d.ReadOnlySocket(), "event", "watch", "--changes")
	if err := events.WaitFor(t.Context(), "synced"); err != nil {
		t.Fatal(err)
	}
	if out := d.Ctl(t, "record", "add", "lab", "www", "a", "192.168.10.20", "--ttl", "5m"); out != "record www A 192.168.10.20 added\n" {
		t.Errorf("add said %q", out)
	}
	if err := events.WaitFor(t.Context(), "network-updated lab"); err != nil {
		t.Error(err)
	}
	if got := g.Run(t, "dig +noall +answer www.lab.test"); strings.Join(strings.Fields(got), " ") != "www.lab.test. 300 IN A 192.168.10.20" {
		t.Errorf("the guest is told %s", got)
	}
	d.Ctl(t, "record", "add", "lab", "www", "A", "192.168.10.21")
	d.Ctl(t, "record", "add", "lab", "_x._tcp", "SRV", "0", "5", "80", "pc")
	if out := d.Ctl(t, "network", "show", "lab"); !strings.Contains(out, `{name: www, type: A, value: 192.168.10.20, ttl: 5m}`) {
		t.Errorf("show: %s", out)
	}
	d.Kill()
	d.Start()
	want := []string{
		"1.10.168.192.in-addr.arpa. 1m PTR %s.lab.test. host",
		strings.TrimPrefix(address, "192.168.10.") + ".10.168.192.in-addr.arpa. 10s PTR pc.lab.test. lease",
		"15.10.168.192.in-addr.arpa. 1m PTR printer.lab.test. reservation",
		"20.10.168.192.in-addr.arpa. 5m PTR www.lab.test. record",
		"21.10.168.192.in-addr.arpa. 1m PTR www.lab.test. record",
		"_x._tcp.lab.test. 1m SRV 0 5 80 pc.lab.test. record",
		"host.lab.test. 1m A 192.168.10.1 host",
		"pc.lab.test. 10s A " + address + " lease",
		"printer.lab.test. 1m A 192.168.10.15 reservation",
		"www.lab.test. 1m A 192.168.10.20 record",
		"www.lab.test. 1m A 192.168.10.21 record",
	}
	self, _, _ := strings.Cut(strings.TrimSpace(w.Host.Run(t, "cat /proc/sys/kernel/hostname")), ".")
	want[0] = fmt.Sprintf(want[0], self)
	if self != "host" {
		want = append(want, self+".lab.test. 1m A 192.168.10.1 host")
	}
	slices.Sort(want)
	if got := recordList(t, d, "lab"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if out := d.Ctl(t, "record", "list"); !strings.HasPrefix(out, "NETWORK  NAME") || !strings.Contains(out, "reservation") {
		t.Errorf("list: %s", out)
	}
	if out := d.Ctl(t, "record", "delete", "lab", "WWW.lab.test.", "A", "192.168.10.20"); out != "record www A 192.168.10.20 deleted\n" {
		t.Errorf("delete said %q", out)
	}
	if got := g.Run(t, "dig +short www.lab.test"); got != "192.168.10.21\n" {
		t.Errorf("after delete: %s", got)
	}
	d.Ctl(t, "record", "delete", "lab", "www")
	refused(t, d, "", 3, []string{"record", "delete", "lab", "www"}, "network lab has no record www of its own; `vnetctl record list lab` has them")
	refused(t, d, "", 3, []string{"record", "delete", "lab", "printer", "A"}, "has no record printer A of its own")
	refused(t, d, "", 3, []string{"record", "add", "nobody", "www", "A", "10.0.0.1"}, "there is no network nobody")
	refused(t, d, "", 3, []string{"record", "list", "nobody"}, "there is no network nobody")
	refused(t, d, "", 1, []string{"record", "add", "lab", "www", "A", "10.0.0"}, `network lab: dns.records[1].value: "10.0.0" is not an IPv4 address, such as 10.20.0.10`)
	refused(t, d, "", 1, []string{"record", "add", "lab", "_x._tcp", "CNAME", "pc"}, "a CNAME must be the only record")
	refused(t, d, "", 1, []string{"record", "add", "lab", "www", "A", "10.0.0.1", "--ttl", "1ms"}, "is not a TTL")
	refused(t, d, "", 1, []string{"record", "add", "lab", "www", "A"}, "record add: missing VALUE. Usage: vnetctl record add NETWORK NAME TYPE VALUE...")
	if out := d.Ctl(t, "__complete", "record", "add", ""); !strings.HasPrefix(out, "lab\n") {
		t.Errorf("completing a network: %s", out)
	}
	if out := d.Ctl(t, "__complete", "record", "delete", "lab", ""); !strings.HasPrefix(out, "_x._tcp\n") {
		t.Errorf("completing a record: %s", out)
	}
}

// A guest does not get a name that a record has, whatever it calls itself.
func TestNoLeaseTakesARecordsName(t *testing.T) {
	nettest.Need(t, "dig", "udhcpc")
	w, d := labWorld(t)
	d.Ctl(t, "record", "add", "lab", "www", "A", "192.168.10.20")
	d.Ctl(t, "record", "add", "lab", "printer", "CNAME", "www")
	g, address := asker(t, w, "www", "lab0", "192.168.10.1")
	for ask, want := range map[string]string{
		"www.lab.test": "192.168.10.20", "www": "192.168.10.20", "-x " + address: "", "printer.lab.test": "192.168.10.20, www.lab.test.",
		"-x 192.168.10.15": "",
	} {
		if got := short(t, g, "dig +short "+ask); got != want {
			t.Errorf("%s: got %q, want %q", ask, got, want)
		}
	}
}

// Names cross from one network to another where the one that asks can reach the
// other, or both want it; nobody else hears of them.
func TestPeersNames(t *testing.T) {
	nettest.Need(t, "dig", "udhcpc")
	w, d := labWorld(t)
	add := func(name, mode, subnet, peers string) {
		t.Helper()
		d.CtlInput(t, fmt.Sprintf(`
name: %s
mode: %s
bridge: {name: %s0}
subnets: [{address: %s.1/24, dhcp: {ranges: [{start: %s.100, end: %s.150}]}}]
dns: {domain: %s.test, peers: [%s], records: [{name: www, type: A, value: %s.20}]}
`, name, mode, name, subnet, subnet, subnet, name, peers, subnet), "network", "apply", "-f", "-")
	}
	add("office", "route", "192.168.30", "")
	add("quiet", "isolated", "192.168.40", "")
	pc, pcAt := asker(t, w, "pc", "lab0", "192.168.10.1")
	ann, annAt := asker(t, w, "ann", "office0", "192.168.30.1")
	spy, spyAt := asker(t, w, "spy", "quiet0", "192.168.40.1")
	told := func(g *nettest.Guest, ask, want, when string) {
		t.Helper()
		if got := short(t, g, "dig +short "+ask); got != want {
			t.Errorf("%s, %s asks for %s: got %q, want %q", when, g.Name, ask, got, want)
		}
	}
	told(pc, "www.office.test", "", "without peers")
	told(pc, "-x "+annAt, "", "without peers")

	d.Ctl(t, "network", "set", "lab", "dns.peers=[office, quiet, nobody]")
	told(pc, "www.office.test", "192.168.30.20", "lab names office")
	told(pc, "ann.office.test", annAt, "lab names office")
	told(pc, "-x "+annAt, "ann.office.test.", "lab names office")
	told(pc, "www.quiet.test", "", "lab names quiet, which does not")
	told(ann, "pc.lab.test", "", "lab names office")

	d.Ctl(t, "record", "add", "office", "new", "A", "192.168.30.21")
	told(pc, "new.office.test", "192.168.30.21", "office has one more")
	d.Ctl(t, "network", "set", "quiet", "dns.peers=[lab]")
	told(pc, "spy.quiet.test", spyAt, "both name each other")
	told(spy, "pc.lab.test", pcAt, "both name each other")
	told(spy, "www.office.test", "", "quiet has to do with lab only")
	told(ann, "www.quiet.test", "", "office has to do with none")
	d.Ctl(t, "network", "set", "quiet", "dns.peers=[]")
	told(pc, "spy.quiet.test", "", "quiet took it back")
	d.Ctl(t, "network", "stop", "office")
	told(pc, "www.office.test", "", "office is stopped")
	d.Ctl(t, "network", "start", "office")
	told(pc, "www.office.test", "192.168.30.20", "office runs again")

	refused(t, d, "", 1, []string{"network", "set", "office", "dns.domain=lab.test"}, "dns.domain: lab.test is the domain of network lab, too, which names this one as its peer")
	refused(t, d, "", 1, []string{"network", "set", "lab", "dns.peers=[lab]"}, "dns.peers[0]: lab is this network itself")
}

// Records that many add and delete at once are all there, or all gone.
func TestManyRecordsAtOnce(t *testing.T) {
	const many = 40
	_, d := labWorld(t)
	c, err := client.New(d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at := func(do func(i int) error) {
		t.Helper()
		var g errgroup.Group
		for i := range many {
			g.Go(func() error { return do(i) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	revision := func() int64 {
		resp, err := c.GetNetwork(t.Context(), &vnetv1.GetNetworkRequest{Name: "lab"})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetNetwork().GetRevision()
	}
	before := revision()
	at(func(i int) error {
		r := &vnetv1.Record{Name: fmt.Sprint("r", i), Type: "A", Value: "192.168.10.20"}
		_, err := c.AddRecord(t.Context(), &vnetv1.AddRecordRequest{Network: "lab", Record: r})
		return err
	})
	if got := revision(); got != before+many {
		t.Errorf("revision %d, was %d", got, before)
	}
	if got := strings.Count(strings.Join(recordList(t, d), "\n"), " A 192.168.10.20 record"); got != many {
		t.Errorf("%d records are there", got)
	}
	at(func(i int) error {
		_, err := c.DeleteRecord(t.Context(), &vnetv1.DeleteRecordRequest{Network: "lab", Name: fmt.Sprint("r", i)})
		return err
	})
	if out := d.Ctl(t, "network", "show", "lab"); strings.Contains(out, "records") {
		t.Errorf("left: %s", out)
	}
}
