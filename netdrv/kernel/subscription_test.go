package kernel

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"
)

// A receive error opens the subscription again, after failures to open it too, and counts
// as lost notifications; an overflow keeps the socket.
func TestSubscriptionReopens(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn := func(answers ...error) *netlink.Conn {
		return nltest.Dial(func([]netlink.Message) ([]netlink.Message, error) {
			if len(answers) == 0 {
				return []netlink.Message{{Header: netlink.Header{Type: unix.RTM_NEWLINK}}}, nil
			}
			err := answers[0]
			answers = answers[1:]
			return nil, err
		})
	}
	opened := 0
	s := &subscription{log: slog.New(slog.DiscardHandler), conn: conn(unix.ENOBUFS, unix.EBADF), open: func() (*netlink.Conn, error) {
		if opened++; opened < 3 {
			return nil, unix.EMFILE
		}
		return conn(), nil
	}}
	var got []bool
	s.run(ctx, func(msgs []netlink.Message, lost bool) {
		if got = append(got, lost); len(msgs) > 0 {
			cancel()
		}
	})
	if want := []bool{true, true, false}; opened != 3 || len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("opened %d times, lost %v; want 3 times and %v", opened, got, want)
	}
}
