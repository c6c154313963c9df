package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong with vnetd.yaml is said with the line and the key.
func TestConfigurationErrorsNameLineAndKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnetd.yaml")
	for text, want := range map[string]string{
		"logLevel: info\nmetrics: {listen: \"localhost:9178\"}\n": `line 2: metrics: "localhost:9178"`,
		"metrics: 5\n": `line 1: metrics: "5"`,
		"subnetPools: [10.0.0.0]\nmetrics: {listen: x}\n": "line 1: subnetPools",
		"metric: {}\n":        "line 1: metric is not a key of vnetd.yaml",
		"defaultNetwork: 7\n": `line 1: defaultNetwork: "7"`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path, true); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
