package daemon_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// Every network in a page of docs stands beside the others, and comes back from
// `network show` as it went.
func TestDocs(t *testing.T) {
	for page, networks := range map[string]int{"dhcp-leases.md": 3, "filter.md": 1} {
		t.Run(page, func(t *testing.T) { standing(t, "../docs/"+page, networks) })
	}
}

func standing(t *testing.T, page string, networks int) {
	text, err := os.ReadFile(page)
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
	if out := d.Ctl(t, "status"); len(blocks) != networks || !strings.Contains(out, fmt.Sprint(networks, " ready")) {
		t.Errorf("%d networks: %s", len(blocks), out)
	}
}
