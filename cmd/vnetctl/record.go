package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) recordCommand() *cobra.Command {
	c := &cobra.Command{Use: "record", Short: "Show, add and remove DNS records"}
	c.AddCommand(t.recordList(), t.recordAdd(), t.recordDelete())
	return c
}

func recordTable(records []*vnetv1.ResourceRecord) table {
	tb := table{heading: []string{"NETWORK", "NAME", "TTL", "TYPE", "VALUE", "SOURCE"}, name: 1}
	for _, r := range records {
		tb.rows = append(tb.rows, []string{
			r.GetNetwork(), r.GetName(), definition.Duration(r.GetTtl().AsDuration()), r.GetType(), r.GetValue(), definition.Word(r.GetSource()),
		})
	}
	return tb
}

func (t *tool) recordList() *cobra.Command {
	return &cobra.Command{
		Use: "list [NETWORK]", Aliases: []string{"ls"}, Short: "List the names that are answered here, and where they come from",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: t.completeFirst,
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			resp, err := c.ListRecords(ctx, &vnetv1.ListRecordsRequest{Network: first(args)})
			if err != nil {
				return err
			}
			return printList(t, resp.GetRecords(), recordTable(resp.GetRecords()))
		}),
	}
}

func (t *tool) recordAdd() *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{
		Use: "add NETWORK NAME TYPE VALUE...", Short: "Add a record to a network's definition",
		Long: `Add a record to a network's definition. NAME is relative to the network's domain, @ is the domain itself, and
*.NAME a wildcard; with a final dot it is a full name. VALUE is what a zone file has behind the type.`,
		Example: `  vnetctl record add lab www A 10.20.0.10 --ttl 5m
  vnetctl record add lab _ldap._tcp SRV 0 5 389 dc1
  vnetctl record add lab @ TXT "v=spf1 -all"
  vnetctl record add lab 10.20.0.10 PTR www`,
		Args: words(4), ValidArgsFunction: t.completeFirst,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			r := &vnetv1.Record{Name: args[1], Type: strings.ToUpper(args[2]), Value: strings.Join(args[3:], " ")}
			if ttl != 0 {
				r.Ttl = durationpb.New(ttl)
			}
			_, err := c.AddRecord(ctx, &vnetv1.AddRecordRequest{Network: args[0], Record: r})
			if err == nil {
				t.say("record %s added", recordText(r))
			}
			return err
		}),
	}
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long it may be kept (default 1m)")
	return c
}

func (t *tool) recordDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NETWORK NAME [TYPE [VALUE...]]", Aliases: []string{"rm"},
		Short: "Remove records from a network's definition: all of a name, or those of a type, or one",
		Args:  words(2), ValidArgsFunction: t.completeRecords,
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			req := &vnetv1.DeleteRecordRequest{Network: args[0], Name: args[1], Type: first(args[2:])}
			if len(args) > 3 {
				req.Value = strings.Join(args[3:], " ")
			}
			resp, err := c.DeleteRecord(ctx, req)
			for _, r := range resp.GetRecords() {
				t.say("record %s deleted", recordText(r))
			}
			return err
		}),
	}
}

// words wants at least n of them, and says which there are.
func words(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return fmt.Errorf("%s: too few words; write %s", cmd.CommandPath(), cmd.UseLine())
		}
		return nil
	}
}

func recordText(r *vnetv1.Record) string { return r.GetName() + " " + r.GetType() + " " + r.GetValue() }

// completeFirst proposes networks for the first word only.
func (t *tool) completeFirst(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.completeNetworks(cmd, args, word)
}

// completeRecords proposes a network, and then the names that have records there.
func (t *tool) completeRecords(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
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
	n, err := t.get(ctx, c, args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, r := range n.GetDns().GetRecords() {
		names = append(names, r.GetName())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
