package peer

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func testBudget(limits Limits) *budget {
	return &budget{limits: limits, users: map[uint32]*usage{}}
}

// No number of unprivileged users takes the connections of administrators, and no user
// those of another.
func TestConnectionsPerUser(t *testing.T) {
	b := testBudget(Limits{Conns: 4, UserConns: 2})
	alice, bob, carol, root := Peer{UID: 1}, Peer{UID: 2}, Peer{UID: 3}, Peer{Admin: true}
	for _, step := range []struct {
		who  Peer
		want bool
	}{{alice, true}, {alice, true}, {alice, false}, {bob, true}, {bob, true}, {carol, false}, {root, true}, {root, true}, {root, true}, {root, true}, {root, false}} {
		if got := b.enter(step.who) == ""; got != step.want {
			t.Errorf("%+v: admitted %v, want %v", step.who, got, step.want)
		}
	}
	b.leave(bob, 0)
	if why := b.enter(carol); why != "" {
		t.Errorf("after another has left: %s", why)
	}
}

// A user that has used up its burst waits until its share of the time covers it, and
// leaves something to others.
func TestDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBudget(Limits{})
		b.spend(1, burst)
		if d := b.debt(1); d != 0 {
			t.Errorf("the burst costs %s of waiting", d)
		}
		b.spend(1, time.Second)
		if d := b.debt(1); d != 20*time.Second {
			t.Errorf("one second beyond the burst costs %s of waiting, want 20s", d)
		}
		if d := b.debt(2); d > 5*time.Second {
			t.Errorf("another user waits %s", d)
		}
		time.Sleep(20 * time.Second)
		if d := b.debt(1); d != 0 {
			t.Errorf("and after that %s", d)
		}
	})
}

// A user has one call carried out at a time, and none while it leaves responses unread;
// what a closed connection has left unread is not counted any more.
func TestCallsInTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	ul, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ul.Close()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	l := Listen(ul, "", Limits{Conns: 1, UserConns: 1})
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*Conn)
	l.budget.leave(c.Peer, 0)
	c.Peer.Admin, c.Peer.UID = false, 4242 // the test runs as the daemon's own user
	l.budget.enter(c.Peer)
	soon := func() (func(time.Duration, int), error) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return c.BeginCall(ctx)
	}
	end, err := soon()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := soon(); err == nil {
		t.Error("two calls of a user run at a time")
	}
	end(0, maxUnread+1)
	if _, err := soon(); err == nil {
		t.Error("a call runs while a large response is unread")
	}
	if _, err := c.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if end, err = soon(); err != nil {
		t.Errorf("after it was written: %v", err)
	}
	c.Close()
	end(0, 100)
	if u := l.budget.all; u.unread != 0 || u.conns != 0 || u.calls != 0 {
		t.Errorf("a closed connection leaves %+v", u)
	}
}
