package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// bootable is a network that boots its guests, in a mode, from a directory, in
// IPv6 only by UEFI.
func bootable(mode, root string) string {
	return fmt.Sprintf(`
name: lab
mode: %[1]s
bridge: {name: lab0}
subnets:
  - address: 192.168.10.1/24
    dhcp:
      ranges: [{start: 192.168.10.100, end: 192.168.10.200}]
      reservations:
        - {mac: "52:54:00:00:00:09", address: 192.168.10.9, boot: {file: own.ipxe}}
      boot:
        root: %[2]s
        files:
          - {arch: bios, file: undionly.kpxe}
          - {arch: efi-x86-64, file: bootx64.efi}
          - {arch: http-x86-64, file: ipxe.efi}
          - {client: ipxe, file: boot.ipxe}
          - {file: pxelinux.0}
  - address: fd00:10::1/64
    dhcp:
      ranges: [{start: "fd00:10::100", end: "fd00:10::200"}]
      boot: {root: %[2]s, files: [{arch: efi-x86-64, file: bootx64.efi}, {arch: http-x86-64, file: ipxe.efi}]}
dns: {domain: lab.test}
`, mode, root)
}

// bootWorld is a world whose host boots the network lab's guests from the
// returned directory.
func bootWorld(t *testing.T, mode string) (*nettest.World, *nettest.Daemon, string) {
	t.Helper()
	root := filepath.Join(nettest.TempDir(t), "boot")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, bootable(mode, root), "network", "create", "-f", "-")
	return w, d, root
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// script is an iPXE script that loads a machine's image from a URL.
func script(from string) string {
	return fmt.Sprintf("#!ipxe\necho booting from %[1]s\nkernel %[1]s/vmlinuz %[2]s initrd=initramfs\ninitrd --name initramfs %[1]s/initramfs\nboot\n", from, nettest.KernelArgs)
}

// QEMU's own PXE ROM, which is iPXE, boots a kernel that says so on its console:
// the script by TFTP, the rest by TFTP or by HTTP. A reservation's script is
// before everybody's.
func TestPXEBoot(t *testing.T) {
	nettest.NeedFile(t, "/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu")
	for _, c := range []struct{ scheme, mode, mac, file, other string }{
		{"tftp", "nat", "52:54:00:00:00:01", "boot.ipxe", "own.ipxe"},
		{"http", "isolated", "52:54:00:00:00:09", "own.ipxe", "boot.ipxe"},
	} {
		t.Run(c.scheme, func(t *testing.T) {
			t.Parallel()
			w, d, root := bootWorld(t, c.mode)
			m := nettest.Machine{Host: w.Host, Tap: w.Host.Tap(t, "vnet7", "lab0"), NetBoot: true, MAC: c.mac, Limit: 5 * time.Minute}
			m.Image(t, root)
			write(t, root, c.file, script(c.scheme+"://192.168.10.1"))
			write(t, root, c.other, "#!ipxe\npoweroff\n")
			if s := m.Run(t); !strings.Contains(s.Console, "booting from "+c.scheme+"://192.168.10.1") || !s.Lease.Address.IsValid() {
				t.Errorf("lease %v, console\n%s", s.Lease, s.Console)
			}
			if log := d.Log(); !strings.Contains(log, "boot file sent by "+strings.ToUpper(c.scheme)) {
				t.Errorf("the log has no word of it:\n%s", log)
			}
		})
	}
}

// UEFI's own clients: the one by TFTP loads what turns out to be no program, and
// the firmware goes on to the one by HTTP, which loads iPXE. That, told another
// file by us, says so.
func TestUEFIBoot(t *testing.T) {
	const firmware, ipxe = "/usr/share/ovmf/OVMF.fd", "/usr/lib/ipxe/ipxe.efi"
	nettest.NeedFile(t, firmware, "ovmf")
	nettest.NeedFile(t, ipxe, "ipxe")
	program, err := os.ReadFile(ipxe)
	if err != nil {
		t.Fatal(err)
	}
	for family, client := range map[string]string{"IPv4": `192\.168\.10\.`, "IPv6": `\[fd00:10::`} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			w, d, root := bootWorld(t, "nat")
			write(t, root, "bootx64.efi", "no program")
			write(t, root, "ipxe.efi", string(program))
			write(t, root, "boot.ipxe", "#!ipxe\necho booted by ${filename}\n")
			m := nettest.Machine{Host: w.Host, Tap: w.Host.Tap(t, "vnet7", "lab0"), Firmware: firmware, Family: family}
			p := m.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := p.WaitFor(ctx, "booted by boot.ipxe"); err != nil || !strings.Contains(p.Output(), "NBP filename is bootx64.efi") {
				t.Errorf("%v; the console:\n%s", err, p.Output())
			}
			for _, sent := range []string{`TFTP".* client="?` + client + `.* file=bootx64.efi`, `HTTP".* client="?` + client + `.* file=/ipxe.efi`} {
				if log := d.Log(); !regexp.MustCompile(`boot file sent by ` + sent).MatchString(log) {
					t.Errorf("the log has no %s:\n%s", sent, log)
				}
			}
		})
	}
}

// Everybody's clients get the files, whole and in parts, and nothing besides: by
// their own bridge, below the root, for reading. The host of an isolated network
// lets its guests reach the two ports, and the transfers that follow.
func TestBootFiles(t *testing.T) {
	nettest.Need(t, "curl", "atftp", "tftp", "busybox")
	for _, mode := range []string{"nat", "isolated"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w, d, root := bootWorld(t, mode)
			g, _ := guest(t, w, "web", "lab0")
			write(t, filepath.Dir(root), "secret", "secret")
			content := strings.Repeat("0123456789abcde\n", 100_000) // 1.6 MB
			write(t, root, "big", content)
			write(t, root, "empty", "")
			if err := os.Symlink("../secret", filepath.Join(root, "out")); err != nil {
				t.Fatal(err)
			}
			here := nettest.TempDir(t)
			for _, command := range []string{
				"curl -sf tftp://192.168.10.1/big -o GOT",
				"curl -sf --tftp-blksize 1400 tftp://192.168.10.1//big -o GOT",
				"tftp -m binary 192.168.10.1 -c get big GOT",
				"atftp --get --option 'blksize 8192' -r big -l GOT 192.168.10.1",
				"atftp --get --option 'blksize 1024' --option 'windowsize 16' -r big -l GOT 192.168.10.1",
				"busybox tftp -g -b 1428 -r big -l GOT 192.168.10.1",
				"curl -sf http://192.168.10.1/big -o GOT",
				"curl -sf -r 0-999999 http://192.168.10.1/big -o GOT; curl -sf -C - http://192.168.10.1/big -o GOT",
			} {
				got := filepath.Join(here, "got")
				g.Run(t, strings.ReplaceAll(command, "GOT", got))
				if b, err := os.ReadFile(got); err != nil || string(b) != content {
					t.Errorf("%s: %d bytes of %d, %v", command, len(b), len(content), err)
				}
				_ = os.Remove(got)
			}
			for command, want := range map[string]string{
				"curl -sI http://192.168.10.1/big":                                    "Content-Length: 1600000",
				"curl -s -o /dev/null -w %{http_code} http://192.168.10.1/missing":    "404",
				"curl -s -o /dev/null -w %{http_code} http://192.168.10.1/":           "404",
				"curl -s -o /dev/null -w %{http_code} http://192.168.10.1/out":        "403",
				"curl -s -o /dev/null -w %{http_code} -X PUT http://192.168.10.1/big": "405",
				"curl -s --path-as-is http://192.168.10.1/../secret":                  "no such file",
				"curl -s --path-as-is http://192.168.10.1/%2e%2e%2fsecret":            "no such file",
				"curl -s tftp://192.168.10.1/missing || echo $?":                      "68",
				"curl -s tftp://192.168.10.1/out || echo $?":                          "69",
				"curl -s --path-as-is tftp://192.168.10.1/../secret || echo $?":       "68",
				"curl -s -T /etc/hostname tftp://192.168.10.1/up || echo $?":          "69",
				"atftp --get -r empty -l /dev/stdout 192.168.10.1; echo $?":           "0",
				"curl -s http://192.168.10.1/empty -w %{http_code}":                   "200",
			} {
				if got := g.Run(t, command); !strings.Contains(got, want) {
					t.Errorf("%s: got %q, want %s", command, got, want)
				}
			}

			// Somebody else's guest has a route to the address, and no answer.
			d.CtlInput(t, "{name: other, mode: open, bridge: {name: other0}, subnets: [{address: 192.168.20.1/24, dhcp: {ranges: [{start: 192.168.20.2, end: 192.168.20.9}]}}]}", "network", "create", "-f", "-")
			stranger, _ := guest(t, w, "stranger", "other0")
			for _, url := range []string{"http://192.168.10.1/big", "tftp://192.168.10.1/big"} {
				if out, err := stranger.Try(t.Context(), "curl -s -m 1 "+url+" | head -c 10"); out != "" {
					t.Errorf("a guest of another network got %q from %s, %v", out, url, err)
				}
			}
		})
	}
}

// A root that is swapped is served from then on, and what is under way goes on
// through an edit. What cannot be served is said, and taken up when it can be.
func TestBootRootChanges(t *testing.T) {
	nettest.Need(t, "curl", "udhcpc")
	w, d, root := bootWorld(t, "nat")
	g, _ := guest(t, w, "web", "lab0")
	write(t, root, "version", "one")
	content := strings.Repeat("0123456789abcde\n", 200_000)
	write(t, root, "big", content)
	slow := g.Start(t, "curl", "-sf", "--limit-rate", "2M", "http://192.168.10.1/big", "-o", filepath.Join(root, "copy"))
	nettest.Eventually(t, "the transfer begins", func() error {
		_, err := os.Stat(filepath.Join(root, "copy"))
		return err
	})

	second := root + "-2"
	if err := os.Mkdir(second, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, second, "version", "two")
	d.Ctl(t, "network", "set", "lab", "subnets[0].dhcp.boot.root="+second)
	for _, scheme := range []string{"http", "tftp"} {
		if got := g.Run(t, "curl -sf "+scheme+"://192.168.10.1/version"); got != "two" {
			t.Errorf("by %s from the new root: %q", scheme, got)
		}
	}
	if err := slow.Wait(t.Context()); err != nil {
		t.Errorf("the transfer broke: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "copy")); err != nil || string(b) != content {
		t.Errorf("%d bytes of %d arrived, %v", len(b), len(content), err)
	}

	d.Ctl(t, "network", "set", "lab", "subnets[0].dhcp.boot.httpPort=8080")
	if got := g.Run(t, "curl -sf http://192.168.10.1:8080/version; curl -s -m 1 http://192.168.10.1/version || true"); got != "two" {
		t.Errorf("on another port: %q", got)
	}
	refused(t, d, "", 1, []string{"network", "set", "lab", "subnets[0].dhcp.boot.root=/nonexistent/boot"}, "boot root /nonexistent/boot: no such file or directory")

	d.Stop()
	if err := os.Rename(second, root+"-3"); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "degraded") || !strings.Contains(d.Log(), "boot root "+second+": no such file or directory") {
		t.Errorf("without its root, the network is\n%s", got)
	}
	guest(t, w, "db", "lab0") // and gets its lease
	if err := os.Rename(root+"-3", second); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the root is back", func() error {
		if got := d.Ctl(t, "network", "list"); !strings.Contains(got, "ready") {
			return fmt.Errorf("it is\n%s", got)
		}
		return nil
	})
	if got := g.Run(t, "curl -sf http://192.168.10.1:8080/version"); got != "two" {
		t.Errorf("after the root came back: %q", got)
	}
}

// A client of DHCPv6 that asks is told a URL (RFC 5970), which curl reads.
func TestBootURLInIPv6(t *testing.T) {
	nettest.Need(t, "dhclient", "curl")
	dir := nettest.TempDir(t)
	write(t, dir, "ipxe.efi", "a program")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	d.CtlInput(t, fmt.Sprintf(`
name: lab
mode: isolated
bridge: {name: lab0}
subnets:
  - address: fd00:10::1/64
    dhcp:
      stateless: true
      boot: {root: %q, httpPort: 8080, files: [{arch: efi-x86-64, file: ipxe.efi, params: [quiet, splash]}, {file: other}]}
`, dir), "network", "create", "-f", "-")
	g := w.Guest(t, "web")
	g.Attach(t, "lab0")
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nenv | grep new_dhcp6_\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "conf", "option dhcp6.arch code 61 = unsigned integer 16;\nsend dhcp6.arch 7;\nrequest dhcp6.bootfile-url;\n")
	nettest.Eventually(t, "a link-local address", func() error {
		_, err := g.Try(t.Context(), "ip -6 addr show dev eth0 scope link -tentative | grep -q fe80")
		return err
	})
	p := g.Start(t, "dhclient", "-6", "-S", "-d", "-v", "-cf", filepath.Join(dir, "conf"), "-lf", filepath.Join(dir, "leases"),
		"-pf", filepath.Join(dir, "pid"), "-sf", script, "eth0")
	if err := p.WaitFor(t.Context(), "tftp://[fd00:10::1]/ipxe.efi"); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	nettest.Eventually(t, "an address by SLAAC", func() error {
		_, err := g.Try(t.Context(), "ip -6 addr show dev eth0 scope global -tentative | grep -q fd00:10")
		return err
	})
	for _, url := range []string{"tftp://[fd00:10::1]/ipxe.efi", "http://[fd00:10::1]:8080/ipxe.efi"} {
		if got := g.Run(t, "curl -sfg "+url); got != "a program" {
			t.Errorf("%s: %q", url, got)
		}
	}
}
