package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// certificate writes a certificate for name, signed by itself, with its key.
func certificate(t *testing.T, name string) (path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(nettest.TempDir(t), "pair.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A domain is asked of unbound over TLS, all else of the host's resolver; an
// edit while guests ask takes effect at once.
func TestForwarders(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig", "unbound")
	w := nettest.New(t)
	pair := certificate(t, "dns.corp.example")
	conf := filepath.Join(nettest.TempDir(t), "unbound.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `
server:
	username: ""
	chroot: ""
	pidfile: ""
	use-syslog: no
	module-config: "iterator"
	interface: 203.0.113.1@853
	tls-service-pem: %q
	tls-service-key: %q
	access-control: 0.0.0.0/0 allow
	local-zone: "corp.example." redirect
	local-data: "corp.example. 1 IN A 10.1.1.7"
remote-control:
	control-enable: no
`, pair, pair), 0o644); err != nil {
		t.Fatal(err)
	}
	unbound := w.Internet.Start(t, "unbound", "-d", "-c", conf)
	nettest.Eventually(t, "unbound runs", func() error {
		if !strings.Contains(unbound.Output(), "start of service") {
			return fmt.Errorf("%s", unbound.Output())
		}
		return nil
	})
	w.Internet.DNS.Add(t, "router.example.org. 60 A 10.1.1.1")
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly, Env: []string{"SSL_CERT_FILE=" + pair}})
	define := func(dns string) string {
		return strings.Replace(lab, "dns: {domain: lab.test}", "dns: {domain: lab.test, "+dns+"}", 1)
	}
	const corp = "forwarders: [{domain: corp.example, address: 203.0.113.1, tls: {name: %s}}]"
	d.CtlInput(t, define(fmt.Sprintf(corp, "dns.corp.example")+", rebindProtection: true"), "network", "create", "-f", "-")
	g, _ := guest(t, w, "web", "lab0")
	dig(t, g, "www.corp.example", "10.1.1.7")
	dig(t, g, "www.example.org", "203.0.113.1")
	dig(t, g, "router.example.org")

	got, _ := d.TryCtl(t.Context(), define(fmt.Sprintf(corp, "dns.corp.example")), "network", "apply", "-f", "-", "--dry-run") // 2: it would change something
	if !strings.Contains(got, "dns.rebindProtection") || !strings.Contains(got, "at once") {
		t.Errorf("the change is described as\n%s", got)
	}
	d.CtlInput(t, define(fmt.Sprintf(corp, "dns.other.example")), "network", "apply", "-f", "-")
	dig(t, g, "router.example.org", "10.1.1.1")
	nettest.Eventually(t, "nobody with another name is asked, and the log says why", func() error {
		dig(t, g, "mail.corp.example")
		if !strings.Contains(d.Log(), "not dns.other.example") {
			return fmt.Errorf("not in the log")
		}
		return nil
	})
	if got := d.Ctl(t, "network", "show", "lab", "-o", "yaml"); !strings.Contains(got, "dns.other.example") {
		t.Errorf("network show says\n%s", got)
	}
	refused(t, d, define("forwarders: [{address: 203.0.113.1, tls: {}}]"), 1, []string{"network", "apply", "-f", "-"}, "dns.forwarders[0].tls.name", "is missing")
}
