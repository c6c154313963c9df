// Package journal writes log records to systemd's journal by its native
// protocol, each attribute a field: `journalctl NETWORK=default`.
package journal

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
)

// OnStderr reports whether stderr is the journal's: then systemd started us,
// and fields can be sent in place of lines (systemd.exec(5), $JOURNAL_STREAM).
func OnStderr() bool {
	var st unix.Stat_t
	if err := unix.Fstat(2, &st); err != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino) && journal.Enabled()
}

// Handler is a slog.Handler that sends to the journal.
type Handler struct {
	level  slog.Leveler
	prefix string // of group names, with '_'
	fields map[string]string
	send   func(message string, p journal.Priority, fields map[string]string) error
}

// NewHandler returns a handler for records of at least level.
func NewHandler(level slog.Leveler) *Handler { return &Handler{level: level, send: journal.Send} }

// Enabled is part of slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle is part of slog.Handler. The message carries the attributes too, for
// those who read journalctl's short form.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	fields := make(map[string]string, len(h.fields)+r.NumAttrs())
	text := []string{r.Message}
	for k, v := range h.fields {
		fields[k] = v
	}
	r.Attrs(func(a slog.Attr) bool {
		add(fields, h.prefix, a)
		text = append(text, fmt.Sprintf("%s=%v", a.Key, a.Value))
		return true
	})
	return h.send(strings.Join(text, " "), priority(r.Level), fields)
}

// WithAttrs is part of slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.fields = make(map[string]string, len(h.fields)+len(attrs))
	for k, v := range h.fields {
		c.fields[k] = v
	}
	for _, a := range attrs {
		add(c.fields, h.prefix, a)
	}
	return &c
}

// WithGroup is part of slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix += fieldName(name) + "_"
	return &c
}

func add(fields map[string]string, prefix string, a slog.Attr) {
	fields[prefix+fieldName(a.Key)] = a.Value.Resolve().String()
}

// fieldName makes a journal field of a key: upper case, digits and '_', not
// starting with '_', which is the journal's own (systemd.journal-fields(7)).
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	if name == "" || name[0] == '_' || name[0] >= '0' && name[0] <= '9' {
		name = "X" + name
	}
	return name
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
