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

func leaseCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "lease", Short: "Show, wait for and release DHCP leases"}
	var req vnetv1.ListLeasesRequest
	list := listCommand(t, "list [NETWORK]", "List active leases", columns[*vnetv1.Lease]{
		heading: []string{"NETWORK", "ADDRESS", "MAC", "HOSTNAME", "EXPIRES"}, name: 1,
		row: func(l *vnetv1.Lease) []string {
			expires := "never"
			if ts := l.GetExpireTime(); ts != nil {
				expires = "in " + short(time.Until(ts.AsTime()))
			}
			return []string{l.GetNetwork(), l.GetAddress(), l.GetMac(), l.GetHostname(), expires}
		},
	}, func(ctx context.Context, c *client.Client, network string) ([]*vnetv1.Lease, error) {
		req.Network = network
		resp, err := c.ListLeases(ctx, &req)
		return resp.GetLeases(), err
	})
	list.Flags().StringVar(&req.Mac, "mac", "", "only leases of this MAC address")
	list.Flags().StringVar(&req.Hostname, "hostname", "", "only leases with this host name")
	list.Flags().StringVar(&req.Address, "address", "", "only this address, or addresses in this prefix")
	release := &cobra.Command{
		Use: "release NETWORK ADDRESS|MAC|NAME", Short: "Release the lease of an address, or all leases of a guest",
		Example: "  vnetctl lease release default web", ValidArgsFunction: t.complete(firstNetwork(nil)),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			addresses, err := leasedBy(ctx, c, args[0], args[1])
			if err != nil {
				return err
			}
			for _, a := range addresses {
				if _, err := c.ReleaseLease(ctx, &vnetv1.ReleaseLeaseRequest{Network: args[0], Address: a}); err != nil {
					return err
				}
				t.infof("lease of %s released", a)
			}
			return nil
		}),
	}
	c.AddCommand(list, leaseWait(t), release)
	return c
}

// leasedBy returns the leased addresses of a guest that is named by address, MAC or
// host name.
func leasedBy(ctx context.Context, c *client.Client, network, guest string) ([]string, error) {
	if _, err := netip.ParseAddr(guest); err == nil {
		return []string{guest}, nil
	}
	req := &vnetv1.ListLeasesRequest{Network: network, Hostname: guest}
	if _, err := net.ParseMAC(guest); err == nil {
		req = &vnetv1.ListLeasesRequest{Network: network, Mac: guest}
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
		return nil, fmt.Errorf("network %s has no lease of %s: %w", network, guest, client.ErrNotFound)
	}
	return all, nil
}

func leaseWait(t *tool) *cobra.Command {
	var network string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "wait NAME|MAC|ADDRESS", Short: "Wait until a guest has a lease and print its address; exit 4 on timeout",
		Example: "  vnetctl lease wait web --timeout 30s",
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			l, err := waitForLease(ctx, c, network, args[0])
			switch {
			case errors.Is(err, client.ErrTimeout) || errors.Is(ctx.Err(), context.DeadlineExceeded):
				return fmt.Errorf("no lease for %s within %s: %w", args[0], timeout, context.DeadlineExceeded)
			case err != nil:
				return err
			case t.output != "table":
				return t.printMessage(l)
			}
			_, err = fmt.Fprintln(t.out, l.GetAddress())
			return err
		}),
	}
	c.Flags().StringVar(&network, "network", "", "only leases of this network")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "time to wait")
	_ = c.RegisterFlagCompletionFunc("network", t.complete(networks))
	return c
}

func waitForLease(ctx context.Context, c *client.Client, network, guest string) (*vnetv1.Lease, error) {
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
			if l := e.GetLease(); strings.EqualFold(guest, l.GetHostname()) || strings.EqualFold(guest, l.GetMac()) || guest == l.GetAddress() {
				return l, nil
			}
		}
	}
}
