package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) portCommand() *cobra.Command {
	c := &cobra.Command{Use: "port", Short: "Show, make and remove guests' links"}
	c.AddCommand(t.portList(), t.portShow(), t.portCreate(), t.portSet(), t.portDelete())
	return c
}

func portTable(ports []*vnetv1.Port) table {
	tb := table{heading: []string{"NETWORK", "LINK", "KIND", "MAC", "GUEST", "ADDRESSES", "UPLINK", "ATTACHED", "RECEIVED", "SENT"}, name: 1}
	for _, p := range ports {
		attached := "no"
		if p.GetAttached() {
			attached = "yes"
		}
		tb.rows = append(tb.rows, []string{
			p.GetNetwork(), p.GetLink(), p.GetKind(), p.GetMac(), p.GetGuest(), strings.Join(p.GetAddresses(), " "), p.GetUplink(), attached,
			received(p.GetCounters()), sent(p.GetCounters()),
		})
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
			p, err := t.port(ctx, c, args[0])
			if err != nil {
				return err
			}
			return t.printMessage(p)
		}),
	}
}

// port is one port by its link.
func (t *tool) port(ctx context.Context, c *client.Client, link string) (*vnetv1.Port, error) {
	resp, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{})
	if err != nil {
		return nil, err
	}
	for _, p := range resp.GetPorts() {
		if p.GetLink() == link {
			return p, nil
		}
	}
	return nil, fmt.Errorf("port %s: %w; `vnetctl port list` has them", link, client.ErrNotFound)
}

func (t *tool) portCreate() *cobra.Command {
	p, file, more := &vnetv1.Port{}, "", []string{}
	filter := portFilter{}
	c := &cobra.Command{
		Use: "create (NETWORK | -f FILE)", Short: "Declare a port, and print its tap or macvtap and the guest's Ethernet address",
		Long: `Declare a port: a tap in the network's bridge, or in mode direct a macvtap on its uplink. It is made again when it
vanishes and after a reboot, and what --guest and --address say is reserved in DHCP and answered by DNS.`,
		Example: `  vnetctl port create default --guest web --address 192.168.122.10 --owner alice
  vnetctl port create lan --mac 52:54:00:00:00:07
  vnetctl port create default --guest web --filter-preset clean-traffic --in drop --rule "in accept tcp/80,443" --rule "in accept icmp from @office"
  echo '{network: default, guest: web, addresses: [192.168.122.10]}' | vnetctl port create -f -`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: t.completeNetworks,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			if (len(args) == 1) == (file != "") {
				return errors.New("name a network, or give a definition with -f")
			}
			if p.Network = first(args); file != "" {
				if err := t.readPort(file, p); err != nil {
					return err
				}
			}
			if _, err := setFields(p, more); err != nil {
				return err
			}
			if err := filter.into(p); err != nil {
				return err
			}
			resp, err := c.CreatePort(ctx, &vnetv1.CreatePortRequest{Port: p})
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(resp.GetPort())
			}
			return t.printPort(resp.GetPort())
		}),
	}
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "a port in YAML or JSON, as port show prints it; - for standard input")
	f.StringVar(&p.Guest, "guest", "", "the guest's name, for DHCP and DNS")
	f.StringVar(&p.Mac, "mac", "", "the guest's Ethernet address; picked if not given")
	f.StringArrayVar(&p.Addresses, "address", nil, "an address of the guest, reserved in DHCP; several times for several")
	f.StringVar(&p.Link, "link", "", "the link's name; picked if not given")
	f.StringVar(&p.Owner, "owner", "", "who may open the tap without being root: a user's name or number")
	f.Uint32Var(&p.Queues, "queues", 0, "queues of a multi-queue tap (default 1)")
	filter.flags(f)
	f.StringVar(&p.Uplink, "uplink", "", "a macvtap's uplink; the one with the fewest guests if not given")
	f.StringArrayVar(&more, "set", nil, "any field, as KEY=VALUE: bandwidth.in.average=20mbit; several times for several")
	return c
}

func (t *tool) portSet() *cobra.Command {
	return &cobra.Command{
		Use: "set LINK KEY=VALUE...", Short: "Change a declared port, live: bandwidth.in.average=20mbit guest=web",
		Args: cobra.MinimumNArgs(2),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			p, err := t.port(ctx, c, args[0])
			if err != nil {
				return err
			}
			fields, err := setFields(p, args[1:])
			if err != nil {
				return err
			}
			resp, err := c.UpdatePort(ctx, &vnetv1.UpdatePortRequest{Port: p, Fields: fields})
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(resp.GetPort())
			}
			t.say("port %s %s", args[0], map[bool]string{true: "changed", false: "unchanged"}[resp.GetChanged()])
			return nil
		}),
	}
}

// setFields sets fields by words KEY=VALUE, and returns which of the message's they
// were in.
func setFields(m proto.Message, words []string) (fields []string, err error) {
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY=VALUE", word)
		}
		if err := definition.Set(m, key, value); err != nil {
			return nil, err
		}
		field, _, _ := strings.Cut(key, ".")
		field, _, _ = strings.Cut(field, "[")
		fields = append(fields, field)
	}
	return fields, nil
}

// readPort reads a port's definition.
func (t *tool) readPort(file string, p *vnetv1.Port) error {
	b, err := t.content(file)
	if err != nil {
		return err
	}
	return definition.Unmarshal(file, b, p)
}

// printPort prints what a hypervisor is to be told: the tap, or the macvtap with its
// device, and the MAC.
func (t *tool) printPort(p *vnetv1.Port) error {
	words := []any{p.GetLink()}
	if p.GetKind() == "macvtap" {
		words = append(words, fmt.Sprintf("/dev/tap%d", p.GetIndex()))
	}
	_, err := fmt.Fprintln(t.out, append(words, p.GetMac())...)
	return err
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
