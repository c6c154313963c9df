package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) portCommand() *cobra.Command {
	c := &cobra.Command{Use: "port", Short: "Show, make and remove guests' links"}
	c.AddCommand(t.portList(), t.portShow(), t.portCreate(), t.portDelete())
	return c
}

func portTable(ports []*vnetv1.Port) table {
	tb := table{heading: []string{"NETWORK", "LINK", "KIND", "MAC", "UPLINK", "ATTACHED", "RECEIVED", "SENT"}, name: 1}
	for _, p := range ports {
		attached := "no"
		if p.GetAttached() {
			attached = "yes"
		}
		tb.rows = append(tb.rows, []string{p.GetNetwork(), p.GetLink(), p.GetKind(), p.GetMac(), p.GetUplink(), attached, received(p.GetCounters()), sent(p.GetCounters())})
	}
	return tb
}

func (t *tool) portList() *cobra.Command {
	return &cobra.Command{
		Use: "list [NETWORK]", Aliases: []string{"ls"}, Short: "List guests' links", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeNetworks,
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{Network: first(args)})
			if err != nil {
				return err
			}
			return printList(t, resp.GetPorts(), portTable(resp.GetPorts()))
		}),
	}
}

func (t *tool) portShow() *cobra.Command {
	return &cobra.Command{
		Use: "show LINK", Short: "Print one guest's link", Args: cobra.ExactArgs(1),
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{})
			if err != nil {
				return err
			}
			for _, p := range resp.GetPorts() {
				if p.GetLink() == args[0] {
					return t.printMessage(p)
				}
			}
			return fmt.Errorf("port %s: %w; `vnetctl port list` has them", args[0], client.ErrNotFound)
		}),
	}
}

func (t *tool) portCreate() *cobra.Command {
	p := &vnetv1.Port{}
	c := &cobra.Command{
		Use: "create NETWORK", Short: "Make a macvtap for a guest of a network of mode direct, and print its name and device",
		Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeNetworks,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			p.Network = args[0]
			resp, err := c.CreatePort(ctx, &vnetv1.CreatePortRequest{Port: p})
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(resp.GetPort())
			}
			_, err = fmt.Fprintf(t.out, "%s /dev/tap%d %s\n", resp.GetPort().GetLink(), resp.GetPort().GetIndex(), resp.GetPort().GetMac())
			return err
		}),
	}
	c.Flags().StringVar(&p.Link, "link", "", "the link's name; picked if not given")
	c.Flags().StringVar(&p.Mac, "mac", "", "the guest's Ethernet address; picked if not given")
	c.Flags().StringVar(&p.Uplink, "uplink", "", "the uplink; the one with the fewest guests if not given")
	return c
}

func (t *tool) portDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete LINK...", Aliases: []string{"rm"}, Short: "Detach guests' links; remove those that vnetd made", Args: cobra.MinimumNArgs(1),
		RunE: t.each("port", "deleted", func(ctx context.Context, c *client.Client, link string) error {
			_, err := c.DeletePort(ctx, &vnetv1.DeletePortRequest{Link: link})
			return err
		}),
	}
}
