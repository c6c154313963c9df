package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func recordCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "record", Short: "Show, add and remove DNS records"}
	text := func(r *vnetv1.Record) string { return r.GetName() + " " + r.GetType() + " " + r.GetValue() }
	var ttl time.Duration
	add := &cobra.Command{
		Use: "add NETWORK NAME TYPE VALUE...", Short: "Add a record to a network's definition",
		Long: `Add a record to a network's definition. NAME is relative to the network's domain, @ is the domain itself, and
*.NAME a wildcard; a name with a final dot is absolute. VALUE is the record's data as in a zone file.`,
		Example: `  vnetctl record add lab www A 10.20.0.10 --ttl 5m
  vnetctl record add lab _ldap._tcp SRV 0 5 389 dc1
  vnetctl record add lab @ TXT '"v=spf1 -all"'
  vnetctl record add lab 10.20.0.10 PTR www`,
		ValidArgsFunction: t.complete(firstNetwork(nil)),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			r := &vnetv1.Record{Name: args[1], Type: strings.ToUpper(args[2]), Value: strings.Join(args[3:], " ")}
			if ttl != 0 {
				r.Ttl = durationpb.New(ttl)
			}
			_, err := c.AddRecord(ctx, &vnetv1.AddRecordRequest{Network: args[0], Record: r})
			if err == nil {
				t.infof("record %s added", text(r))
			}
			return err
		}),
	}
	add.Flags().DurationVar(&ttl, "ttl", 0, "time to live (default 1m)")
	remove := &cobra.Command{
		Use: "delete NETWORK NAME [TYPE [VALUE...]]", Aliases: []string{"rm"},
		Short:   "Remove records from a network's definition: all of a name, those of a type, or one",
		Example: "  vnetctl record delete lab www A",
		ValidArgsFunction: t.complete(firstNetwork(func(ctx context.Context, c *client.Client, args []string) (names []string) {
			n, _ := getNetwork(ctx, c, args[0])
			for _, r := range n.GetDns().GetRecords() {
				names = append(names, r.GetName())
			}
			return names
		})),
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			req := &vnetv1.DeleteRecordRequest{Network: args[0], Name: args[1], Type: first(args[2:])}
			if len(args) > 3 {
				req.Value = strings.Join(args[3:], " ")
			}
			resp, err := c.DeleteRecord(ctx, req)
			for _, r := range resp.GetRecords() {
				t.infof("record %s deleted", text(r))
			}
			return err
		}),
	}
	c.AddCommand(add, remove, listCommand(t, "list [NETWORK]", "List locally answered names and their sources", columns[*vnetv1.ResourceRecord]{
		heading: []string{"NETWORK", "NAME", "TTL", "TYPE", "VALUE", "SOURCE"}, name: 1,
		row: func(r *vnetv1.ResourceRecord) []string {
			return []string{r.GetNetwork(), r.GetName(), definition.Duration(r.GetTtl().AsDuration()), r.GetType(), r.GetValue(), definition.Word(r.GetSource())}
		},
	}, func(ctx context.Context, c *client.Client, network string) ([]*vnetv1.ResourceRecord, error) {
		resp, err := c.ListRecords(ctx, &vnetv1.ListRecordsRequest{Network: network})
		return resp.GetRecords(), err
	}))
	return c
}
