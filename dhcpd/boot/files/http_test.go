package files

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
