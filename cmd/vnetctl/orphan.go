package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) networkAdopt() *cobra.Command {
	var file, mode string
	var dryRun bool
	c := &cobra.Command{
		Use: "adopt NAME [--mode MODE | -f FILE]", Short: "Declare an orphaned network from the links that the host has of it", Args: cobra.ExactArgs(1),
		Long: `Declare an orphaned network: one that the host has links of, and that is not in
vnetd's state directory. Its guests stay connected. Bridge, addresses, routes and ports
are taken from the host, and so is the mode, where links or firewall rules show it.
DHCP, DNS records, forwards and filters are not to be seen there: give the definition
with -f FILE, or set them afterwards.`,
		Example: "  vnetctl network adopt lab --mode nat",
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := t.adoption(args[0], file, mode)
			if err != nil {
				return err
			}
			resp, err := c.AdoptNetwork(ctx, &vnetv1.AdoptNetworkRequest{Name: args[0], Network: n, DryRun: dryRun})
			if err != nil {
				return err
			}
			if err := t.changed(resp.GetNetwork(), "adopted", nil, dryRun); err != nil {
				return err
			}
			for _, link := range resp.GetPorts() {
				t.say("  port %s", link)
			}
			return wouldChange(dryRun, true)
		}),
	}
	c.Flags().StringVarP(&file, "file", "f", "", "YAML or JSON with the definition; - for standard input")
	c.Flags().StringVar(&mode, "mode", "", "mode of the network: nat, route, open or isolated")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing; exit 2 if something would be declared")
	c.MarkFlagsMutuallyExclusive("file", "mode")
	return c
}

// adoption is what a user says of a network to adopt; nil for nothing.
func (t *tool) adoption(name, file, mode string) (*vnetv1.Network, error) {
	if mode != "" {
		m, ok := vnetv1.Mode_value["MODE_"+strings.ToUpper(mode)]
		if !ok || m == 0 {
			return nil, fmt.Errorf("--mode: %q is not a mode; use nat, route, open or isolated", mode)
		}
		return &vnetv1.Network{Mode: vnetv1.Mode(m)}, nil
	}
	if file == "" {
		return nil, nil
	}
	networks, err := t.read(file)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if n.GetName() == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s has no definition of network %s", file, name)
}

func (t *tool) networkForget() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "forget NAME...", Short: "Remove the links of orphaned networks from the host", Args: cobra.MinimumNArgs(1),
		Example: "  vnetctl network forget lab",
		RunE: t.each("network", "forgotten", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.ForgetNetwork(ctx, &vnetv1.ForgetNetworkRequest{Name: name, Force: force})
			return err
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "also while guests are attached")
	return c
}
