package limit

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// written is where a test logs to.
type written struct {
	mu sync.Mutex
	bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(b)
}

func (w *written) lines(with string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range strings.Lines(w.String()) {
		if strings.Contains(l, with) {
			n++
		}
	}
	return n
}

func newLogger() (*slog.Logger, *written) {
	w := &written{}
	return Logger(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))), w
}

// A flood of one kind of one network costs no line of another kind or network, and
// its end is told although nothing more comes.
func TestLoggerLimitsEachKindAndNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w := newLogger()
		lab := log.With("network", "lab")
		inUse := func(log *slog.Logger, attrs ...any) { log.Warn("address in use", attrs...) }
		for i := range 5000 {
			inUse(lab, "try", i)
			lab.Info("lease")
		}
		inUse(log, "network", "other")
		lab.Warn("pool is full")
		if got := w.lines("address in use"); got != MaxWarnings+1 {
			t.Errorf("%d warnings, want %d and that of the other network", got, MaxWarnings)
		}
		if got := w.lines("msg=lease"); got != MaxInfos {
			t.Errorf("%d infos, want %d", got, MaxInfos)
		}
		before := w.Len()
		for i := range 5000 { // one kind, whatever the text is
			lab.Info("lease" + strings.Repeat("x", i%200))
		}
		if w.lines("leasex") > MaxInfos {
			t.Errorf("%d octets of messages with texts of their own", w.Len()-before)
		}
		if w.lines("pool is full") != 1 || w.lines("network=other") != 1 {
			t.Errorf("another kind or network was suppressed:\n%s", w)
		}
		time.Sleep(Window)
		synctest.Wait()
		if w.lines("try=4999 suppressed=4989") != 1 || w.lines("msg=lease network=lab suppressed=4899") != 1 {
			t.Errorf("what was suppressed is not told:\n%s", w)
		}
		time.Sleep(2 * Window)
		again := w.lines("try=again")
		for range 3 {
			inUse(lab, "try", "again")
		}
		if got := w.lines("try=again") - again; got != 3 {
			t.Errorf("%d of 3 after the flood", got)
		}
	})
}

// What a flood writes is bounded for as long as it lasts, and the memory too.
func TestLoggerDuringALongFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w := newLogger()
		data := make([]byte, 1<<16)
		for range 6000 { // ten minutes
			for range 50 {
				log.Error("bad", "data", data)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(Window)
		synctest.Wait()
		if got := w.lines("bad"); got > 61*(MaxWarnings+1) {
			t.Errorf("%d lines in ten minutes", got)
		}
		if w.Len() > 61*(MaxWarnings+1)*(2*maxFrame+200) {
			t.Errorf("%d octets", w.Len())
		}
		h := log.Handler().(*handler)
		for i := range 3 * maxKinds {
			log.Info(strings.Repeat("x", i%5000), "network", i)
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(h.kinds.all); n > maxKinds {
			t.Errorf("%d kinds are kept", n)
		}
	})
}

func TestLoggerShortensValues(t *testing.T) {
	log, w := newLogger()
	long := strings.Repeat("é\x1b[31m", 4000)
	log.With("with", long).Info("m", "s", long, "err", errors.New(long), "b", []byte(long), "list", []string{long}, "n", 7)
	if w.Len() > 5*maxValue+2*maxFrame || strings.ContainsRune(w.String(), '\x1b') || !strings.Contains(w.String(), "n=7") {
		t.Errorf("%d octets: %.2000s", w.Len(), w)
	}
	if Logger(log) != log {
		t.Error("a logger is limited twice")
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"web-1":                                "web-1",
		"büro":                                 "büro",
		"a\x00b\nc\x1b[2J\u202ed\u200be":       "a?b?c?[2J?d?e",
		"\xff\xfe":                             "??",
		strings.Repeat("x", MaxText):           strings.Repeat("x", MaxText),
		strings.Repeat("x", MaxText+1):         strings.Repeat("x", MaxText-3) + "…",
		strings.Repeat("é", 100):               strings.Repeat("é", 30) + "…",
		strings.Repeat("\x80", 1<<20):          strings.Repeat("?", MaxText-3-utf8.UTFMax) + "…",
		"x" + strings.Repeat("\U0001F600", 99): "x" + strings.Repeat("\U0001F600", 15) + "…",
	} {
		got := Text(in)
		if got != want || len(got) > MaxText || !utf8.ValidString(got) {
			t.Errorf("%.40q: got %q (%d), want %q", in, got, len(got), want)
		}
	}
}

// A panic is counted each time, and its stack logged once.
func TestRecover(t *testing.T) {
	log, w := newLogger()
	before := Panics()[DNS]
	for range 200 {
		func() {
			defer Recover(log, DNS, bytes.Repeat([]byte{0xab}, 1500))
			var none []int
			none[len(w.String())]++
		}()
	}
	if n := Panics()[DNS] - before; n != 200 {
		t.Errorf("%d panics were counted", n)
	}
	if n := w.lines("panic in dns"); n != MaxWarnings {
		t.Errorf("%d lines", n)
	}
	if n := w.lines("TestRecover.func1"); n != 1 {
		t.Errorf("%d stacks with the function that panicked:\n%s", n, w)
	}
	if w.Len() > maxStack*2+2*maxFrame+MaxWarnings*(2*maxData+maxPanic+200) {
		t.Errorf("%d octets", w.Len())
	}
}
