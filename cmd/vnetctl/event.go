package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func (t *tool) eventCommand() *cobra.Command {
	c := &cobra.Command{Use: "event", Short: "See what happens"}
	c.AddCommand(t.eventWatch())
	return c
}

func (t *tool) eventWatch() *cobra.Command {
	var changes bool
	c := &cobra.Command{
		Use: "watch [NETWORK]", Short: "Print what is there, and then every change, a line each", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeNetworks,
		RunE: t.reading(func(ctx context.Context, c *client.Client, args []string) error {
			stream, err := c.Watch(ctx, &vnetv1.WatchRequest{Network: first(args), OnlyChanges: changes})
			if err != nil {
				return err
			}
			for {
				e, err := stream.Recv()
				if err != nil {
					return err
				}
				if err := t.printEvent(e); err != nil {
					return err
				}
			}
		}),
	}
	c.Flags().BoolVar(&changes, "changes", false, "print changes only")
	return c
}

// printEvent prints a line: for people, or a JSON object for programs; YAML
// documents end with "---".
func (t *tool) printEvent(e *vnetv1.WatchResponse) error {
	var line string
	switch t.output {
	case "json":
		b, err := protojson.MarshalOptions{}.Marshal(e)
		if err != nil {
			return err
		}
		line = string(b)
	case "yaml":
		b, err := definition.Marshal(e)
		if err != nil {
			return err
		}
		line = string(b) + "---"
	default:
		line = eventLine(e)
	}
	_, err := fmt.Fprintln(t.out, line)
	return err
}

func eventLine(e *vnetv1.WatchResponse) string {
	words := []string{
		e.GetTime().AsTime().Local().Format(time.TimeOnly),
		strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(e.GetType().String(), "EVENT_TYPE_")), "_", "-"),
	}
	if n := e.GetNetwork(); n != nil {
		words = append(words, n.GetName())
		if p := n.GetStatus().GetPhase(); p != vnetv1.Phase_PHASE_UNSPECIFIED {
			words = append(words, definition.Word(p))
		}
		if r := n.GetStatus().GetReason(); r != "" {
			words = append(words, r)
		}
	}
	if l := e.GetLease(); l != nil {
		words = append(words, l.GetNetwork(), l.GetAddress(), l.GetMac(), l.GetHostname())
	}
	if p := e.GetPort(); p != nil {
		words = append(words, p.GetNetwork(), p.GetLink())
	}
	words = append(words, e.GetMessage())
	return strings.TrimSpace(strings.Join(words, " "))
}
