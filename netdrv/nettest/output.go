package nettest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// Patience is how long anything in a test may take that nobody gave another
// limit. It is for machines that crawl, not for measuring.
const Patience = 30 * time.Second

// An output collects what a process prints, and wakes those who wait for it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

// look returns what there is, and a channel that is closed when there is more.
func (o *output) look() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

func (o *output) String() string {
	text, _ := o.look()
	return text
}

// wait returns when ok is content with the text. When ctx or the process ends
// first, it says so.
func (o *output) wait(ctx context.Context, ended <-chan struct{}, ok func(string) bool) error {
	for {
		text, more := o.look()
		if ok(text) {
			return nil
		}
		select {
		case <-more:
			continue
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
		}
		if ok(o.String()) {
			return nil
		}
		return fmt.Errorf("the process ended")
	}
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, Patience)
}
