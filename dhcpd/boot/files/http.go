package files

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

// Bounds on HTTP, see the package's doc.
const (
	maxConns       = 256
	maxClientConns = 16
	requestTime    = 10 * time.Second
	writeTime      = 30 * time.Second
	maxHeader      = 16 << 10 // bytes
)

// httpServer is the HTTP server of a share.
type httpServer struct {
	sock   *net.TCPListener
	http   *http.Server
	counts *counts
}

func newHTTP(l *net.TCPListener, open func(string) (*file, error), counts *counts, log *slog.Logger) *httpServer {
	return &httpServer{sock: l, counts: counts, http: &http.Server{
		Handler:           handler{open: open, counts: counts, log: log},
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       requestTime,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          limit.StdLog(log, "HTTP server of boot files"),
	}}
}

func (s *httpServer) serve() {
	_ = s.http.Serve(&limitedListener{
		TCPListener: s.sock, counts: s.counts,
		conns: limit.Conns{Max: maxConns, MaxClient: maxClientConns, MinClient: maxClientConns, OnlyIdle: true},
	})
}

func (s *httpServer) refilter(f filter) error { return refilter(s.sock, f) }

func (s *httpServer) close() {
	_ = s.http.Close()
	_ = s.sock.Close() // which Serve may not have seen yet
}

// connKey is that of a request's connection.
type connKey struct{}

// A handler serves files to GET and HEAD, whole or in ranges (RFC 9110 §14).
type handler struct {
	open   func(string) (*file, error)
	counts *counts
	log    *slog.Logger
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.conns.SetBusy(c.Conn, true)
		defer c.conns.SetBusy(c.Conn, false)
	}
	defer func() {
		if v := recover(); v != nil {
			limit.Report(h.log, limit.BootHTTP, v, nil)
			panic(http.ErrAbortHandler) // it ends the connection, and is not logged
		}
	}()
	log := h.log.With("client", r.RemoteAddr, "file", limit.Text(r.URL.Path))
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.counts.add(Refused)
		http.Error(w, "the server is read-only", http.StatusMethodNotAllowed)
		return
	}
	f, err := h.open(r.URL.Path)
	if err != nil {
		h.counts.add(outcomeOf(err))
		log.Info("boot file not sent by HTTP", "err", cause(err))
		if errors.Is(err, fs.ErrNotExist) {
			http.Error(w, "no such file", http.StatusNotFound)
		} else {
			http.Error(w, "the file cannot be read", http.StatusForbidden)
		}
		return
	}
	defer f.Close()
	// Not derived from extension or content: for .efi and .ipxe it would be a guess.
	w.Header().Set("Content-Type", "application/octet-stream")
	start := time.Now()
	http.ServeContent(w, r, "", f.info.ModTime(), f)
	h.counts.add(Sent)
	level := slog.LevelInfo
	if r.Method != http.MethodGet || r.Header.Get("Range") != "" { // a loader may read a file in a thousand parts
		level = slog.LevelDebug
	}
	log.Log(r.Context(), level, "boot file sent by HTTP", "method", limit.Text(r.Method), "took", time.Since(start).Round(time.Millisecond))
}

// A limitedListener accepts connections within limits: one more closes the oldest that has no
// request. A client must receive what it is sent.
type limitedListener struct {
	*net.TCPListener
	counts *counts
	conns  limit.Conns
}

// Accept returns the next connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if l.conns.Add(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()) {
			return &conn{c, &l.conns}, nil
		}
		l.counts.add(Busy)
		_ = c.Close()
	}
}

// A conn is an accepted connection.
type conn struct {
	net.Conn
	conns *limit.Conns
}

// Write waits for the client for writeTime at most.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.conns.Remove(c.Conn)
	return c.Conn.Close()
}
