package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/vnetd/vnetd/daemon/service"
	"github.com/vnetd/vnetd/internal/limit"
)

// scrapeTime bounds one answer.
const scrapeTime = 10 * time.Second

// maxScrapes bounds how many are answered at once: each looks at all links.
const maxScrapes = 4

// maxConns bounds the connections; more wait in the listener's queue.
const maxConns = 32

// Serve answers GET /metrics on l until ctx ends. It does not authenticate: listen
// on an address that only Prometheus reaches.
func Serve(ctx context.Context, l net.Listener, s *service.Service, servers Servers, log *slog.Logger) error {
	turn := make(chan struct{}, maxScrapes)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		default:
			http.Error(w, "too many at once", http.StatusServiceUnavailable)
			return
		}
		answer(w, r, log, func(ctx context.Context) (string, error) { return Expose(ctx, s, servers) })
	})
	server := &http.Server{Handler: mux, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, MaxHeaderBytes: 8 << 10, ErrorLog: limit.StdLog(log, "HTTP server of metrics")}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request, log *slog.Logger, expose func(context.Context) (string, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTime)
	defer cancel()
	text, err := expose(ctx)
	if err != nil {
		log.Warn("metrics not served", "err", err)
		http.Error(w, "not now", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, text)
}
