package limit

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// Window is the time over which messages of one kind and network are limited. More are
// counted, and the last of them is logged when the window ends, with suppressed=N.
const Window = 10 * time.Second

// Limits of messages of one kind and network in a Window, by level.
const (
	MaxWarnings = 10
	MaxInfos    = 100
	MaxDebugs   = 1000
)

const (
	maxValue = 1024 // octets of an attribute
	maxFrame = 1514 // octets of a packet, in hexadecimal twice as many
	maxKinds = 4096 // windows, before those that are over are deleted
)

var suppressed atomic.Uint64

// Suppressed returns how many messages were not logged since the process began.
func Suppressed() uint64 { return suppressed.Load() }

// Logger returns a logger that limits the rate of what l logs, for each call of the
// logger in the code (a kind of message, whatever its text is), level, and value of the
// attribute "network"; and the length of each attribute. Loggers derived from it by With
// share its limits.
func Logger(l *slog.Logger) *slog.Logger {
	if _, is := l.Handler().(*handler); is {
		return l
	}
	return slog.New(&handler{next: l.Handler(), kinds: &kinds{all: map[kind]*window{}}})
}

// StdLog returns a standard logger, as net/http wants one. What it writes is of one
// kind, at level debug.
func StdLog(l *slog.Logger, message string) *log.Logger {
	return log.New(stdWriter{l, message}, "", 0)
}

type stdWriter struct {
	log     *slog.Logger
	message string
}

func (w stdWriter) Write(b []byte) (int, error) {
	w.log.Debug(w.message, "err", string(bytes.TrimSpace(b)))
	return len(b), nil
}

// A handler passes on the records that are within limits.
type handler struct {
	next    slog.Handler
	kinds   *kinds
	network string // of With
	grouped bool
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	k := kind{r.PC, r.Level, h.network, ""}
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case h.grouped:
		case a.Key == networkKey:
			k.network = a.Value.String()
		case a.Key == componentKey: // of a panic
			k.component = a.Value.String()
		}
		return true
	})
	if h.kinds.suppress(k, h.next, r) {
		return nil
	}
	return h.next.Handle(ctx, bounded(r))
}

const networkKey, componentKey = "network", "component"

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	all := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		if a.Key == networkKey && !h.grouped {
			c.network = a.Value.String()
		}
		all[i] = boundedAttr(a)
	}
	c.next = h.next.WithAttrs(all)
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.grouped = h.next.WithGroup(name), true
	return &c
}

// bounded returns a record without long values.
func bounded(r slog.Record) slog.Record {
	out := slog.NewRecord(r.Time, r.Level, text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(boundedAttr(a))
		return true
	})
	return out
}

func boundedAttr(a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(text(v))
	case []byte:
		a.Value = slog.StringValue(hex.EncodeToString(v[:min(len(v), maxFrame)]))
	case error:
		a.Value = slog.StringValue(text(v.Error()))
	case fmt.Stringer, slog.LogValuer, bool, int64, uint64, float64, time.Duration, time.Time, stack:
	default: // a list, say
		a.Value = slog.StringValue(text(fmt.Sprint(v)))
	}
	return a
}

// text returns a string that may have lines, such as joined errors, as logs show it.
func text(s string) string { return replace(cut(s, maxValue), "\n\t") }

// A kind of messages has a limit of its own.
type kind struct {
	caller             uintptr
	level              slog.Level
	network, component string
}

// A window counts what was logged of a kind since it began.
type window struct {
	began      time.Time
	logged     int
	suppressed int
	last       slog.Record // suppressed
	next       slog.Handler
}

type kinds struct {
	mu  sync.Mutex
	all map[kind]*window
}

// suppress reports whether a record is over the limit of its kind, and then
// stores it for the end of the window.
func (ks *kinds) suppress(k kind, next slog.Handler, r slog.Record) bool {
	now := time.Now()
	ks.mu.Lock()
	defer ks.mu.Unlock()
	w := ks.all[k]
	if w == nil {
		if len(ks.all) >= maxKinds {
			maps.DeleteFunc(ks.all, func(_ kind, w *window) bool { return w.suppressed == 0 && now.Sub(w.began) >= Window })
		}
		w = &window{}
		ks.all[k] = w
	}
	if w.suppressed == 0 && now.Sub(w.began) >= Window {
		*w = window{began: now}
	}
	limit := MaxDebugs
	switch {
	case r.Level >= slog.LevelWarn:
		limit = MaxWarnings
	case r.Level >= slog.LevelInfo:
		limit = MaxInfos
	}
	if w.logged < limit {
		w.logged++
		return false
	}
	if w.suppressed == 0 {
		time.AfterFunc(w.began.Add(Window).Sub(now), func() { // the next window begins with the last record
			ks.mu.Lock()
			r, next, n := bounded(w.last), w.next, w.suppressed-1
			*w = window{began: time.Now(), logged: 1}
			ks.mu.Unlock()
			suppressed.Add(^uint64(0))
			r.AddAttrs(slog.Int("suppressed", n))
			_ = next.Handle(context.Background(), r)
		})
	}
	suppressed.Add(1)
	w.suppressed++
	w.last, w.next = r.Clone(), next
	return true
}

// MaxText is the most octets of a guest-supplied string that are shown.
const MaxText = 64

// Text returns a guest-supplied string as logs and events show it: at most
// MaxText octets of valid UTF-8 without control or formatting characters.
func Text(s string) string { return replace(cut(s, MaxText), "") }

const ellipsis = "…"

// cut returns at most so many octets of a string, in whole runes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most - len(ellipsis)
	for end > most-len(ellipsis)-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// replace replaces characters that are not printable and not in keep with question marks.
func replace(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) && !strings.ContainsRune(keep, r) {
			return '?'
		}
		return r
	}, s)
}
