package daemon_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// systemd's own assessment of the unit's sandbox. Whether vnetd works in it is for
// `make boot-test`.
func TestUnitExposure(t *testing.T) {
	nettest.Need(t, "systemd-analyze")
	unit, err := os.ReadFile("../dist/systemd/vnetd.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"MemoryHigh=", "MemoryMax=", "TasksMax=", "OOMScoreAdjust=", "StartLimitIntervalSec=0"} {
		if !strings.Contains(string(unit), "\n"+line) {
			t.Errorf("the unit has no %s", line)
		}
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", "../dist/systemd/vnetd.service").CombinedOutput()
	found := regexp.MustCompile(`Overall exposure level for vnetd.service: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze: %v\n%s", err, out)
	}
	if exposure, err := strconv.ParseFloat(string(found[1]), 64); err != nil || exposure >= 2 {
		t.Errorf("exposure %s, want less than 2.0\n%s", found[1], out)
	}
}
