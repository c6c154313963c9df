package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func forwardCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "forward", Short: "Publish ports of guests on the host"}
	list := func(ctx context.Context, c *client.Client, network string) ([]*vnetv1.PublishedForward, error) {
		resp, err := c.ListForwards(ctx, &vnetv1.ListForwardsRequest{Network: network})
		return resp.GetForwards(), err
	}
	var from string
	remove := &cobra.Command{
		Use: "delete NETWORK PROTOCOL/PORTS", Aliases: []string{"rm"}, Short: "Remove a published port",
		Example: "  vnetctl forward delete default tcp/8080",
		ValidArgsFunction: t.complete(firstNetwork(func(ctx context.Context, c *client.Client, args []string) (ports []string) {
			forwards, _ := list(ctx, c, args[0])
			for _, f := range forwards {
				ports = append(ports, f.GetForward().GetListen())
			}
			return ports
		})),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.DeleteForward(ctx, &vnetv1.DeleteForwardRequest{Network: args[0], Listen: args[1], Address: from})
			for _, f := range resp.GetForwards() {
				t.infof("forward %s to %s deleted", f.GetListen(), f.GetTo())
			}
			return err
		}),
	}
	remove.Flags().StringVar(&from, "address", "", "only the forward on this address of the host")
	c.AddCommand(forwardAdd(t), remove, listCommand(t, "list [NETWORK]", "List published ports and their targets", columns[*vnetv1.PublishedForward]{
		heading: []string{"NETWORK", "LISTEN", "ADDRESS", "TO", "STATE", "TARGETS", "MAC", "REASON"}, name: 1,
		row: func(p *vnetv1.PublishedForward) []string {
			f := p.GetForward()
			return []string{
				p.GetNetwork(), f.GetListen(), cmp.Or(f.GetAddress(), "all"), f.GetTo(), definition.Word(p.GetState()), strings.Join(p.GetTargets(), " "),
				strings.Join(slices.Compact(slices.Clone(p.GetTargetMacs())), " "), p.GetReason(),
			}
		},
	}, list))
	return c
}

func forwardAdd(t *tool) *cobra.Command {
	f := &vnetv1.Forward{}
	c := &cobra.Command{
		Use: "add NETWORK PROTOCOL/PORTS GUEST[:PORTS]", Short: "Publish ports of a guest",
		Long: `Publish ports of a guest on the host. PROTOCOL is tcp, udp or sctp. GUEST is an address, or the name of a port, a
reservation or a record, which is resolved again when its address changes. A name that a guest chose itself needs
--allow-dhcp-name. The guest's ports are the host's unless given.`,
		Example: `  vnetctl forward add default tcp/8080 web:80
  vnetctl forward add default udp/5000-5010 phone
  vnetctl forward add default tcp/22 web --from 192.0.2.0/24 --from 2001:db8::/32
  vnetctl forward add default tcp/443 '[fd00:20::10]:8443' --address 2001:db8::2`,
		ValidArgsFunction: t.complete(firstNetwork(nil)),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			f.Listen, f.To = args[1], args[2]
			_, err := c.AddForward(ctx, &vnetv1.AddForwardRequest{Network: args[0], Forward: f})
			if err == nil {
				t.infof("forward %s to %s added", f.GetListen(), f.GetTo())
			}
			return err
		}),
	}
	c.Flags().StringVar(&f.Address, "address", "", "address of the host to listen on (default all)")
	c.Flags().BoolVar(&f.AllowDhcpName, "allow-dhcp-name", false, "accept a name that the guest chose itself (DHCP host name)")
	c.Flags().StringArrayVar(&f.From, "from", nil, "allowed source address or prefix (repeatable; default all)")
	return c
}
