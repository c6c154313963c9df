package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// confirmFlags adds the flags of commands that may move addresses of the host.
func (t *tool) confirmFlags(c *cobra.Command) {
	c.Flags().DurationVar(&t.confirmWithin, "confirm-within", time.Minute, "roll back unless confirmed within this time (only for changes that move host addresses; 0 disables)")
	c.Flags().BoolVar(&t.noConfirm, "no-confirm", false, "same as --confirm-within 0")
}

// rollbackAfter returns the time that --confirm-within asks for; nil disables roll-back.
func (t *tool) rollbackAfter() *durationpb.Duration {
	if t.noConfirm || t.confirmWithin == 0 {
		return nil
	}
	return durationpb.New(t.confirmWithin)
}

// confirm asks at a terminal to confirm a pending change, and prints the command that
// confirms it elsewhere.
func (t *tool) confirm(ctx context.Context, c *client.Client, n *vnetv1.Network) error {
	by := n.GetStatus().GetConfirmBy()
	if by == nil {
		return nil
	}
	deadline := by.AsTime()
	in, terminal := t.in.(*os.File)
	if terminal {
		_, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
		terminal = err == nil
	}
	if t.quiet || t.output != "table" || !terminal {
		t.infof("confirm by %s: vnetctl network confirm %s", deadline.Local().Format(time.TimeOnly), n.GetName())
		return nil
	}
	t.infof("press Enter within %s to confirm, or the change is rolled back", time.Until(deadline).Round(time.Second))
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	enter := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(in).ReadString('\n')
		enter <- err
	}()
	var err error
	select {
	case err = <-enter:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("network %s: change not confirmed; it is rolled back: %w", n.GetName(), err)
	}
	if _, err := c.ConfirmNetwork(ctx, &vnetv1.ConfirmNetworkRequest{Name: n.GetName()}); err != nil {
		return err
	}
	t.infof("network %s confirmed", n.GetName())
	return nil
}
