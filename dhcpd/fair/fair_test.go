package fair

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// A guest that fills the queue delays another by one message, and costs it none.
func TestQueueTakesTurns(t *testing.T) {
	var q Queue
	for i := range 10_000 {
		q.Add(Origin{Port: 1}, fmt.Append(nil, "flood", i))
	}
	if q.waiting != maxWaiting {
		t.Errorf("%d wait", q.waiting)
	}
	if !q.Add(Origin{Port: 2}, []byte("first")) || !q.Add(Origin{Port: 2}, []byte("second")) || q.waiting != maxWaiting {
		t.Errorf("another guest's messages were dropped; %d wait", q.waiting)
	}
	want := []string{"flood0", "first", "flood1", "second", "flood2", "flood3"}
	for _, w := range want {
		if _, got, ok := q.Next(); !ok || string(got) != w {
			t.Errorf("got %q, want %q", got, w)
		}
	}
	for q.waiting > 0 {
		q.Next()
	}
	if _, _, ok := q.Next(); ok || len(q.byPort) != 0 || len(q.order) != 0 || len(q.spare) > maxWaiting {
		t.Errorf("empty, and %d queues, %d in order, %d buffers", len(q.byPort), len(q.order), len(q.spare))
	}
}

// What Next returned stays as it is while the next one is taken in.
func TestQueueDoesNotOverwrite(t *testing.T) {
	var q Queue
	for i := range 100 {
		q.Add(Origin{Port: 1}, fmt.Append(nil, "message ", i))
		q.Add(Origin{Port: 1}, []byte("another"))
		for range 2 {
			_, got, _ := q.Next()
			was := string(got)
			q.Add(Origin{Port: 2}, []byte("overwritten?"))
			if string(got) != was {
				t.Fatalf("%q became %q", was, got)
			}
		}
		q.Next()
		q.Next()
	}
}

func TestQueueIsBounded(t *testing.T) {
	var q Queue
	if q.Add(Origin{Port: 1}, make([]byte, maxMessage+1)) {
		t.Error("a message that is too long waits")
	}
	for port := range Port(10_000) {
		q.Add(Origin{Port: port}, []byte("hello"))
	}
	if q.waiting != maxWaiting || len(q.byPort) != maxWaiting {
		t.Errorf("%d messages, %d queues", q.waiting, len(q.byPort))
	}
}

func TestLimiter(t *testing.T) {
	var l Limiter
	allowed := func(port Port, n int, at time.Time) (allowed int) {
		for range n {
			if l.Allow(Origin{Port: port}, at) {
				allowed++
			}
		}
		return allowed
	}
	if got := allowed(1, 5000, now); got != burst {
		t.Errorf("%d of a flood were allowed", got)
	}
	if got := allowed(2, 10, now); got != 10 {
		t.Errorf("another guest was allowed %d times", got)
	}
	if got := allowed(1, 5000, now.Add(time.Second)); got != rate {
		t.Errorf("%d a second later", got)
	}
	if got := allowed(1, 1, now.Add(-time.Hour)); got != 0 {
		t.Error("a clock that was set back gave tokens")
	}
	for range 100_000 { // exchanges: two messages each
		if allowed(3, 2, now) != 2 {
			t.Fatal("a client that completes its exchanges was not allowed")
		}
		l.Refund(Origin{Port: 3})
	}
	if allowed(Untracked, 5000, now) != 5000 {
		t.Error("a limit where ports are not known")
	}
	for port := range Port(3 * maxPorts) {
		l.Allow(Origin{Port: port + 10}, now)
	}
	if len(l.byPort) > maxPorts {
		t.Errorf("%d ports are remembered", len(l.byPort))
	}
}

// Behind a relay each circuit has limits of its own. A guest that invents circuits stays one
// port.
func TestCircuits(t *testing.T) {
	var q Queue
	const relay, liar, other Port = 1, 2, 3
	for i := range 5000 {
		q.Add(Origin{relay, 7}, fmt.Append(nil, "flood", i))
		q.Add(Origin{liar, Circuit(100 + i)}, fmt.Append(nil, "lie", i))
	}
	if !q.Add(Origin{relay, 8}, []byte("quiet")) || !q.Add(Origin{Port: other}, []byte("other")) || q.waiting != maxWaiting {
		t.Errorf("another's message was dropped; %d wait", q.waiting)
	}
	var got []string
	for range 7 {
		_, message, _ := q.Next()
		got = append(got, string(message))
	}
	if want := []string{"flood0", "lie0", "other", "quiet", "lie1", "flood1", "lie2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for q.waiting > 0 {
		q.Next()
	}
	if len(q.byPort) != 0 || len(q.order) != 0 {
		t.Errorf("empty, and %d queues", len(q.byPort))
	}

	var l Limiter
	allowed := func(o func(i int) Origin, n int) (allowed int) {
		for i := range n {
			if l.Allow(o(i), now) {
				allowed++
			}
		}
		return allowed
	}
	if got := allowed(func(int) Origin { return Origin{relay, 7} }, 100_000); got != burst {
		t.Errorf("%d of a circuit's flood were allowed", got)
	}
	if got := allowed(func(int) Origin { return Origin{relay, 8} }, 10); got != 10 {
		t.Errorf("another circuit was allowed %d times", got)
	}
	if got := allowed(func(i int) Origin { return Origin{liar, Circuit(100 + i)} }, 100_000); got != relayFactor*burst {
		t.Errorf("%d of a flood with invented circuits were allowed", got)
	}
	if got := len(l.byPort[liar].circuits); got > maxPorts {
		t.Errorf("%d circuits are remembered", got)
	}
	for range 100_000 {
		if allowed(func(int) Origin { return Origin{relay, 8} }, 2) != 2 {
			t.Fatal("a client that completes its exchanges was not allowed")
		}
		l.Refund(Origin{relay, 8})
	}
}
