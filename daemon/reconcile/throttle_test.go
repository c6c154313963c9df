package reconcile

import (
	"testing"
	"time"
)

// What happens now and then is looked at at once, a storm for a share of the time.
func TestThrottle(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name                string
		took, every, during time.Duration // a notification comes so often, for so long
		first               time.Duration // until the first is looked at
		looks               int           // at most
	}{
		{"one that costs little", ms, time.Hour, time.Minute, settle, 1},
		{"a calm host", 10 * ms, time.Second, time.Minute, settle, 60},
		{"a storm, small host", 2 * ms, 0, time.Minute, settle, 1000 + 50 + 1},
		{"a storm, large host", 100 * ms, 0, time.Minute, settle, 62},
	} {
		var p throttle
		now := time.Unix(0, 0)
		if got := p.wait(now); got != c.first {
			t.Errorf("%s: the first waits for %s, want %s", c.name, got, c.first)
		}
		looks, spent := 0, time.Duration(0)
		for end := now.Add(c.during); now.Before(end); looks++ {
			now = now.Add(p.wait(now) + c.took)
			p.spend(c.took, now)
			spent += c.took
			now = now.Add(c.every)
		}
		if looks > c.looks {
			t.Errorf("%s: %d looks in %s, want at most %d", c.name, looks, c.during, c.looks)
		}
		// No look is put off for more than a second, so one that costs much takes a larger share.
		if limit := c.during/share + burst + c.took; spent > limit && c.took*share < longest {
			t.Errorf("%s: %s spent in %s, want at most %s", c.name, spent, c.during, limit)
		}
	}
}
