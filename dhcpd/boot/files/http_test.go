package files

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

// A request that breaks the handler costs its connection, and is counted.
func TestPanicCostsOneConnection(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s := httptest.NewServer(handler{counts: &counts{}, log: log, open: func(name string) (*file, error) {
		if name == "/bad" {
			panic("open")
		}
		return nil, fs.ErrNotExist
	}})
	defer s.Close()
	before := limit.Panics()[limit.BootHTTP]
	if _, err := http.Get(s.URL + "/bad"); err == nil {
		t.Error("no error for the one that panics")
	}
	if n := limit.Panics()[limit.BootHTTP] - before; n == 0 {
		t.Error("no panic was counted")
	}
	if resp, err := http.Get(s.URL + "/good"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the next one: %v, %v", resp, err)
	}
}

// Ten thousand requests for long names cost some kilobytes of log, and are counted
// (they were 20 KiB each).
func TestRequestsDoNotFillTheLog(t *testing.T) {
	var out bytes.Buffer
	c := &counts{}
	h := handler{counts: c, log: limit.Logger(slog.New(slog.NewTextHandler(&out, nil))).With("network", "lab"), open: func(name string) (*file, error) {
		return nil, fmt.Errorf("open %s: %w", name, &fs.PathError{Op: "openat", Path: name, Err: fs.ErrNotExist})
	}}
	r := httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("x", 10_000), nil)
	for range 10_000 {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if out.Len() > limit.MaxInfos*300 || strings.Contains(out.String(), strings.Repeat("x", limit.MaxText)) {
		t.Errorf("%d octets of log: %.1000s", out.Len(), out.String())
	}
	if n := c[Missing].Load(); n != 10_000 {
		t.Errorf("%d requests were counted", n)
	}
}

// Connections without a request, from however many addresses, keep no client out.
func TestHalfOpenConnectionsMakeRoom(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	r := tree(t)
	s := newHTTP(l, r.open, &counts{}, log)
	go s.serve()
	defer s.close()
	from := func(n int) *net.Dialer {
		return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(n))}, Timeout: 10 * time.Second}
	}
	for n := range 2 * maxConns {
		c, err := from(n%64).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte("GET /a HTTP/1.1\r\n"))
	}
	for _, n := range []int{200, 3} { // the second has as many open as it may
		client := http.Client{Transport: &http.Transport{DialContext: from(n).DialContext}, Timeout: 10 * time.Second}
		resp, err := client.Get("http://" + l.Addr().String() + "/a")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("client %d: %v, %v", n, resp, err)
		}
		client.CloseIdleConnections()
	}
}
