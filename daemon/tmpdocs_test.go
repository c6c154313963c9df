package daemon_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestTmpDocs(t *testing.T) {
	text, _ := os.ReadFile("../docs/dns.md")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		out, err := d.TryCtl(t.Context(), string(m[1]), "network", "create", "-f", "-")
		t.Log(out, err)
		name, _, _ := strings.Cut(strings.TrimPrefix(string(m[1]), "name: "), "\n")
		t.Log(d.Ctl(t, "record", "list", name))
		t.Log(d.CtlInput(t, string(m[1]), "network", "apply", "-f", "-"))
	}
	t.Log(w.Host.Run(t, "dig +short @10.23.0.1 shop.apps.front.test; dig @10.23.0.1 x.old.apps.front.test | grep status; dig @10.25.0.1 _ldap._tcp.corp.test SRV; dig @10.25.0.1 +short key._domainkey.corp.test TXT"))
	t.Log(d.Ctl(t, "network", "show", "directory"))
	t.Log(d.Ctl(t, "record", "list", "front", "-o", "yaml"))
	out, err := d.TryCtl(t.Context(), "", "record", "add", "front", "www", "A")
	t.Log(out, err)
	out, err = d.TryCtl(t.Context(), "", "record", "add", "front", "q", "TXT", `"a\034b" ü`)
	t.Log(out, err)
	t.Log(d.Ctl(t, "record", "list", "front", "-q"))
	out, err = d.TryCtl(t.Context(), "{name: directory, mode: nat, subnets: [{address: 10.25.0.1/24}], dns: {domain: corp.test, records: [{name: a, typ: A}, {name: a, type: A, value: x}, {name: b, type: A}], peers: [a/b]}}", "network", "apply", "-f", "-")
	t.Log(out, err)
	out, err = d.TryCtl(t.Context(), "{name: directory, mode: nat, subnets: [{address: 10.25.0.1/24}], dns: {domain: corp.test, records: [{name: a, type: A, value: x}, {name: b, type: A}], peers: [a/b]}}", "network", "apply", "-f", "-")
	t.Log(out, err)
	out, err = d.TryCtl(t.Context(), "", "network", "set", "directory", "dns.records[0].value=0 5 390 dc1", "--dry-run")
	t.Log(out, err)
	out, err = d.TryCtl(t.Context(), "", "network", "set", "directory", "dns.records[0].value=0 5 390 dc1")
	t.Log(out, err)
}
