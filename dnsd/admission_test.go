package dnsd

import (
	"testing"
	"time"
)

// Packets that come fast are waited for, until they come slowly; a client that
// waits for each answer never waits for others.
func TestCoalescing(t *testing.T) {
	var c coalescing
	now := time.Now()
	come := func(packets, each int, apart time.Duration) (waited int) {
		for range packets / each {
			now = now.Add(apart)
			if c.after(each, now) {
				waited++
			}
		}
		return waited
	}
	if n := come(1000, 1, 40*time.Microsecond); n > 0 {
		t.Errorf("one after the other: waited %d times", n)
	}
	if n := come(1000, 4, 100*time.Microsecond); n < 200 {
		t.Errorf("40 000 a second: waited %d times", n)
	}
	now = now.Add(time.Hour)
	if n := come(1000, 1, time.Millisecond); n > thick {
		t.Errorf("after a flood: waited %d times", n)
	}
}
