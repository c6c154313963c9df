package daemon_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// rawClient speaks HTTP/2 frames to a socket, as uid.
func rawClient(t *testing.T, uid int, socket string) (*http2.Framer, net.Conn) {
	t.Helper()
	var conn net.Conn
	var err error
	nettest.As(uid, uid, func() { conn, err = net.Dial("unix", socket) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	return f, conn
}

// beginCall begins a call without its request.
func beginCall(f *http2.Framer, stream uint32, method string) error {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: true})
}

func dialAs(t *testing.T, uid int, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (c net.Conn, err error) {
			nettest.As(uid, uid, func() { c, err = net.Dial("unix", socket) })
			return c, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// processorTime is what the daemon has used.
func processorTime(t *testing.T, d *nettest.Daemon) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var user, system int
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// An unprivileged user who opens 10 000 streams, leaves requests unfinished and reads
// nothing, costs less than 32 MiB; administrators are served meanwhile.
func TestUnprivilegedStreams(t *testing.T) {
	_, d := labWorld(t)
	d.Ctl(t, "status")
	before := residentMiB(t, d)
	var unfinished [5]byte
	binary.BigEndian.PutUint32(unfinished[1:], 15<<20)
	for n := range 40 {
		f, conn := rawClient(t, 4242, d.ReadOnlySocket())
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		go func() { // its end of flow control
			for {
				if _, err := http2.NewFramer(io.Discard, conn).ReadFrame(); err != nil {
					return
				}
			}
		}()
		for i := range 250 {
			id := uint32(2*i + 1)
			method, body := "/vnet.v1.EventService/Watch", make([]byte, 5)
			if n%2 == 1 {
				method, body = "/vnet.v1.NetworkService/GetNetwork", append(unfinished[:], make([]byte, 16000)...)
			}
			if beginCall(f, id, method) != nil || f.WriteData(id, n%2 == 0, body) != nil {
				break // it was closed, or is not read any more
			}
		}
	}
	for n := range 50 { // events that no client reads
		d.Ctl(t, "network", "set", "lab", fmt.Sprintf("dns.domain=l%d.test", n))
	}
	after := residentMiB(t, d)
	t.Logf("vnetd takes %d MiB, before it took %d", after, before)
	if after-before >= 32 {
		t.Errorf("vnetd takes %d MiB, before it took %d", after, before)
	}
}

// A user who calls without end is held to a share of a processor, whatever the calls
// cost; root and an administrator are not held back by that, on either socket.
func TestUnprivilegedFlood(t *testing.T) {
	_, d := labWorld(t)
	for range 6 {
		cc := dialAs(t, 4242, d.ReadOnlySocket())
		for range 4 {
			go func() {
				for t.Context().Err() == nil {
					_, err := vnetv1.NewNetworkServiceClient(cc).ListNetworks(t.Context(), &vnetv1.ListNetworksRequest{})
					if status.Code(err) == codes.Unavailable {
						time.Sleep(10 * time.Millisecond)
					}
				}
			}()
		}
	}
	// What a user may cost at once is soon over. The user's share is 5 %; the daemon's own
	// work is measured, too.
	nettest.Eventually(t, "the flood is held back", func() error {
		before, began := processorTime(t, d), time.Now()
		time.Sleep(4 * time.Second)
		if used, took := processorTime(t, d)-before, time.Since(began); used > took/10 {
			return fmt.Errorf("it costs %s in %s", used, took)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), nettest.Patience)
	defer cancel()
	for _, socket := range []string{d.Socket(), d.ReadOnlySocket()} {
		if _, err := vnetv1.NewNetworkServiceClient(dialAs(t, 0, socket)).ListNetworks(ctx, &vnetv1.ListNetworksRequest{}); err != nil {
			t.Errorf("root at %s: %v", socket, err)
		}
	}
}

// A user with all the connections it may have, of a daemon with few descriptors, takes
// none that guests or administrators need; silent connections are closed.
func TestDescriptorsAreReserved(t *testing.T) {
	nettest.Need(t, "dig")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly, Files: 200})
	d.CtlInput(t, lab, "network", "create", "-f", "-")
	g, _ := guest(t, w, "web", "lab0")
	var silent []net.Conn
	for uid := 4000; uid < 4040; uid++ { // one user, and many
		for range 10 {
			nettest.As(uid, uid, func() {
				for _, socket := range []string{d.ReadOnlySocket(), door(d)} {
					if c, err := net.Dial("unix", socket); err == nil {
						silent = append(silent, c)
						t.Cleanup(func() { c.Close() })
					}
				}
			})
		}
	}
	d.CtlInput(t, "{name: lab2, mode: isolated, bridge: {name: lab1}}", "network", "create", "-f", "-")
	if out := g.Run(t, "dig +tcp +short +time=2 +tries=1 @192.168.10.1 printer.lab.test"); !strings.Contains(out, "192.168.10.15") {
		t.Errorf("DNS by TCP: %q", out)
	}
	for _, c := range silent {
		_ = c.SetReadDeadline(time.Now().Add(nettest.Patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a silent connection stays open")
		}
	}
}

// Who may not do what it asks for is told before its request is read; what it says is not
// repeated at length.
func TestRefusedOnTheReadOnlySocket(t *testing.T) {
	_, d := labWorld(t)
	f, conn := rawClient(t, 4242, d.ReadOnlySocket())
	if err := beginCall(f, 1, "/vnet.v1.NetworkService/CreateNetwork"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(nettest.Patience))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("a call without its request is not answered: %v", err)
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			told := fmt.Sprint(h.Fields)
			if !strings.Contains(told, "read-only socket") {
				t.Errorf("it is answered with %s", told)
			}
			break
		}
	}
	networks := vnetv1.NewNetworkServiceClient(dialAs(t, 4242, d.ReadOnlySocket()))
	_, err := networks.GetNetwork(t.Context(), &vnetv1.GetNetworkRequest{Name: strings.Repeat("a", 60_000)})
	if status.Code(err) != codes.NotFound || len(err.Error()) > 300 {
		t.Errorf("a long name: %.100v (%d bytes)", err, len(err.Error()))
	}
	_, err = networks.GetNetwork(t.Context(), &vnetv1.GetNetworkRequest{Name: strings.Repeat("a", 70_000)})
	if status.Code(err) != codes.ResourceExhausted || len(err.Error()) > 300 {
		t.Errorf("a longer name: %.100v (%d bytes)", err, len(err.Error()))
	}
}
