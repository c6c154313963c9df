package daemon_test

import (
	"os"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// Every network in docs/dhcp-leases.md stands beside the others, and comes back
// from `network show` as it went.
func TestLeaseDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/dhcp-leases.md")
	if err != nil {
		t.Fatal(err)
	}
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for _, b := range blocks {
		definition, _, _ := strings.Cut(b, "```")
		d.CtlInput(t, definition, "network", "create", "-f", "-")
		if out := d.CtlInput(t, definition, "network", "apply", "-f", "-"); !strings.Contains(out, "unchanged") {
			t.Errorf("a second apply says %s", out)
		}
	}
	if out := d.Ctl(t, "status"); len(blocks) != 3 || !strings.Contains(out, "3 ready") {
		t.Errorf("%d networks: %s", len(blocks), out)
	}
}
