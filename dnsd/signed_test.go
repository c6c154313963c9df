package dnsd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// signedZone is the data of one zone of the signed world, and how it is signed.
type signedZone struct {
	name, records string
	options       []string // of dnssec-signzone; nil: not signed
	spoil         bool     // a signed record is changed afterwards
}

// sign writes the zones in dir, each before its parent, for which it makes DS records. It
// returns the key of the last.
func sign(t *testing.T, dir string, zones []signedZone) (key string) {
	t.Helper()
	must := func(args ...string) string {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, z := range zones {
		path := filepath.Join(dir, z.name)
		file(t, path, "$TTL 300\n@ SOA ns."+z.name+". h."+z.name+". 1 3600 600 86400 300\n@ NS ns\nns A 203.0.113.2\n"+z.records)
		if z.options == nil {
			must("cp", z.name, z.name+".signed")
			continue
		}
		key = must("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", z.name)
		must("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", z.name)
		must(append(append([]string{"dnssec-signzone", "-S", "-o", z.name}, z.options...), z.name)...)
		if z.spoil {
			text, err := os.ReadFile(path + ".signed")
			if err != nil {
				t.Fatal(err)
			}
			file(t, path+".signed", strings.Replace(string(text), "192.0.2.1\n", "192.0.2.66\n", 1))
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, key+".key"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, ";") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatal("no key")
	return ""
}

// A stub that validates gets from us what it needs: for answers, for proofs of absence by
// NSEC and NSEC3, for wildcards, aliases and DNAME, for delegations with, without and
// beside DS, by UDP and TCP. It finds what is bogus. All this comes again from our cache,
// when the authority is gone.
//
// The questions have a fixed order: unbound asks for a DS record with CD when it validates
// and without when a client asks, caches it for both, and we cache the two apart, so that
// what is in our cache depends on what came first. Its shortest timeout is long, because
// it asks with CD again after one.
func TestValidatingStub(t *testing.T) {
	need(t, "named", "unbound", "delv", "dnssec-signzone", "dnssec-keygen", "dig")
	const records = `
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www
*.wild TXT "wild"
ent.deep A 192.0.2.2
d DNAME deep
`
	big := "big TXT" + strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 12) + "\n"
	dir := t.TempDir()
	key := sign(t, dir, []signedZone{
		{name: "nsec.zz", records: records + big, options: []string{}},
		{name: "nsec3.zz", records: records, options: []string{"-3", "abcd"}},
		{name: "optout.zz", records: "www A 192.0.2.1\ninsec NS ns.insec\nns.insec A 203.0.113.2\n", options: []string{"-3", "-", "-A"}},
		{name: "insec.optout.zz", records: "www A 192.0.2.1\n"},
		{name: "unsigned.zz", records: "www A 192.0.2.1\n"},
		{name: "bogus.zz", records: "www A 192.0.2.1\nfine A 192.0.2.2\n", options: []string{}, spoil: true},
		{name: "zz", options: []string{}, records: `
nsec NS ns.nsec
ns.nsec A 203.0.113.2
nsec3 NS ns.nsec3
ns.nsec3 A 203.0.113.2
optout NS ns.optout
ns.optout A 203.0.113.2
unsigned NS ns.unsigned
ns.unsigned A 203.0.113.2
bogus NS ns.bogus
ns.bogus A 203.0.113.2
$INCLUDE dsset-nsec.zz.
$INCLUDE dsset-nsec3.zz.
$INCLUDE dsset-optout.zz.
$INCLUDE dsset-bogus.zz.
`},
	})
	conf := `options { directory "` + dir + `"; listen-on { 203.0.113.2; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile "` + dir + `/session.key"; };
controls { };
`
	for _, z := range []string{"zz", "nsec.zz", "nsec3.zz", "optout.zz", "insec.optout.zz", "unsigned.zz", "bogus.zz"} {
		conf += fmt.Sprintf("zone %q { type primary; file %q; };\n", z, z+".signed")
	}
	file(t, filepath.Join(dir, "named.conf"), conf)
	_, stopNamed := run(t, "outside", "running", "named", "-g", "-c", filepath.Join(dir, "named.conf"))
	cfg := lab()
	cfg.Forwarders = []Forwarder{{Address: mustAddrPort("203.0.113.2:53")}}
	start(t, resolvConf(t), cfg)

	stub := func() (stop func()) {
		_, stop = unbound(t, "guest", t.TempDir(), `
	interface: 127.0.0.1@5355
	trust-anchor: "`+key+`"
	qname-minimisation: no
	aggressive-nsec: no
	infra-cache-min-rtt: 2000
forward-zone:
	name: "."
	forward-addr: 192.168.10.1
`)
		return stop
	}
	check := func(when string) {
		t.Helper()
		for _, c := range [][2]string{
			{"www.nsec.zz A", "NOERROR ad 1"},
			{"www.nsec3.zz AAAA", "NOERROR ad 1"},
			{"alias.nsec.zz A", "NOERROR ad 2"},
			{"alias.nsec3.zz AAAA", "NOERROR ad 2"},
			{"a.b.wild.nsec.zz TXT", "NOERROR ad 1"},
			{"a.b.wild.nsec3.zz TXT", "NOERROR ad 1"},
			{"big.nsec.zz TXT", "NOERROR ad 1"},
			{"ent.d.nsec.zz A", "NOERROR ad 3"},
			{"ent.d.nsec3.zz A", "NOERROR ad 3"},
			{"none.nsec.zz A", "NXDOMAIN ad 0"},
			{"none.nsec3.zz A", "NXDOMAIN ad 0"},
			{"www.nsec.zz MX", "NOERROR ad 0"},
			{"www.nsec3.zz MX", "NOERROR ad 0"},
			{"a.wild.nsec.zz A", "NOERROR ad 0"},
			{"a.wild.nsec3.zz A", "NOERROR ad 0"},
			{"deep.nsec.zz A", "NOERROR ad 0"},
			{"deep.nsec3.zz A", "NOERROR ad 0"},
			{"nsec.zz DS", "NOERROR ad 1"},
			{"unsigned.zz DS", "NOERROR ad 0"},
			{"www.unsigned.zz A", "NOERROR - 1"},
			{"none.unsigned.zz A", "NXDOMAIN - 0"},
			{"www.optout.zz A", "NOERROR ad 1"},
			{"www.insec.optout.zz A", "NOERROR - 1"},
			{"fine.bogus.zz A", "NOERROR ad 1"},
			{"www.bogus.zz A", "SERVFAIL - 0"},
		} {
			question, want := c[0], c[1]
			a := dig(t, "guest", append(strings.Fields(question), "@127.0.0.1", "-p", "5355", "+timeout=5")...)
			ad := "-"
			if strings.Contains(a.flags, " ad") {
				ad = "ad"
			}
			if got := fmt.Sprint(a.status, " ", ad, " ", len(a.lines)); got != want {
				t.Errorf("%s, %s: %s, want %s\n%s", when, question, got, want, a)
			}
		}
	}
	stop := stub()
	check("from the authority")
	f := strings.Fields(key)
	anchor := file(t, filepath.Join(dir, "anchor"), fmt.Sprintf("trust-anchors { zz. static-key %s %s %s \"%s\"; };\n", f[3], f[4], f[5], strings.Join(f[6:], "")))
	validate := func(when string) {
		for question, want := range map[string]string{
			"www.nsec.zz A": "; fully validated", "none.nsec3.zz A": "; negative response, fully validated", "a.b.wild.nsec3.zz TXT": "; fully validated",
			"www.unsigned.zz A": "; unsigned answer", "www.bogus.zz A": "RRSIG failed to verify",
		} {
			out, _ := in("guest", "delv", append([]string{"-a", anchor, "+root=zz", "@192.168.10.1"}, strings.Fields(question)...)...).CombinedOutput()
			if !strings.Contains(string(out), want) {
				t.Errorf("%s, delv %s: want %q\n%s", when, question, want, out)
			}
		}
	}
	validate("from the authority")
	stop()
	stopNamed()
	stub()
	check("from the cache")
	validate("from the cache")
}
