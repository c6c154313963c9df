package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	var req vnetv1.ListLeasesRequest
	c := &cobra.Command{
		Use: "list [NETWORK]", Aliases: []string{"ls"}, Short: "List leases in force", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeNetworks,
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			req.Network = first(args)
			resp, err := c.ListLeases(ctx, &req)
			if err != nil {
				return err
			}
			return printList(t, resp.GetLeases(), leaseTable(resp.GetLeases()))
		}),
	}
	c.Flags().StringVar(&req.Mac, "mac", "", "only those of this guest")
	c.Flags().StringVar(&req.Hostname, "hostname", "", "only those of the guest that is called so")
	c.Flags().StringVar(&req.Address, "address", "", "only this address, or those in this prefix")
	return c
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (t *tool) leaseRelease() *cobra.Command {
	return &cobra.Command{
		Use: "release NETWORK ADDRESS|MAC|NAME", Short: "End a guest's leases, or that of an address, at once", Args: cobra.ExactArgs(2),
		ValidArgsFunction: t.completeNetworks,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			addresses, err := leasedBy(ctx, c, args[0], args[1])
			if err != nil {
				return err
			}
			for _, a := range addresses {
				if _, err := c.ReleaseLease(ctx, &vnetv1.ReleaseLeaseRequest{Network: args[0], Address: a}); err != nil {
					return err
				}
				t.say("lease of %s released", a)
			}
			return nil
		}),
	}
}

// leasedBy returns the addresses that somebody means: an address itself, or those
// that a guest has.
func leasedBy(ctx context.Context, c *client.Client, network, who string) ([]string, error) {
	if _, err := netip.ParseAddr(who); err == nil {
		return []string{who}, nil
	}
	req := &vnetv1.ListLeasesRequest{Network: network, Hostname: who}
	if _, err := net.ParseMAC(who); err == nil {
		req = &vnetv1.ListLeasesRequest{Network: network, Mac: who}
	}
	resp, err := c.ListLeases(ctx, req)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range resp.GetLeases() {
		all = append(all, l.GetAddress())
	}
	if all == nil {
		return nil, fmt.Errorf("network %s has no lease of %s: %w", network, who, client.ErrNotFound)
	}
	return all, nil
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
