package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) forwardCommand() *cobra.Command {
	c := &cobra.Command{Use: "forward", Short: "Publish ports of guests on the host"}
	c.AddCommand(t.forwardList(), t.forwardAdd(), t.forwardDelete())
	return c
}

func forwardTable(forwards []*vnetv1.PublishedForward) table {
	tb := table{heading: []string{"NETWORK", "LISTEN", "ADDRESS", "TO", "STATE", "TARGETS", "MAC", "REASON"}, name: 1}
	for _, p := range forwards {
		f := p.GetForward()
		address := f.GetAddress()
		if address == "" {
			address = "all"
		}
		tb.rows = append(tb.rows, []string{
			p.GetNetwork(), f.GetListen(), address, f.GetTo(), definition.Word(p.GetState()), strings.Join(p.GetTargets(), " "),
			strings.Join(slices.Compact(slices.Clone(p.GetTargetMacs())), " "), p.GetReason(),
		})
	}
	return tb
}

func (t *tool) forwardList() *cobra.Command {
	return &cobra.Command{
		Use: "list [NETWORK]", Aliases: []string{"ls"}, Short: "List published ports, and where they lead",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: t.completeFirst,
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.ListForwards(ctx, &vnetv1.ListForwardsRequest{Network: first(args)})
			if err != nil {
				return err
			}
			return printList(t, resp.GetForwards(), forwardTable(resp.GetForwards()))
		}),
	}
}

func (t *tool) forwardAdd() *cobra.Command {
	var address string
	var from []string
	var allow bool
	c := &cobra.Command{
		Use: "add NETWORK PROTOCOL/PORTS GUEST[:PORTS]", Short: "Publish ports of a guest",
		Long: `Publish ports of a guest on the host. PROTOCOL is tcp, udp or sctp. GUEST is the name of a port, a reservation or a
record (its address is followed as it changes) or an address. A name that a guest chose itself needs --allow-dhcp-name. The guest's ports are the host's unless given.`,
		Example: `  vnetctl forward add default tcp/8080 web:80
  vnetctl forward add default udp/5000-5010 phone
  vnetctl forward add default tcp/22 web --from 192.0.2.0/24 --from 2001:db8::/32
  vnetctl forward add default tcp/443 [fd00:20::10]:8443 --address 2001:db8::2`,
		Args: words(3), ValidArgsFunction: t.completeFirst,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			f := &vnetv1.Forward{Listen: args[1], To: args[2], Address: address, From: from, AllowDhcpName: allow}
			_, err := c.AddForward(ctx, &vnetv1.AddForwardRequest{Network: args[0], Forward: f})
			if err == nil {
				t.say("forward %s to %s added", f.GetListen(), f.GetTo())
			}
			return err
		}),
	}
	c.Flags().StringVar(&address, "address", "", "the host's address (default all of them)")
	c.Flags().BoolVar(&allow, "allow-dhcp-name", false, "publish also to a guest that chose the name itself, its DHCP host name")
	c.Flags().StringArrayVar(&from, "from", nil, "an address or prefix that may call; several times for several (default everybody)")
	return c
}

func (t *tool) forwardDelete() *cobra.Command {
	var address string
	c := &cobra.Command{
		Use: "delete NETWORK PROTOCOL/PORTS", Aliases: []string{"rm"}, Short: "Publish ports no more",
		Args: words(2), ValidArgsFunction: t.completeForwards,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.DeleteForward(ctx, &vnetv1.DeleteForwardRequest{Network: args[0], Listen: args[1], Address: address})
			for _, f := range resp.GetForwards() {
				t.say("forward %s to %s deleted", f.GetListen(), f.GetTo())
			}
			return err
		}),
	}
	c.Flags().StringVar(&address, "address", "", "the one on this address of the host only")
	return c
}

// completeForwards proposes a network, and then the ports that it publishes.
func (t *tool) completeForwards(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return t.completeFirst(cmd, args, word)
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	c, err := t.dialToRead()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	resp, err := c.ListForwards(ctx, &vnetv1.ListForwardsRequest{Network: args[0]})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, f := range resp.GetForwards() {
		out = append(out, f.GetForward().GetListen())
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
