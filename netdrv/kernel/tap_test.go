package kernel_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv"
)

var tap0 = netdrv.Link{Network: "quiet", Name: "tap0", Kind: netdrv.KindTap, MAC: netdrv.MAC{0xfe, 0x54, 0, 0, 0, 1}, MTU: 1400, Owner: 4242, Queues: 2}

// A tap that is added stays, and one that is made is gone with its files; a tap of
// somebody else's is neither changed nor opened.
func TestTaps(t *testing.T) {
	h, ctx := newHost(t), context.Background()
	h.in(func() error { return h.k.Apply(ctx, netdrv.LinkAdd{Link: tap0}) })
	h.in(func() error { return h.k.Apply(ctx, netdrv.LinkAdd{Link: tap0}) })
	got := h.Run(t, "ip -d link show dev tap0")
	for _, want := range []string{"fe:54:00:00:00:01", "mtu 1400", "user 4242", "multi_queue", "persist on", "group 1986946420", "alias vnetd:quiet"} {
		if !strings.Contains(got, want) {
			t.Errorf("tap0 is %s, want %s in it", got, want)
		}
	}
	var files []*os.File
	open := func(f func(context.Context, netdrv.Link) ([]*os.File, error), l netdrv.Link) error {
		return h.Do(func() (err error) {
			files, err = f(ctx, l)
			return err
		})
	}
	made := func(ctx context.Context, l netdrv.Link) ([]*os.File, error) { return h.k.MakeTap(ctx, l, true) }
	if err := open(h.k.OpenTap, tap0); err != nil || len(files) != 2 {
		t.Errorf("open: %v, %d files", err, len(files))
	}
	closeAll(files)
	h.Run(t, "ip link show dev tap0")

	brief := tap0
	brief.Name = "tap1"
	if err := open(made, brief); err != nil || len(files) != 2 {
		t.Fatalf("make: %v, %d files", err, len(files))
	}
	h.Run(t, "ip link show dev tap1")
	closeAll(files)
	if out, err := h.Try(t.Context(), "ip link show dev tap1"); err == nil {
		t.Errorf("closed, and there: %s", out)
	}

	h.Run(t, "ip tuntap add tap2 mode tap vnet_hdr multi_queue")
	foreign := tap0
	foreign.Name = "tap2"
	add := func(_ context.Context, l netdrv.Link) ([]*os.File, error) {
		return nil, h.k.Apply(ctx, netdrv.LinkAdd{Link: l})
	}
	for what, f := range map[string]func(context.Context, netdrv.Link) ([]*os.File, error){"add": add, "open": h.k.OpenTap, "make": made} {
		if err := open(f, foreign); err == nil {
			t.Errorf("%s: a tap that is not ours was taken", what)
			closeAll(files)
		}
	}
	if got := h.Run(t, "ip -d link show dev tap2"); strings.Contains(got, "alias") || strings.Contains(got, "user") {
		t.Errorf("the foreign tap was changed: %s", got)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
