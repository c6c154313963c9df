package dnsd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var withoutError = regexp.MustCompile(`(?s)Queries completed: +6000 \(100\.00%\).*Queries lost: +0 .*Response codes: +NOERROR 6000 \(100\.00%\)`)

// A load of queries, by somebody else's generator, for names of our own, others'
// that are asked for anew and others' that are cached, without one error.
func TestDnsperf(t *testing.T) {
	need(t, "dnsperf")
	up := newUpstream(t, "127.0.0.2:5302")
	up.ttl.Store(300)
	start(t, resolvConf(t), via(up))
	var names strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&names, "web.lab.test %s\nnew%d.example.org A\nwww.example.org A\n", []string{"A", "AAAA"}[i%2], i)
	}
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte(names.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"-s 192.168.10.1 -m udp", "-s 192.168.10.1 -m tcp", "-s fd00:10::1 -m udp"} {
		out, err := in("guest", "dnsperf", strings.Fields(how+" -d "+file+" -n 2 -q 50 -c 4 -t 10")...).CombinedOutput()
		if err != nil || !withoutError.Match(out) {
			t.Errorf("%s: %v\n%s", how, err, out)
		}
	}
}
