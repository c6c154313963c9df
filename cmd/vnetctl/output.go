package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// infof prints a message about what was done, except with -q and for programs.
func (t *tool) infof(format string, args ...any) {
	if !t.quiet && t.output == "table" {
		fmt.Fprintf(t.out, format+"\n", args...)
	}
}

// columns describes the table of a list command.
type columns[M any] struct {
	heading []string
	row     func(M) []string
	name    int // the column that -q prints
}

// listCommand returns the list command of a kind of object. usage is "list", or
// "list [NETWORK]" where the objects can be restricted to a network.
func listCommand[M proto.Message](t *tool, usage, short string, cols columns[M], fetch func(context.Context, *client.Client, string) ([]M, error)) *cobra.Command {
	return &cobra.Command{
		Use: usage, Aliases: []string{"ls"}, Short: short, ValidArgsFunction: t.complete(firstNetwork(nil)),
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			items, err := fetch(ctx, c, first(args))
			if err != nil {
				return err
			}
			var b []byte
			switch {
			case t.quiet:
				for _, m := range items {
					fmt.Fprintln(t.out, cols.row(m)[cols.name])
				}
				return nil
			case t.output == "table":
				return printTable(t, cols, items)
			case t.output == "json":
				b, err = definition.MarshalJSONList(items)
			default:
				b, err = definition.MarshalList(items)
			}
			if err == nil {
				_, err = t.out.Write(b)
			}
			return err
		}),
	}
}

func printTable[M any](t *tool, cols columns[M], items []M) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	if !t.noLegend {
		fmt.Fprintln(w, strings.Join(cols.heading, "\t"))
	}
	for _, m := range items {
		row := cols.row(m)
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// printMessage prints one message as YAML, or with -o json as JSON.
func (t *tool) printMessage(m proto.Message) error {
	marshal := definition.Marshal
	if t.output == "json" {
		marshal = definition.MarshalJSON
	}
	b, err := marshal(m)
	if err == nil {
		_, err = t.out.Write(b)
	}
	return err
}

// short prints a duration with its two largest units: 2h5m, 58m3s.
func short(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	if days := d / (24 * time.Hour); days > 0 {
		return fmt.Sprintf("%dd%dh", days, d%(24*time.Hour)/time.Hour)
	}
	if d >= time.Hour {
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return d.String()
}

// amount prints a number of bytes or bits with three digits: 3.1MB, 12.4kB.
func amount(v float64, unit string) string {
	for _, prefix := range []string{"", "k", "M", "G", "T"} {
		switch {
		case v < 999.95 && prefix == "":
			return fmt.Sprintf("%.0f%s", v, unit)
		case v < 999.95 || prefix == "T":
			return fmt.Sprintf("%.1f%s%s", v, prefix, unit)
		}
		v /= 1000
	}
	return ""
}

// volume returns the bytes received and sent, for a table; empty without counters.
func volume(c *vnetv1.Counters) (received, sent string) {
	if c == nil {
		return "", ""
	}
	return amount(float64(c.GetRxBytes()), "B"), amount(float64(c.GetTxBytes()), "B")
}

// yesNo prints a boolean in a table.
func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// completionTimeout bounds completion: a daemon that does not answer must not block
// the shell.
const completionTimeout = 200 * time.Millisecond

// A proposer returns what can follow args on a command line.
type proposer func(ctx context.Context, c *client.Client, args []string) []string

// complete returns a completion function; it proposes nothing that is in args already.
func (t *tool) complete(propose proposer) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
		defer cancel()
		c, err := t.dialToRead()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		names := propose(ctx, c, args)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// networks proposes names of networks.
func networks(ctx context.Context, c *client.Client, _ []string) (names []string) {
	resp, _ := c.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
	for _, n := range resp.GetNetworks() {
		names = append(names, n.GetName())
	}
	return names
}

// firstNetwork proposes networks for the first argument, and next for the second.
func firstNetwork(next proposer) proposer {
	return func(ctx context.Context, c *client.Client, args []string) []string {
		switch {
		case len(args) == 0:
			return networks(ctx, c, args)
		case len(args) == 1 && next != nil:
			return next(ctx, c, args)
		}
		return nil
	}
}
