package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func portCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "port", Short: "Show, create, change and delete guest interfaces"}
	list := func(ctx context.Context, c *client.Client, network string) ([]*vnetv1.Port, error) {
		resp, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{Network: network})
		return resp.GetPorts(), err
	}
	c.AddCommand(
		listCommand(t, "list [NETWORK]", "List ports", columns[*vnetv1.Port]{
			heading: []string{"NETWORK", "LINK", "KIND", "MAC", "GUEST", "ADDRESSES", "UPLINK", "ATTACHED", "RECEIVED", "SENT"}, name: 1,
			row: func(p *vnetv1.Port) []string {
				received, sent := volume(p.GetCounters())
				return []string{
					p.GetNetwork(), p.GetLink(), p.GetKind(), p.GetMac(), p.GetGuest(), strings.Join(p.GetAddresses(), " "), p.GetUplink(),
					yesNo(p.GetAttached()), received, sent,
				}
			},
		}, list),
		&cobra.Command{
			Use: "show LINK", Short: "Print a port", Example: "  vnetctl port show vnet0",
			RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
				p, err := getPort(ctx, c, args[0])
				if err != nil {
					return err
				}
				return t.printMessage(p)
			}),
		},
		portCreate(t), portSet(t),
		t.each(&cobra.Command{
			Use: "delete LINK...", Aliases: []string{"rm"}, Short: "Delete declared ports; detach those of other programs", Example: "  vnetctl port delete vnet0",
		}, "port", "deleted", func(ctx context.Context, c *client.Client, link string) error {
			_, err := c.DeletePort(ctx, &vnetv1.DeletePortRequest{Link: link})
			return err
		}),
	)
	return c
}

// getPort returns a port by its link.
func getPort(ctx context.Context, c *client.Client, link string) (*vnetv1.Port, error) {
	resp, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(resp.GetPorts(), func(p *vnetv1.Port) bool { return p.GetLink() == link })
	if i < 0 {
		return nil, fmt.Errorf("port %s: %w; see `vnetctl port list`", link, client.ErrNotFound)
	}
	return resp.GetPorts()[i], nil
}

func portCreate(t *tool) *cobra.Command {
	p, file, set, rules := &vnetv1.Port{}, "", []string{}, []string{}
	filter := &vnetv1.Filter{}
	c := &cobra.Command{
		Use: "create (NETWORK | -f FILE)", Short: "Create a port, and print its tap or macvtap and the guest's MAC address",
		Long: `Create a port: a tap on the network's bridge, or in mode direct a macvtap on its uplink. It is created again when it
is removed and after a reboot. --guest and --address become a DHCP reservation and a DNS name.`,
		Example: `  vnetctl port create default --guest web --address 192.168.122.10 --owner alice
  vnetctl port create lan --mac 52:54:00:00:00:07
  vnetctl port create default --guest web --filter-preset clean-traffic --in drop --rule "in accept tcp/80,443" --rule "in accept icmp from @office"
  echo '{network: default, guest: web, addresses: [192.168.122.10]}' | vnetctl port create -f -`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: t.complete(firstNetwork(nil)),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			if (len(args) == 1) == (file != "") {
				return errors.New("port create: specify either NETWORK or -f FILE")
			}
			if p.Network = first(args); file != "" {
				b, err := t.readFile(file)
				if err != nil {
					return err
				}
				if err := definition.Unmarshal(file, b, p); err != nil {
					return err
				}
			}
			if _, err := setFields(p, set); err != nil {
				return err
			}
			for _, rule := range rules {
				r, err := parseRule(rule)
				if err != nil {
					return err
				}
				filter.Rules = append(filter.Rules, r)
			}
			if proto.Size(filter) > 0 { // on top of what the file defines
				proto.Merge(p, &vnetv1.Port{Filter: filter})
			}
			resp, err := c.CreatePort(ctx, &vnetv1.CreatePortRequest{Port: p})
			if err != nil {
				return err
			}
			p := resp.GetPort()
			switch {
			case t.output != "table":
				return t.printMessage(p)
			case p.GetKind() == "macvtap":
				_, err = fmt.Fprintf(t.out, "%s /dev/tap%d %s\n", p.GetLink(), p.GetIndex(), p.GetMac())
			default:
				_, err = fmt.Fprintln(t.out, p.GetLink(), p.GetMac())
			}
			return err
		}),
	}
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "file with a port in YAML or JSON, as `port show` prints it; - for standard input")
	f.StringVar(&p.Guest, "guest", "", "name of the guest, for DHCP and DNS")
	f.StringVar(&p.Mac, "mac", "", "MAC address of the guest (default: generated)")
	f.StringArrayVar(&p.Addresses, "address", nil, "address of the guest, reserved in DHCP (repeatable)")
	f.StringVar(&p.Link, "link", "", "name of the interface (default: generated)")
	f.StringVar(&p.Owner, "owner", "", "user that may open the tap without root: name or number")
	f.Uint32Var(&p.Queues, "queues", 0, "queues of a multi-queue tap (default 1)")
	f.StringVar(&filter.Preset, "filter-preset", "", "filter preset: clean-traffic or internet-only (default: inherited from the network)")
	f.BoolVar(&filter.Isolated, "isolated", false, "isolate the guest from other isolated guests of its network")
	f.StringArrayVar(&rules, "rule", nil, `filter rule of this port, "(in|out) (accept|drop|reject) [PROTOCOL[/PORTS]] [from|to REMOTE] [log]" (repeatable)`)
	f.StringSliceVar(&filter.Allow, "allow", nil, "frames that the guest may send in mode bridge: bpdu, vlan, ra, dhcp-server")
	f.StringVar(&filter.In, "in", "", "default action for inbound connections (accept, drop, reject)")
	f.StringVar(&filter.Out, "out", "", "default action for outbound connections (accept, drop, reject)")
	f.StringVar(&p.Uplink, "uplink", "", "uplink of a macvtap (default: the one with the fewest guests)")
	f.StringArrayVar(&set, "set", nil, "any other field, as KEY=VALUE: bandwidth.in.average=20mbit (repeatable)")
	return c
}

// parseRule parses the syntax of --rule; the daemon validates it.
func parseRule(s string) (*vnetv1.FilterRule, error) {
	words := strings.Fields(s)
	if len(words) < 2 {
		return nil, fmt.Errorf(`rule %q: missing direction or action; example: "in accept tcp/22 from @office"`, s)
	}
	r := &vnetv1.FilterRule{Direction: words[0], Action: words[1]}
	if words = words[2:]; len(words) > 0 && words[len(words)-1] == "log" {
		r.Log, words = true, words[:len(words)-1]
	}
	if i := slices.IndexFunc(words, func(w string) bool { return w == "from" || w == "to" }); i >= 0 {
		if len(words) != i+2 {
			return nil, fmt.Errorf("rule %q: %q needs exactly one remote", s, words[i])
		}
		r.Remote, words = words[i+1], words[:i]
	}
	switch len(words) {
	case 0:
	case 1:
		protocol, ports, found := strings.Cut(words[0], "/")
		if r.Protocol = protocol; found {
			r.Ports = strings.Split(ports, ",")
		}
	default:
		return nil, fmt.Errorf(`rule %q: unexpected %q; a remote is preceded by "from" or "to"`, s, words[1])
	}
	return r, nil
}

func portSet(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "set LINK KEY=VALUE...", Short: "Change fields of a declared port in place", Example: "  vnetctl port set vnet0 bandwidth.in.average=20mbit guest=web",
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			p, err := getPort(ctx, c, args[0])
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
			done := "unchanged"
			if resp.GetChanged() {
				done = "changed"
			}
			t.infof("port %s %s", args[0], done)
			return nil
		}),
	}
}

// setFields applies arguments of the form KEY=VALUE, and returns the top-level fields
// that they set.
func setFields(m proto.Message, words []string) (fields []string, err error) {
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY=VALUE", word)
		}
		if err := definition.Set(m, key, value); err != nil {
			return nil, err
		}
		fields = append(fields, key[:strings.IndexAny(key+".", ".[")])
	}
	return fields, nil
}
