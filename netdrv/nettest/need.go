package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packages says where Debian keeps a program, when not under its own name.
var packages = map[string]string{
	"dhclient":           "isc-dhcp-client",
	"dhcrelay":           "isc-dhcp-relay",
	"dhcpcd":             "dhcpcd-base",
	"systemd-networkd":   "systemd",
	"networkctl":         "systemd",
	"systemd-analyze":    "systemd",
	"dbus-daemon":        "dbus-daemon",
	"dnsmasq":            "dnsmasq-base",
	"dig":                "bind9-dnsutils",
	"ip":                 "iproute2",
	"bridge":             "iproute2",
	"nft":                "nftables",
	"ping":               "iputils-ping",
	"busybox":            "busybox-static",
	"qemu-system-x86_64": "qemu-system-x86",
	"xz":                 "xz-utils",
	"apt-get":            "apt",
	"apt-cache":          "apt",
	"dpkg-deb":           "dpkg",
	"nc":                 "netcat-openbsd",
	"tftp":               "tftp-hpa",
	"dot":                "graphviz",
	"promtool":           "prometheus",
	"tc":                 "iproute2",
}

// binDirs are searched after PATH: where programs are that are not for users.
var binDirs = []string{"/usr/sbin", "/sbin", "/usr/lib/systemd", "/lib/systemd"}

func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || strings.Contains(name, "/") {
		return path, err
	}
	for _, dir := range binDirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// Need skips the test, or with VNETD_TEST_REQUIRE=1 fails it, unless all the
// programs are there. It names the missing ones, and Debian's packages.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing, install []string
	for _, name := range programs {
		if _, err := lookPath(name); err == nil {
			continue
		}
		missing = append(missing, name)
		pkg := packages[name]
		if pkg == "" {
			pkg = name
		}
		install = append(install, pkg)
	}
	if missing != nil {
		lack(t, fmt.Sprintf("no %s here: apt-get install %s",
			strings.Join(missing, ", "), strings.Join(install, " ")))
	}
}

// NeedFile is Need for a file, and Debian's package that has it.
func NeedFile(t testing.TB, path, pkg string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		lack(t, fmt.Sprintf("no %s here: apt-get install %s", path, pkg))
	}
}

// NeedRoot skips the test, or with VNETD_TEST_REQUIRE=1 fails it, unless it
// runs as root. Everything that makes a namespace asks by itself.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, "network namespaces need root: sudo make test")
	}
}

// Required reports whether what a test needs must be there.
func Required() bool { return os.Getenv("VNETD_TEST_REQUIRE") == "1" }

func lack(t testing.TB, what string) {
	t.Helper()
	if Required() {
		t.Fatalf("%s (VNETD_TEST_REQUIRE=1)", what)
	}
	t.Skip(what)
}
