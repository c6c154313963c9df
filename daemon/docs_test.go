package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// yamlBlock is a fenced block of a page, which is a whole definition. What is
// not is fenced as something else.
var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// Every definition in the documentation stands as it is written, but for the
// place of boot files, and a second apply changes nothing.
func TestDocumentation(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := yamlBlock.FindAllStringSubmatchIndex(string(text), -1)
		found += len(blocks)
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			_, d := exampleWorld(t)
			files := nettest.TempDir(t)
			for _, at := range blocks {
				line := 1 + strings.Count(string(text[:at[2]]), "\n")
				definition := strings.ReplaceAll(string(text[at[2]:at[3]]), "/srv/boot", files)
				t.Run(fmt.Sprintf("line %d", line), func(t *testing.T) { standsAsWritten(t, d, definition) })
			}
		})
	}
	if found == 0 {
		t.Error("no page shows a definition")
	}
}

// standsAsWritten creates a network, applies it again, and deletes it.
func standsAsWritten(t *testing.T, d *nettest.Daemon, definition string) {
	d.CtlInput(t, definition, "network", "create", "-f", "-")
	name := strings.TrimSpace(d.Ctl(t, "network", "list", "-q"))
	if got := d.Ctl(t, "status"); !strings.Contains(got, "1 ready") {
		t.Errorf("status says\n%s", got)
	}
	if got := d.CtlInput(t, definition, "network", "apply", "-f", "-"); !strings.Contains(got, "unchanged") {
		t.Errorf("a second apply says %q", got)
	}
	d.Ctl(t, "network", "delete", name)
}
