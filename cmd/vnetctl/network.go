package main

import (
	"cmp"
	"context"
	"errors"
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

func (t *tool) networkCommand() *cobra.Command {
	c := &cobra.Command{Use: "network", Aliases: []string{"net"}, Short: "Declare, change and show networks"}
	c.AddCommand(
		t.networkList(), t.networkShow(), t.networkInfo(), t.networkCreate(), t.networkApply(), t.networkEdit(),
		t.networkSet(), t.networkStart(), t.networkStop(), t.networkConfirm(), t.networkDelete(), t.networkAutostart(), t.networkAdopt(), t.networkForget(),
	)
	return c
}

func (t *tool) networkList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List networks, also those that do not run", Args: cobra.NoArgs,
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			resp, err := c.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
			if err != nil {
				return err
			}
			tb := table{heading: []string{"NAME", "MODE", "STATE", "BRIDGE", "ADDRESSES", "AUTOSTART", "LEASES"}}
			for _, n := range resp.GetNetworks() {
				tb.rows = append(tb.rows, networkRow(n))
			}
			return printList(t, resp.GetNetworks(), tb)
		}),
	}
}

func networkRow(n *vnetv1.Network) []string {
	var addresses []string
	for _, s := range n.GetSubnets() {
		addresses = append(addresses, s.GetAddress())
	}
	autostart := "no"
	if n.GetAutostart() {
		autostart = "yes"
	}
	state := definition.Word(n.GetStatus().GetPhase())
	if n.GetStatus().GetConfirmBy() != nil {
		state += ", unconfirmed"
	}
	return []string{
		n.GetName(), definition.Word(n.GetMode()), state, n.GetBridge().GetName(),
		strings.Join(addresses, ","), autostart, strconv.Itoa(int(n.GetStatus().GetLeases())),
	}
}

func (t *tool) get(ctx context.Context, c *client.Client, name string) (*vnetv1.Network, error) {
	resp, err := c.GetNetwork(ctx, &vnetv1.GetNetworkRequest{Name: name})
	return resp.GetNetwork(), err
}

func (t *tool) networkShow() *cobra.Command {
	return t.named(&cobra.Command{
		Use: "show NAME", Short: "Print a network's definition, as YAML or JSON",
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := t.get(ctx, c, args[0])
			if err != nil {
				return err
			}
			n.Revision, n.Status = 0, nil
			return t.printMessage(n)
		}),
	})
}

func (t *tool) networkInfo() *cobra.Command {
	return t.named(&cobra.Command{
		Use: "info NAME", Short: "Print what runs now of a network",
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := t.get(ctx, c, args[0])
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(n)
			}
			row := networkRow(n)
			for i, key := range []string{"name", "mode", "state", "bridge", "addresses", "autostart", "leases"} {
				fmt.Fprintf(t.out, "%-10s %s\n", key, row[i])
			}
			fmt.Fprintf(t.out, "%-10s %s\n%-10s %d\n", "mac", n.GetBridge().GetMac(), "revision", n.GetRevision())
			fmt.Fprintf(t.out, "%-10s %d\n", "ports", n.GetStatus().GetPorts())
			if c := n.GetStatus().GetCounters(); c != nil {
				fmt.Fprintf(t.out, "%-10s %s, %d frames, %d dropped\n", "received", received(c), c.GetRxPackets(), c.GetRxDrops())
				fmt.Fprintf(t.out, "%-10s %s, %d frames, %d dropped\n", "sent", sent(c), c.GetTxPackets(), c.GetTxDrops())
			}
			if by := n.GetStatus().GetConfirmBy(); by != nil {
				fmt.Fprintf(t.out, "%-10s by %s, or it is taken back\n", "confirm", by.AsTime().Local().Format(time.DateTime))
			}
			if r := n.GetStatus().GetReason(); r != "" {
				fmt.Fprintf(t.out, "%-10s %s\n", "reason", r)
			}
			return nil
		}),
	})
}

// read reads definitions from a file, or from standard input for "-".
func (t *tool) read(file string) ([]*vnetv1.Network, error) {
	b, err := t.content(file)
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "(standard input)"
	}
	return definition.Parse(file, b)
}

// content is what is in a file, or comes by standard input for "-".
func (t *tool) content(file string) ([]byte, error) {
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

func (t *tool) networkCreate() *cobra.Command {
	var file string
	var noStart, transient, dryRun bool
	c := &cobra.Command{
		Use: "create -f FILE", Short: "Store networks, start them, and have them start with the host", Args: cobra.NoArgs,
		RunE: t.changing(func(ctx context.Context, c *client.Client, _ []string) error {
			networks, err := t.read(file)
			if err != nil {
				return err
			}
			for _, n := range networks {
				n.Transient = n.Transient || transient
				resp, err := c.CreateNetwork(ctx, &vnetv1.CreateNetworkRequest{Network: n, NoStart: noStart, DryRun: dryRun, ConfirmWithin: t.within()})
				if err != nil {
					return err
				}
				if err := t.changed(resp.GetNetwork(), "created", resp.GetPlan(), dryRun); err != nil {
					return err
				}
				if err := t.confirm(ctx, c, resp.GetNetwork()); err != nil {
					return err
				}
			}
			return wouldChange(dryRun, len(networks) > 0)
		}),
	}
	t.fileFlag(c, &file)
	t.confirmFlags(c)
	c.Flags().BoolVar(&noStart, "no-start", false, "store only")
	c.Flags().BoolVar(&transient, "transient", false, "forget the network when it is stopped")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, print the plan; exit 2 if there is one")
	return c
}

func (t *tool) networkApply() *cobra.Command {
	var file string
	var dryRun bool
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Make networks as their definitions say, live; create those that are missing", Args: cobra.NoArgs,
		RunE: t.changing(func(ctx context.Context, c *client.Client, _ []string) error {
			networks, err := t.read(file)
			if err != nil {
				return err
			}
			anything := false
			for _, n := range networks {
				changed, err := t.apply(ctx, c, n, true, dryRun)
				if err != nil {
					return err
				}
				anything = anything || changed
			}
			return wouldChange(dryRun, anything)
		}),
	}
	t.confirmFlags(c)
	t.fileFlag(c, &file)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, print the plan; exit 2 if there is one")
	return c
}

// apply updates one network and says whether that changes anything.
func (t *tool) apply(ctx context.Context, c *client.Client, n *vnetv1.Network, allowMissing, dryRun bool) (bool, error) {
	resp, err := c.UpdateNetwork(ctx, &vnetv1.UpdateNetworkRequest{Network: n, AllowMissing: allowMissing, DryRun: dryRun, ConfirmWithin: t.within()})
	if err != nil {
		return false, err
	}
	if !resp.GetChanged() {
		t.say("network %s unchanged", n.GetName())
		return false, nil
	}
	if err := t.changed(resp.GetNetwork(), "changed", nil, dryRun); err != nil {
		return true, err
	}
	if !dryRun {
		t.sayWarnings(resp.GetPlan())
		return true, t.confirm(ctx, c, resp.GetNetwork())
	}
	if dryRun {
		t.sayChanges(resp.GetChanges())
		t.sayPlan(resp.GetPlan())
	}
	return true, nil
}

func (t *tool) changed(n *vnetv1.Network, done string, plan []string, dryRun bool) error {
	if dryRun {
		done = "would be " + done
	}
	if t.output != "table" {
		return t.printMessage(n)
	}
	t.say("network %s %s", n.GetName(), done)
	if s := n.GetStatus(); !dryRun && s.GetPhase() == vnetv1.Phase_PHASE_DEGRADED {
		t.say("warning: it is degraded: %s", s.GetReason())
	}
	if dryRun {
		t.sayPlan(plan)
	} else {
		t.sayWarnings(plan)
	}
	return nil
}

// sayPlan prints what would be done to the host.
func (t *tool) sayPlan(plan []string) {
	for _, step := range plan {
		t.say("  %s", step)
	}
}

// sayChanges prints what differs field by field, and what that means.
func (t *tool) sayChanges(changes []*vnetv1.FieldChange) {
	for _, c := range changes {
		t.say("  %s: %s -> %s", c.GetPath(), cmp.Or(c.GetBefore(), "(not set)"), cmp.Or(c.GetAfter(), "(not set)"))
		if c.GetEffect() != "" {
			t.say("    %s", c.GetEffect())
		}
	}
}

func wouldChange(dryRun, anything bool) error {
	if dryRun && anything {
		return errWouldChange
	}
	return nil
}

func (t *tool) networkSet() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use: "set NAME KEY=VALUE...", Short: "Change single fields: dns.domain=lab.test subnets[0].dhcp.leaseTime=2h",
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: t.completeNetworks,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := t.get(ctx, c, args[0])
			if err != nil {
				return err
			}
			if _, err := setFields(n, args[1:]); err != nil {
				return err
			}
			changed, err := t.apply(ctx, c, n, false, dryRun)
			if err != nil {
				return err
			}
			return wouldChange(dryRun, changed)
		}),
	}
	t.confirmFlags(c)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, print the plan; exit 2 if there is one")
	return c
}

func (t *tool) networkStart() *cobra.Command {
	c := t.named(&cobra.Command{
		Use: "start NAME...", Short: "Make networks run", Args: cobra.MinimumNArgs(1),
		RunE: t.each("network", "started", func(ctx context.Context, c *client.Client, name string) error {
			resp, err := c.StartNetwork(ctx, &vnetv1.StartNetworkRequest{Name: name, ConfirmWithin: t.within()})
			if err != nil {
				return err
			}
			return t.confirm(ctx, c, resp.GetNetwork())
		}),
	})
	t.confirmFlags(c)
	return c
}

func (t *tool) networkStop() *cobra.Command {
	return t.named(&cobra.Command{
		Use: "stop NAME...", Short: "Take networks down; their definitions and leases stay", Args: cobra.MinimumNArgs(1),
		RunE: t.each("network", "stopped", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.StopNetwork(ctx, &vnetv1.StopNetworkRequest{Name: name})
			return err
		}),
	})
}

func (t *tool) networkDelete() *cobra.Command {
	var force bool
	c := t.named(&cobra.Command{
		Use: "delete NAME...", Aliases: []string{"rm"}, Short: "Take networks down, and forget them and their leases", Args: cobra.MinimumNArgs(1),
		RunE: t.each("network", "deleted", func(ctx context.Context, c *client.Client, name string) error {
			_, err := c.DeleteNetwork(ctx, &vnetv1.DeleteNetworkRequest{Name: name, Force: force})
			return err
		}),
	})
	c.Flags().BoolVar(&force, "force", false, "even while guests are attached")
	return c
}

func (t *tool) networkAutostart() *cobra.Command {
	var off bool
	c := t.named(&cobra.Command{
		Use: "autostart NAME...", Short: "Have networks start with the host, or not", Args: cobra.MinimumNArgs(1),
		RunE: t.each("network", "", func(ctx context.Context, c *client.Client, name string) error {
			n, err := t.get(ctx, c, name)
			if err != nil {
				return err
			}
			n.Autostart = proto.Bool(!off)
			_, err = t.apply(ctx, c, n, false, false)
			return err
		}),
	})
	c.Flags().BoolVar(&off, "off", false, "do not start with the host")
	return c
}

// fileFlag adds -f, which has to be given.
func (t *tool) fileFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "file", "f", "", "YAML or JSON with one or more definitions; - for standard input")
	_ = c.MarkFlagRequired("file")
}

// named makes a command that takes names of networks.
func (t *tool) named(c *cobra.Command) *cobra.Command {
	if c.Args == nil {
		c.Args = cobra.ExactArgs(1)
	}
	c.ValidArgsFunction = t.completeNetworks
	return c
}

type action func(ctx context.Context, c *client.Client, args []string) error

// reading and changing run an action with a client.
func (t *tool) reading(do action) func(*cobra.Command, []string) error {
	return t.with(t.dialToRead, do)
}

func (t *tool) changing(do action) func(*cobra.Command, []string) error {
	return t.with(t.dial, do)
}

func (t *tool) with(dial func() (*client.Client, error), do action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		return errors.Join(do(cmd.Context(), c, args), c.Close())
	}
}

// each does something to everything that is named; one failure does not keep the
// others from their turn.
func (t *tool) each(noun, done string, do func(context.Context, *client.Client, string) error) func(*cobra.Command, []string) error {
	return t.changing(func(ctx context.Context, c *client.Client, names []string) error {
		var failed []error
		for _, name := range names {
			if err := do(ctx, c, name); err != nil {
				failed = append(failed, err)
			} else if done != "" {
				t.say("%s %s %s", noun, name, done)
			}
		}
		return errors.Join(failed...)
	})
}
