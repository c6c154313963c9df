package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) leaseCommand() *cobra.Command {
	c := &cobra.Command{Use: "lease", Short: "Show, await and end DHCP leases"}
	c.AddCommand(t.leaseList(), t.leaseWait(), t.leaseRelease())
	return c
}

func leaseTable(leases []*vnetv1.Lease) table {
	tb := table{heading: []string{"NETWORK", "ADDRESS", "MAC", "HOSTNAME", "EXPIRES"}, name: 1}
	now := time.Now()
	for _, l := range leases {
		tb.rows = append(tb.rows, []string{l.GetNetwork(), l.GetAddress(), l.GetMac(), l.GetHostname(), until(l.GetExpireTime(), now)})
	}
	return tb
}

func (t *tool) leaseList() *cobra.Command {
	return &cobra.Command{
		Use: "list [NETWORK]", Aliases: []string{"ls"}, Short: "List leases in force", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeNetworks,
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.ListLeases(ctx, &vnetv1.ListLeasesRequest{Network: first(args)})
			if err != nil {
				return err
			}
			return printList(t, resp.GetLeases(), leaseTable(resp.GetLeases()))
		}),
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (t *tool) leaseRelease() *cobra.Command {
	return &cobra.Command{
		Use: "release NETWORK ADDRESS", Short: "End a lease at once", Args: cobra.ExactArgs(2),
		ValidArgsFunction: t.completeNetworks,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			_, err := c.ReleaseLease(ctx, &vnetv1.ReleaseLeaseRequest{Network: args[0], Address: args[1]})
			if err == nil {
				t.say("lease of %s released", args[1])
			}
			return err
		}),
	}
}

func (t *tool) leaseWait() *cobra.Command {
	var network string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "wait NAME|MAC|ADDRESS", Short: "Wait until a guest has a lease, and print its address; exit 4 if it takes too long",
		Args: cobra.ExactArgs(1),
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			l, err := awaitLease(ctx, c, network, args[0])
			if errors.Is(err, client.ErrTimeout) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no lease for %s within %s: %w", args[0], timeout, context.DeadlineExceeded)
			}
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(l)
			}
			_, err = fmt.Fprintln(t.out, l.GetAddress())
			return err
		}),
	}
	c.Flags().StringVar(&network, "network", "", "only leases of this network")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	_ = c.RegisterFlagCompletionFunc("network", t.completeNetworks)
	return c
}

func awaitLease(ctx context.Context, c *client.Client, network, who string) (*vnetv1.Lease, error) {
	stream, err := c.Watch(ctx, &vnetv1.WatchRequest{Network: network})
	if err != nil {
		return nil, err
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		switch e.GetType() {
		case vnetv1.EventType_EVENT_TYPE_LEASE_PRESENT, vnetv1.EventType_EVENT_TYPE_LEASE_BOUND, vnetv1.EventType_EVENT_TYPE_LEASE_RENEWED:
			if l := e.GetLease(); strings.EqualFold(who, l.GetHostname()) || strings.EqualFold(who, l.GetMac()) || who == l.GetAddress() {
				return l, nil
			}
		}
	}
}
