package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func networkCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "network", Aliases: []string{"net"}, Short: "Declare, change and show networks"}
	c.AddCommand(
		listCommand(t, "list", "List networks, including stopped ones",
			columns[*vnetv1.Network]{heading: []string{"NAME", "MODE", "STATE", "BRIDGE", "ADDRESSES", "AUTOSTART", "LEASES"}, row: networkRow},
			func(ctx context.Context, c *client.Client, _ string) ([]*vnetv1.Network, error) {
				resp, err := c.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
				return resp.GetNetworks(), err
			}),
		networkShow(t), networkInfo(t), networkCreate(t), networkApply(t), networkEdit(t), networkSet(t), networkAdopt(t),
	)
	c.AddCommand(networkLifecycle(t)...)
	for _, sub := range c.Commands() {
		if strings.Contains(sub.Use, " NAME") {
			sub.ValidArgsFunction = t.complete(networks)
		}
	}
	return c
}

func networkRow(n *vnetv1.Network) []string {
	var addresses []string
	for _, s := range n.GetSubnets() {
		addresses = append(addresses, s.GetAddress())
	}
	state := definition.Word(n.GetStatus().GetPhase())
	if n.GetStatus().GetConfirmBy() != nil {
		state += ", unconfirmed"
	}
	return []string{
		n.GetName(), definition.Word(n.GetMode()), state, n.GetBridge().GetName(),
		strings.Join(addresses, ","), yesNo(n.GetAutostart()), strconv.Itoa(int(n.GetStatus().GetLeases())),
	}
}

func getNetwork(ctx context.Context, c *client.Client, name string) (*vnetv1.Network, error) {
	resp, err := c.GetNetwork(ctx, &vnetv1.GetNetworkRequest{Name: name})
	return resp.GetNetwork(), err
}

func networkShow(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Print a network's definition as YAML or JSON", Example: "  vnetctl network show lab > lab.yaml",
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := getNetwork(ctx, c, args[0])
			if err != nil {
				return err
			}
			n.Revision, n.Status = 0, nil
			return t.printMessage(n)
		}),
	}
}

func networkInfo(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "info NAME", Short: "Show runtime state and counters of a network", Example: "  vnetctl network info default",
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := getNetwork(ctx, c, args[0])
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(n)
			}
			line := func(key, format string, args ...any) {
				fmt.Fprintf(t.out, "%-10s "+format+"\n", append([]any{key}, args...)...)
			}
			row := networkRow(n)
			for i, key := range []string{"name", "mode", "state", "bridge", "addresses", "autostart", "leases"} {
				line(key, "%s", row[i])
			}
			line("mac", "%s", n.GetBridge().GetMac())
			line("revision", "%d", n.GetRevision())
			line("ports", "%d", n.GetStatus().GetPorts())
			if c := n.GetStatus().GetCounters(); c != nil {
				received, sent := volume(c)
				line("received", "%s, %d frames, %d dropped", received, c.GetRxPackets(), c.GetRxDrops())
				line("sent", "%s, %d frames, %d dropped", sent, c.GetTxPackets(), c.GetTxDrops())
			}
			if by := n.GetStatus().GetConfirmBy(); by != nil {
				line("confirm", "by %s, or it is rolled back", by.AsTime().Local().Format(time.DateTime))
			}
			if r := n.GetStatus().GetReason(); r != "" {
				line("reason", "%s", r)
			}
			return nil
		}),
	}
}

// readFile reads a file, or standard input for "-".
func (t *tool) readFile(file string) ([]byte, error) {
	if file == "-" {
		b, err := io.ReadAll(t.in)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return b, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	return b, nil
}

// definitions reads the networks that are defined in a file.
func (t *tool) definitions(file string) ([]*vnetv1.Network, error) {
	b, err := t.readFile(file)
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "(standard input)"
	}
	return definition.Parse(file, b)
}

// forFile makes c run do for each definition of the file that -f names.
func (t *tool) forFile(c *cobra.Command, do func(ctx context.Context, c *client.Client, n *vnetv1.Network, dryRun bool) (changed bool, err error)) {
	var file string
	c.Flags().StringVarP(&file, "file", "f", "", "file with one or more definitions in YAML or JSON; - for standard input")
	_ = c.MarkFlagRequired("file")
	dryRun := t.changeFlags(c)
	c.RunE = t.changing(func(ctx context.Context, c *client.Client, _ []string) error {
		all, err := t.definitions(file)
		if err != nil {
			return err
		}
		anything := false
		for _, n := range all {
			changed, err := do(ctx, c, n, *dryRun)
			if err != nil {
				return err
			}
			anything = anything || changed
		}
		return wouldChange(*dryRun, anything)
	})
}

// changeFlags adds the flags of commands that change a network, and returns --dry-run.
func (t *tool) changeFlags(c *cobra.Command) *bool {
	t.confirmFlags(c)
	return c.Flags().Bool("dry-run", false, "change nothing, print the plan; exit 2 if something would change")
}

func wouldChange(dryRun, anything bool) error {
	if dryRun && anything {
		return errWouldChange
	}
	return nil
}

func networkCreate(t *tool) *cobra.Command {
	var noStart, transient bool
	c := &cobra.Command{
		Use: "create -f FILE", Short: "Create networks from a file, start them and enable them at boot",
		Example: "  vnetctl network create -f lab.yaml\n  vnetctl network create --dry-run -f lab.yaml",
	}
	t.forFile(c, func(ctx context.Context, c *client.Client, n *vnetv1.Network, dryRun bool) (bool, error) {
		n.Transient = n.Transient || transient
		resp, err := c.CreateNetwork(ctx, &vnetv1.CreateNetworkRequest{Network: n, NoStart: noStart, DryRun: dryRun, ConfirmWithin: t.rollbackAfter()})
		if err != nil {
			return false, err
		}
		return true, t.report(ctx, c, "created", resp.GetNetwork(), nil, resp.GetPlan(), dryRun)
	})
	c.Flags().BoolVar(&noStart, "no-start", false, "store the definition, do not start the network")
	c.Flags().BoolVar(&transient, "transient", false, "delete the network when it is stopped")
	return c
}

func networkApply(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Create or update networks from a file; running networks are changed in place",
		Example: "  vnetctl network apply -f lab.yaml\n  vnetctl network show lab | vnetctl network apply -f -",
	}
	t.forFile(c, func(ctx context.Context, c *client.Client, n *vnetv1.Network, dryRun bool) (bool, error) {
		return t.apply(ctx, c, n, true, dryRun)
	})
	return c
}

// apply updates one network and reports whether that changes it.
func (t *tool) apply(ctx context.Context, c *client.Client, n *vnetv1.Network, allowMissing, dryRun bool) (bool, error) {
	resp, err := c.UpdateNetwork(ctx, &vnetv1.UpdateNetworkRequest{Network: n, AllowMissing: allowMissing, DryRun: dryRun, ConfirmWithin: t.rollbackAfter()})
	if err != nil {
		return false, err
	}
	if !resp.GetChanged() {
		t.infof("network %s unchanged", n.GetName())
		return false, nil
	}
	return true, t.report(ctx, c, "changed", resp.GetNetwork(), resp.GetChanges(), resp.GetPlan(), dryRun)
}

// report prints what a call did to a network, or with dryRun what it would do, and
// asks for the confirmation that the change waits for.
func (t *tool) report(ctx context.Context, c *client.Client, done string, n *vnetv1.Network, changes []*vnetv1.FieldChange, plan []string, dryRun bool) error {
	if t.output != "table" {
		return t.printMessage(n)
	}
	if dryRun {
		t.infof("network %s would be %s", n.GetName(), done)
		for _, c := range changes {
			t.infof("  %s: %s -> %s", c.GetPath(), cmp.Or(c.GetBefore(), "(not set)"), cmp.Or(c.GetAfter(), "(not set)"))
			if c.GetEffect() != "" {
				t.infof("    %s", c.GetEffect())
			}
		}
		for _, change := range plan {
			t.infof("  %s", change)
		}
		return nil
	}
	t.infof("network %s %s", n.GetName(), done)
	if s := n.GetStatus(); s.GetPhase() == vnetv1.Phase_PHASE_DEGRADED {
		t.infof("warning: it is degraded: %s", s.GetReason())
	}
	for _, line := range plan {
		if w, ok := strings.CutPrefix(line, "# "); ok {
			t.infof("warning: %s", w)
		}
	}
	return t.confirm(ctx, c, n)
}

func networkSet(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "set NAME KEY=VALUE...", Short: "Change single fields of a network",
		Example: "  vnetctl network set lab dns.domain=lab.test 'subnets[0].dhcp.leaseTime=2h'",
	}
	dryRun := t.changeFlags(c)
	c.RunE = t.changing(func(ctx context.Context, c *client.Client, args []string) error {
		n, err := getNetwork(ctx, c, args[0])
		if err != nil {
			return err
		}
		if _, err := setFields(n, args[1:]); err != nil {
			return err
		}
		changed, err := t.apply(ctx, c, n, false, *dryRun)
		if err != nil {
			return err
		}
		return wouldChange(*dryRun, changed)
	})
	return c
}

// networkLifecycle returns the commands that take names of networks and no definition.
func networkLifecycle(t *tool) []*cobra.Command {
	var force, forceForget, off bool
	start := t.each(&cobra.Command{Use: "start NAME...", Short: "Start networks", Example: "  vnetctl network start lab"},
		"network", "started", func(ctx context.Context, c *client.Client, name string) error {
			resp, err := c.StartNetwork(ctx, &vnetv1.StartNetworkRequest{Name: name, ConfirmWithin: t.rollbackAfter()})
			if err != nil {
				return err
			}
			return t.confirm(ctx, c, resp.GetNetwork())
		})
	t.confirmFlags(start)
	stop := t.each(&cobra.Command{Use: "stop NAME...", Short: "Stop networks; definitions and leases are kept", Example: "  vnetctl network stop lab"},
		"network", "stopped", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.StopNetwork(ctx, &vnetv1.StopNetworkRequest{Name: name})
			return err
		})
	remove := t.each(&cobra.Command{
		Use: "delete NAME...", Aliases: []string{"rm"}, Short: "Stop and delete networks and their leases", Example: "  vnetctl network delete lab",
	}, "network", "deleted", func(ctx context.Context, c *client.Client, name string) error {
		_, err := c.DeleteNetwork(ctx, &vnetv1.DeleteNetworkRequest{Name: name, Force: force})
		return err
	})
	remove.Flags().BoolVar(&force, "force", false, "delete even while guests are attached")
	autostart := t.each(&cobra.Command{Use: "autostart NAME...", Short: "Enable or disable starting networks at boot", Example: "  vnetctl network autostart --off lab"},
		"network", "", func(ctx context.Context, c *client.Client, name string) error {
			n, err := getNetwork(ctx, c, name)
			if err != nil {
				return err
			}
			n.Autostart = proto.Bool(!off)
			_, err = t.apply(ctx, c, n, false, false)
			return err
		})
	autostart.Flags().BoolVar(&off, "off", false, "disable")
	confirm := t.each(&cobra.Command{Use: "confirm NAME...", Short: "Confirm a pending change before it is rolled back", Example: "  vnetctl network confirm office"},
		"network", "confirmed", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.ConfirmNetwork(ctx, &vnetv1.ConfirmNetworkRequest{Name: name})
			return err
		})
	forget := t.each(&cobra.Command{Use: "forget NAME...", Short: "Remove the interfaces of orphaned networks from the host", Example: "  vnetctl network forget lab"},
		"network", "forgotten", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.ForgetNetwork(ctx, &vnetv1.ForgetNetworkRequest{Name: name, Force: forceForget})
			return err
		})
	forget.Flags().BoolVar(&forceForget, "force", false, "remove even while guests are attached")
	return []*cobra.Command{start, stop, remove, autostart, confirm, forget}
}

func networkAdopt(t *tool) *cobra.Command {
	var file, mode string
	var dryRun bool
	c := &cobra.Command{
		Use: "adopt NAME [--mode MODE | -f FILE]", Short: "Declare an orphaned network from its interfaces on the host",
		Long: `Declare an orphaned network: its interfaces are on the host, and its definition is not in
vnetd's state directory. Its guests stay connected. Bridge, addresses, routes and ports
are taken from the host, and so is the mode, where interfaces or firewall rules show it.
DHCP, DNS records, forwards and filters cannot be read from the host: give the definition
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
			if err := t.report(ctx, c, "adopted", resp.GetNetwork(), nil, nil, dryRun); err != nil {
				return err
			}
			for _, link := range resp.GetPorts() {
				t.infof("  port %s", link)
			}
			return wouldChange(dryRun, true)
		}),
	}
	c.Flags().StringVarP(&file, "file", "f", "", "file with the definition in YAML or JSON; - for standard input")
	c.Flags().StringVar(&mode, "mode", "", "mode of the network: nat, route, open or isolated")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing; exit 2 if something would be declared")
	c.MarkFlagsMutuallyExclusive("file", "mode")
	return c
}

// adoption returns what --mode and -f define of a network to adopt; nil for nothing.
func (t *tool) adoption(name, file, mode string) (*vnetv1.Network, error) {
	if mode != "" {
		m, ok := vnetv1.Mode_value["MODE_"+strings.ToUpper(mode)]
		if !ok || m == 0 {
			return nil, fmt.Errorf("--mode: unknown mode %q; supported: nat, route, open, isolated", mode)
		}
		return &vnetv1.Network{Mode: vnetv1.Mode(m)}, nil
	}
	if file == "" {
		return nil, nil
	}
	all, err := t.definitions(file)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if n.GetName() == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s has no definition of network %s", file, name)
}
