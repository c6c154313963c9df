package tapbroker

import (
	"testing"
	"time"
)

func TestAllowances(t *testing.T) {
	var a allowances
	now := time.Unix(1_000_000, 0)
	takes := func(uid uint32, times int) (got int) {
		for range times {
			if a.take(uid, now) {
				got++
			}
		}
		return got
	}
	if got := takes(1000, 500); got != userBurst {
		t.Errorf("a user asks %d times at once, want %d", got, userBurst)
	}
	if got := takes(1001, 1); got != 1 {
		t.Error("another user waits for him")
	}
	if now = now.Add(3 * time.Second); takes(1000, 500) != 3*userRate {
		t.Errorf("after three seconds not %d more", 3*userRate)
	}
	now = now.Add(-time.Hour) // a clock that was set back
	if got := takes(1000, 1); got != 0 {
		t.Error("time that goes back brings something")
	}
	now = now.Add(2 * time.Hour)
	all := 0
	for uid := range uint32(100) {
		all += takes(2000+uid, 10)
	}
	if all != totalBurst {
		t.Errorf("a hundred users ask %d times at once, want %d", all, totalBurst)
	}
	now = now.Add(time.Hour)
	for uid := range uint32(5 * maxKnownUsers) {
		now = now.Add(time.Second)
		a.take(uid, now)
	}
	if len(a.users) > maxKnownUsers {
		t.Errorf("%d users are kept", len(a.users))
	}
}
