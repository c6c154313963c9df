package dnsd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The world: the test runs in "host", with a bridge br0 (192.168.10.1/24) that
// a guest (.50) and a neighbour (.51) hang on, a bridge br1 (192.168.20.1/24) with a guest (.50) of
// another network, and a link to the outside, 203.0.113.1/24, with .2 behind.
const world = `
link add br0 type bridge
link set br0 up
addr add 192.168.10.1/24 dev br0
addr add fd00:10::1/64 dev br0 nodad
link add br1 type bridge
link set br1 up
addr add 192.168.20.1/24 dev br1
netns add guest
netns add alien
netns add outside
netns add neighbour
link add g0 type veth peer name eth0 netns guest
link add g1 type veth peer name eth0 netns alien
link add up0 type veth peer name eth0 netns outside
link add g2 type veth peer name eth0 netns neighbour
link set g0 master br0 up
link set g2 master br0 up
link set g1 master br1 up
link set up0 up
addr add 203.0.113.1/24 dev up0
-n neighbour link set lo up
-n neighbour link set eth0 up
-n neighbour addr add 192.168.10.51/24 dev eth0
-n neighbour addr add fd00:10::51/64 dev eth0 nodad
-n neighbour route add default via 192.168.10.1
-n guest link set lo up
-n alien link set lo up
-n outside link set lo up
-n guest link set eth0 up
-n alien link set eth0 up
-n outside link set eth0 up
-n guest addr add 192.168.10.50/24 dev eth0
-n guest addr add fd00:10::50/64 dev eth0 nodad
-n guest route add default via 192.168.10.1
-n alien addr add 192.168.20.50/24 dev eth0
-n alien route add default via 192.168.20.1
-n outside addr add 203.0.113.2/24 dev eth0
-n outside route add default via 203.0.113.1
`

var makeWorld = sync.OnceValue(func() error {
	for line := range strings.Lines(strings.TrimSpace(world)) {
		if err := ipErr(strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
})

// needWorld skips a test where it cannot be made.
func needWorld(t *testing.T) {
	t.Helper()
	if !apart {
		t.Skip("no namespaces here")
	}
	if err := makeWorld(); err != nil {
		t.Fatal(err)
	}
}

type ipError struct {
	args []string
	out  []byte
}

func (e *ipError) Error() string { return "ip " + strings.Join(e.args, " ") + ": " + string(e.out) }

func ipErr(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return &ipError{args, append(out, err.Error()...)}
	}
	return nil
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if err := ipErr(args...); err != nil {
		t.Fatal(err)
	}
}

// in returns a command in a namespace; "" is the host.
func in(netns, name string, args ...string) *exec.Cmd {
	if netns != "" {
		args = append([]string{"netns", "exec", netns, name}, args...)
		name = "ip"
	}
	return exec.Command(name, args...)
}

// An answer is what dig printed.
type answer struct {
	status string
	flags  string
	lines  []string // answer section, fields joined by one blank, without TTLs
	all    string
}

var (
	statusRE = regexp.MustCompile(`status: (\w+)`)
	flagsRE  = regexp.MustCompile(`;; flags: ([a-z ]*);`)
)

// dig asks like a guest does. A try lasts two seconds, and there is one.
func dig(t testing.TB, netns string, args ...string) answer {
	t.Helper()
	out, _ := in(netns, "dig", append([]string{"+tries=1", "+timeout=2", "+noall", "+comments", "+answer", "+authority"}, args...)...).CombinedOutput()
	a := answer{all: string(out), status: "none"}
	if m := statusRE.FindStringSubmatch(a.all); m != nil {
		a.status = m[1]
	}
	if m := flagsRE.FindStringSubmatch(a.all); m != nil {
		a.flags = m[1]
	}
	_, section, _ := strings.Cut(a.all, ";; ANSWER SECTION:\n")
	section, _, _ = strings.Cut(section, "\n\n")
	for line := range strings.Lines(section) {
		f := strings.Fields(line)
		if len(f) >= 5 && f[0] != ";;" {
			a.lines = append(a.lines, strings.Join(append(f[:1:1], f[3:]...), " "))
		}
	}
	return a
}

func (a answer) String() string { return a.all }

// dial connects from a namespace. Threads that have been there never come back:
// one that could not return would do the host's work in the guest.
func dial(t testing.TB, netns, network, to string) net.Conn {
	t.Helper()
	var c net.Conn
	err := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		fd, e := unix.Open("/run/netns/"+netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if e == nil {
			defer unix.Close(fd)
			e = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if e == nil {
			c, e = net.Dial(network, to)
		}
		err <- e
	}()
	if e := <-err; e != nil {
		t.Fatalf("dial %s from %s: %v", to, netns, e)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// start runs a server until the test ends.
func start(t testing.TB, resolvConf string, configs ...Config) (*Server, *logged) {
	t.Helper()
	log := &logged{}
	s := New(resolvConf, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, cfg := range configs {
		if err := s.Set(cfg); err != nil {
			t.Fatal(err)
		}
	}
	startServer(t, s)
	return s, log
}

func startServer(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
}

// resolvConf writes a file that names servers.
func resolvConf(t testing.TB, servers ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, path, servers...)
	return path
}

func write(t testing.TB, path string, servers ...string) {
	t.Helper()
	text := ""
	for _, s := range servers {
		text += "nameserver " + s + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// logged keeps what was logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not so after 10 s: %s", what)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// lab is the network of br0.
func lab() Config {
	return Config{
		Network: "lab", Interface: "br0", Domain: "lab.test",
		Listen:    []netip.Addr{addr("192.168.10.1"), addr("fd00:10::1")},
		HostNames: []string{"kvm1", "host"},
		Hosts:     []Host{{Name: "web", Addrs: []netip.Addr{addr("192.168.10.10"), addr("fd00:10::10")}}},
		Reverse:   []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00:10::/64")},
		Names:     leases{"pc": addr("192.168.10.50"), "host": addr("192.168.10.66"), "wpad": addr("192.168.10.67")},
		Forward:   true,
	}
}

// leases is a table of live names.
type leases map[string]netip.Addr

func (l leases) Addrs(name string) []netip.Addr {
	if a, ok := l[name]; ok {
		return []netip.Addr{a}
	}
	return nil
}

func (l leases) Name(a netip.Addr) (string, bool) {
	for name, addr := range l {
		if addr == a {
			return name, true
		}
	}
	return "", false
}
