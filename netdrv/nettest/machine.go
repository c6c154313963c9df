package nettest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Machine is a virtual machine of QEMU's, in software emulation: a Debian
// cloud kernel and a busybox that take a lease on eth0, run commands and power
// off. testdata/guest has the recipe. The zero value of every field but Host
// and Tap is fine.
type Machine struct {
	Host     *Namespace // where QEMU runs
	Tap      *Tap       // of that namespace
	Netdev   string     // instead of Tap: QEMU's -netdev without the id, "bridge,br=virbr0,helper=..."
	Env      []string   // more of QEMU's environment
	Wrap     []string   // a command line that runs QEMU, which is put behind it
	Name     string     // the guest's host name; default "machine"
	MAC      string     // default 52:54:00:00:00:01
	Commands []string   // lines of shell, with busybox's programs
	NetBoot  bool       // boot from the network, by the card's PXE ROM: see Image
	Firmware string     // boot from the network by a UEFI image (OVMF) instead: by PXE, then by HTTP
	Family   string     // of what Firmware talks: IPv4 or IPv6
	Limit    time.Duration
}

// KernelArgs are what a machine's kernel needs to be told: where to talk, and
// to end. A host that is busy makes them find their timer broken, if they check.
const KernelArgs = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check"

// machineLimit is for slow machines: a boot takes about three seconds.
const machineLimit = 2 * time.Minute

// A Session is what a machine has printed on its console.
type Session struct {
	Console string
	Lease   Lease // of the guest's udhcpc; zero if it got none
	Results []Result
}

// A Result is the outcome of one command.
type Result struct {
	Command string
	Output  string
	Status  int
}

// Boot makes a tap in a host's bridge, boots a machine on it and returns its
// session when it has powered off. The test fails if the machine gets no lease,
// if a command fails, or after two minutes.
func Boot(t testing.TB, host *Namespace, tap, bridge string, commands ...string) Session {
	t.Helper()
	m := Machine{Host: host, Tap: host.Tap(t, tap, bridge), Commands: commands}
	s := m.Run(t)
	if !s.Lease.Address.IsValid() {
		t.Fatalf("nettest: the machine got no lease:\n%s", s.Console)
	}
	for _, r := range s.Results {
		if r.Status != 0 {
			t.Errorf("machine# %s\n%s: exit %d", r.Command, r.Output, r.Status)
		}
	}
	return s
}

// Run boots the machine and returns its session when it has powered off. The
// test fails if it does not, or does not run all its commands; whether they
// succeed is for the caller to judge.
func (m Machine) Run(t testing.TB) Session {
	t.Helper()
	m.needKernel(t)
	m.defaults()
	p := m.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), m.Limit)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		t.Fatalf("nettest: machine: %v", err)
	}
	s, err := parseSession(p.Output(), m.Commands)
	if err != nil {
		t.Fatalf("nettest: machine: %v", err)
	}
	return s
}

// Start boots the machine, whatever it boots. Its console is the output of the
// process.
func (m Machine) Start(t testing.TB) *Process {
	t.Helper()
	Need(t, "qemu-system-x86_64")
	m.defaults()
	cmd, err := m.command(t)
	if err != nil {
		t.Fatalf("nettest: machine: %v", err)
	}
	return m.Host.Launch(t, cmd)
}

func (m *Machine) needKernel(t testing.TB) {
	t.Helper()
	Need(t, "busybox")
	if !haveKernel() {
		Need(t, "apt-get", "apt-cache", "dpkg-deb", "xz")
	}
}

func (m *Machine) defaults() {
	if m.Name == "" {
		m.Name = "machine"
	}
	if m.MAC == "" {
		m.MAC = "52:54:00:00:00:01"
	}
	if m.Limit == 0 {
		m.Limit = machineLimit
	}
}

// Image writes what the machine boots into a directory, as vmlinuz and
// initramfs, for somebody else to serve to it.
func (m Machine) Image(t testing.TB, dir string) {
	t.Helper()
	m.needKernel(t)
	m.defaults()
	kernel, err := m.image(t, dir)
	if err == nil {
		_, err = copyInto(dir, kernel)
	}
	if err != nil {
		t.Fatalf("nettest: machine: %v", err)
	}
}

// copyInto copies a kernel as vmlinuz, for everybody to read.
func copyInto(dir, kernel string) (string, error) {
	to := filepath.Join(dir, "vmlinuz")
	content, err := os.ReadFile(kernel)
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(to, content, 0o644)
}

// image writes the initramfs into a directory, and returns where the kernel is.
func (m *Machine) image(t testing.TB, dir string) (kernel string, err error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	recipe := filepath.Join(root, "testdata", "guest")
	guest, err := guestKernel(t.Context(), recipe)
	if err != nil {
		return "", err
	}
	content, err := initramfs(recipe, guest, m.Name, m.Commands)
	if err != nil {
		return "", err
	}
	return filepath.Join(guest, "vmlinuz"), os.WriteFile(filepath.Join(dir, "initramfs"), content, 0o644)
}

func (m *Machine) command(t testing.TB) (*Cmd, error) {
	args, err := m.bootArgs(t)
	if err != nil {
		return nil, err
	}
	netdev := m.Netdev
	if m.Tap != nil {
		netdev = "tap,fd=3"
	}
	line := append(slices.Clone(m.Wrap), "qemu-system-x86_64")
	line = append(append(line, args...), "-accel", "tcg", "-machine", "q35", "-nographic", "-no-reboot", "-nodefaults",
		"-serial", "stdio", "-netdev", netdev+",id=n0")
	cmd := m.Host.Command(context.Background(), line[0], line[1:]...)
	cmd.Env = append(cmd.Env, m.Env...)
	if m.Tap != nil {
		cmd.ExtraFiles = []*os.File{m.Tap.file}
	}
	return cmd, nil
}

// bootArgs say what boots, and from where.
func (m *Machine) bootArgs(t testing.TB) ([]string, error) {
	card := "virtio-net-pci,netdev=n0,mac=" + m.MAC
	switch {
	case m.Firmware != "":
		return append(m.firmwareArgs(), "-m", "512", "-device", card+",romfile=,bootindex=0"), nil
	case m.NetBoot:
		return []string{"-m", "512", "-boot", "n", "-device", card}, nil
	}
	dir := TempDir(t)
	kernel, err := m.image(t, dir)
	if err == nil && m.Wrap != nil {
		// The cache may be for root only.
		kernel, err = copyInto(dir, kernel)
	}
	return []string{
		"-m", "256", "-kernel", kernel, "-initrd", filepath.Join(dir, "initramfs"), "-append", KernelArgs,
		"-device", card + ",romfile=",
	}, err
}

// firmwareArgs leave the firmware one family to boot by, for it gives up the
// other after a minute only. It draws random numbers before it talks TLS or IPv6,
// and asks a card for them.
func (m *Machine) firmwareArgs() []string {
	other := map[string]string{"IPv4": "IPv6", "IPv6": "IPv4"}[m.Family]
	return []string{
		"-bios", m.Firmware, "-device", "virtio-rng-pci",
		"-fw_cfg", "name=opt/org.tianocore/" + other + "Support,string=no",
		"-fw_cfg", "name=opt/org.tianocore/" + other + "PXESupport,string=no",
	}
}

// parseSession reads a console. It is an error if the guest did not get to its
// end.
func parseSession(console string, commands []string) (Session, error) {
	s := Session{Console: strings.ReplaceAll(console, "\r\n", "\n")}
	for _, r := range parseReports(s.Console) {
		if r.event != "bound" {
			continue
		}
		var err error
		if s.Lease, err = udhcpcKeys.lease(r.vars); err != nil {
			return s, err
		}
	}
	for i, command := range commands {
		r, err := parseResult(s.Console, i)
		if err != nil {
			return s, fmt.Errorf("%q: %w", command, err)
		}
		r.Command = command
		s.Results = append(s.Results, r)
	}
	if !strings.Contains(s.Console, "\n@guest done\n") {
		return s, fmt.Errorf("it ended early")
	}
	return s, nil
}

// parseResult finds what the n-th command printed, and its status.
func parseResult(console string, n int) (Result, error) {
	_, rest, ok := strings.Cut(console, fmt.Sprintf("\n@guest begin %d\n", n))
	if !ok {
		return Result{}, fmt.Errorf("it did not begin")
	}
	output, rest, ok := strings.Cut("\n"+rest, fmt.Sprintf("\n@guest end %d ", n))
	if !ok {
		return Result{}, fmt.Errorf("it did not end")
	}
	word, _, _ := strings.Cut(rest, "\n")
	status, err := strconv.Atoi(word)
	if err != nil {
		return Result{}, fmt.Errorf("status: %w", err)
	}
	return Result{Output: strings.TrimPrefix(output, "\n"), Status: status}, nil
}
