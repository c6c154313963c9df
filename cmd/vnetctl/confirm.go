package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// defaultConfirm is how long a change that moves the host's addresses has to
// prove that whoever asked for it can still be reached.
const defaultConfirm = time.Minute

func (t *tool) networkConfirm() *cobra.Command {
	return t.named(&cobra.Command{
		Use: "confirm NAME...", Short: "Keep a change that would be taken back by itself otherwise", Args: cobra.MinimumNArgs(1),
		RunE: t.each("network", "confirmed", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.ConfirmNetwork(ctx, &vnetv1.ConfirmNetworkRequest{Name: name})
			return err
		}),
	})
}

// confirmFlags are for commands that may move addresses of the host.
func (t *tool) confirmFlags(c *cobra.Command) {
	c.Flags().DurationVar(&t.confirmWithin, "confirm-within", defaultConfirm, "take the change back unless confirmed within this time, if it moves addresses of the host; 0 for no")
	c.Flags().BoolVar(&t.noConfirm, "no-confirm", false, "the same as --confirm-within 0")
}

// within is what the daemon is asked for; nil for no time to confirm in.
func (t *tool) within() *durationpb.Duration {
	if t.noConfirm || t.confirmWithin == 0 {
		return nil
	}
	return durationpb.New(t.confirmWithin)
}

// confirm asks at a terminal whether a change is to stay, and says elsewhere how
// that is said.
func (t *tool) confirm(ctx context.Context, c *client.Client, n *vnetv1.Network) error {
	by := n.GetStatus().GetConfirmBy()
	if by == nil {
		return nil
	}
	deadline := by.AsTime()
	if t.quiet || t.output != "table" || !terminal(t.in) {
		t.say("to keep it, say by %s: vnetctl network confirm %s", deadline.Local().Format(time.TimeOnly), n.GetName())
		return nil
	}
	t.say("press Enter within %s to keep it; it is taken back otherwise", time.Until(deadline).Round(time.Second))
	if err := enter(ctx, t.in, deadline); err != nil {
		return fmt.Errorf("network %s is not confirmed, and is taken back: %w", n.GetName(), err)
	}
	if _, err := c.ConfirmNetwork(ctx, &vnetv1.ConfirmNetworkRequest{Name: n.GetName()}); err != nil {
		return err
	}
	t.say("network %s confirmed", n.GetName())
	return nil
}

// enter waits for a line until the deadline.
func enter(ctx context.Context, in io.Reader, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	line := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(in).ReadString('\n')
		line <- err
	}()
	select {
	case err := <-line:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func terminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// sayWarnings prints what of a plan is a warning and no step.
func (t *tool) sayWarnings(plan []string) {
	for _, line := range plan {
		if w, ok := strings.CutPrefix(line, "# "); ok {
			t.say("warning: %s", w)
		}
	}
}
