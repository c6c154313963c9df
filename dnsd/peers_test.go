package dnsd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func need(t *testing.T, commands ...string) {
	t.Helper()
	needWorld(t)
	for _, c := range commands {
		if _, err := exec.LookPath(c); err == nil {
			continue
		}
		if os.Getenv("VNETD_TEST_REQUIRE") != "" {
			t.Fatalf("%s is required", c)
		}
		t.Skipf("needs %s", c)
	}
}

// run starts a server in a namespace until the test ends, and waits for what it
// logs when it is up.
func run(t *testing.T, netns, up string, args ...string) (log *logged, stop func()) {
	t.Helper()
	log = &logged{}
	cmd := in(netns, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(stop)
	eventually(t, args[0]+" runs", func() bool { return log.has(up) })
	return log, stop
}

func file(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func unbound(t *testing.T, netns, dir, conf string) (log *logged, stop func()) {
	t.Helper()
	path := file(t, filepath.Join(dir, "unbound.conf"), `
server:
	username: ""
	chroot: ""
	directory: "`+dir+`"
	pidfile: ""
	use-syslog: no
	verbosity: 1
	log-queries: yes
	do-daemonize: no
	access-control: 0.0.0.0/0 allow
	trust-anchor-signaling: no
	module-config: "validator iterator"
`+conf+`
remote-control:
	control-enable: no
`)
	return run(t, netns, "start of service", "unbound", "-d", "-c", path)
}

// authority is a certificate authority that this process trusts. The library
// reads the host's list once, so there is one for all tests.
var authority = sync.OnceValues(func() (*issuer, error) {
	ca := &issuer{}
	cert, err := ca.issue("authority of the test", true)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(os.TempDir(), fmt.Sprint("dnsd-ca-", os.Getpid(), ".pem"))
	if err := os.WriteFile(path, cert, 0o600); err != nil {
		return nil, err
	}
	return ca, os.Setenv("SSL_CERT_FILE", path)
})

type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue returns a certificate and its key for name, in PEM.
func (ca *issuer) issue(name string, authority bool) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if authority {
		cert.DNSNames, ca.cert, ca.key = nil, cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if authority {
		ca.cert, err = x509.ParseCertificate(der)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...), err
}

func TestUnboundOverTLS(t *testing.T) {
	need(t, "unbound", "ss")
	ca, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.issue("dns.example", false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := file(t, filepath.Join(dir, "pair.pem"), string(pair))
	conf := fmt.Sprintf(`
	interface: 203.0.113.2@853
	tls-port: 853
	tls-service-pem: %q
	tls-service-key: %q
	local-zone: "example.org." redirect
	local-data: "example.org. 0 IN A 192.0.2.7"
`, path, path)
	log, stop := unbound(t, "outside", dir, conf)
	over := func(network, bridge, at, name string) Config {
		cfg := lab()
		cfg.Network, cfg.Interface, cfg.Domain, cfg.Listen = network, bridge, network+".test", nil
		cfg.Listen = append(cfg.Listen, addr(at))
		cfg.Forwarders = []Forwarder{{Address: mustAddrPort("203.0.113.2:0"), TLS: name}}
		return cfg
	}
	_, ours := start(t, resolvConf(t), over("lab", "br0", "192.168.10.1", "dns.example"), over("other", "br1", "192.168.20.1", "dns.example.net"))

	var digs sync.WaitGroup
	for i := range 20 {
		digs.Go(func() {
			want(t, dig(t, "guest", "@192.168.10.1", fmt.Sprint("n", i, ".example.org")), "NOERROR")
		})
	}
	digs.Wait()
	if t.Failed() {
		t.Log(ours.String())
	}
	out, _ := in("outside", "ss", "-Htn", "state", "established", "sport", "=", ":853").Output()
	t.Logf("20 questions over\n%s", out)
	if n := strings.Count(string(out), "\n"); n < 1 || n > 2 {
		t.Errorf("%d connections, want one that is used again", n)
	}
	out, _ = in("outside", "ss", "-Htna").Output()
	if strings.Contains(string(out), ":53 ") {
		t.Errorf("asked without TLS:\n%s", out)
	}

	want(t, dig(t, "alien", "+timeout=8", "@192.168.20.1", "www.example.org"), "SERVFAIL")
	if log.has("www.example.org") {
		t.Error("a server with another name was asked")
	}
	eventually(t, "the reason is logged", func() bool {
		dig(t, "alien", "+timeout=8", "@192.168.20.1", "x.example.org")
		return ours.has("certificate is valid for dns.example, not dns.example.net")
	})

	stop()
	_, _ = unbound(t, "outside", dir, conf)
	want(t, dig(t, "guest", "+timeout=5", "@192.168.10.1", "again.example.org"), "NOERROR")
}

// signed makes a zone in dir, signs it, and returns the key to trust it by.
func signed(t *testing.T, dir, zone string) (key string) {
	t.Helper()
	must := func(args ...string) string {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	name := must("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone)
	must("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", zone)
	file(t, filepath.Join(dir, zone), `
$TTL 300
@ SOA ns.`+zone+`. h.`+zone+`. 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www
*.wild TXT "wild"
`)
	must("dnssec-signzone", "-S", "-o", zone, "-3", "-", zone)
	text, err := os.ReadFile(filepath.Join(dir, name+".key"))
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

// named serves signed zones, unbound validates them, we pass it all through, and
// delv validates once more.
func TestDNSSECPassesThroughUntouched(t *testing.T) {
	need(t, "named", "unbound", "delv", "dnssec-signzone", "kdig", "drill")
	dir := t.TempDir()
	good, bogus := signed(t, dir, "signed.zz"), signed(t, dir, "bogus.zz")
	zone, err := os.ReadFile(filepath.Join(dir, "bogus.zz.signed"))
	if err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(dir, "bogus.zz.signed"), strings.Replace(string(zone), "192.0.2.1\n", "192.0.2.66\n", 1))
	file(t, filepath.Join(dir, "named.conf"), `
options { directory "`+dir+`"; listen-on port 5300 { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile "`+dir+`/session.key"; };
controls { };
zone "signed.zz" { type primary; file "signed.zz.signed"; };
zone "bogus.zz" { type primary; file "bogus.zz.signed"; };
`)
	run(t, "outside", "running", "named", "-g", "-c", filepath.Join(dir, "named.conf"))
	unbound(t, "outside", dir, `
	interface: 203.0.113.2
	do-not-query-localhost: no
	trust-anchor: "`+good+`"
	trust-anchor: "`+bogus+`"
	local-zone: "zz." nodefault
stub-zone:
	name: "signed.zz"
	stub-addr: 127.0.0.1@5300
stub-zone:
	name: "bogus.zz"
	stub-addr: 127.0.0.1@5300
`)
	cfg := lab()
	cfg.Forwarders = []Forwarder{{Address: mustAddrPort("203.0.113.2:53")}}
	start(t, resolvConf(t), cfg)

	f := strings.Fields(good)
	anchor := file(t, filepath.Join(dir, "anchor"), fmt.Sprintf("trust-anchors { signed.zz. static-key %s %s %s \"%s\"; };\n",
		f[3], f[4], f[5], strings.Join(f[6:], "")))
	for range 2 { // the second time from the cache
		for question, want := range map[string]string{
			"www.signed.zz A":        "; fully validated\nwww.signed.zz.",
			"www.signed.zz AAAA":     "; fully validated\nwww.signed.zz.",
			"alias.signed.zz A":      "; fully validated\nalias.signed.zz.",
			"a.b.wild.signed.zz TXT": "; fully validated\na.b.wild.signed.zz.",
			"none.signed.zz A":       "; negative response, fully validated",
			"www.signed.zz MX":       "; negative response, fully validated",
		} {
			out, _ := in("guest", "delv", append([]string{"-a", anchor, "+root=signed.zz", "@192.168.10.1"}, strings.Fields(question)...)...).CombinedOutput()
			if !strings.Contains(string(out), want) {
				t.Errorf("delv %s: want %q\n%s", question, want, out)
			}
		}
	}
	ad := dig(t, "guest", "@192.168.10.1", "+dnssec", "www.signed.zz")
	if ad.flags != "qr rd ra ad" || len(ad.lines) != 2 || !strings.Contains(ad.lines[1], "RRSIG A 13 3 300") {
		t.Errorf("AD or the signature is missing\n%s", ad)
	}
	want(t, dig(t, "guest", "@192.168.10.1", "www.bogus.zz"), "SERVFAIL")
	cd := dig(t, "guest", "@192.168.10.1", "+dnssec", "+cd", "www.bogus.zz")
	if cd.status != "NOERROR" || len(cd.lines) != 2 || cd.lines[0] != "www.bogus.zz. A 192.0.2.66" {
		t.Errorf("with CD\n%s", cd)
	}
	for _, other := range [][]string{
		{"kdig", "+dnssec", "@192.168.10.1", "www.signed.zz"},
		{"kdig", "+tcp", "+dnssec", "@192.168.10.1", "www.signed.zz"},
		{"drill", "-D", "@192.168.10.1", "www.signed.zz"},
	} {
		out, _ := in("guest", other[0], other[1:]...).CombinedOutput()
		if !strings.Contains(string(out), "RRSIG") || !strings.Contains(string(out), "192.0.2.1") || !strings.Contains(string(out), " ad") {
			t.Errorf("%v\n%s", other, out)
		}
	}
}
