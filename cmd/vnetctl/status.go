package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "See how vnetd is", Args: cobra.NoArgs,
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			s, err := c.GetStatus(ctx, &vnetv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(s)
			}
			fmt.Fprintf(t.out, "vnetd      %s, up %s\n", s.GetVersion(), short(time.Since(s.GetStartTime().AsTime())))
			fmt.Fprintf(t.out, "networks   %d ready, %d degraded, %d stopped\n", s.GetNetworksReady(), s.GetNetworksDegraded(), s.GetNetworksStopped())
			fmt.Fprintf(t.out, "leases     %d\n", s.GetLeases())
			fmt.Fprintf(t.out, "state      %s\n", s.GetStateDir())
			for _, p := range s.GetProblems() {
				fmt.Fprintf(t.out, "problem    %s\n", p)
			}
			return nil
		}),
	}
}
