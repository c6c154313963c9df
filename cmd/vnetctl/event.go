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

func eventCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "event", Short: "Watch events"}
	var changes bool
	watch := &cobra.Command{
		Use: "watch [NETWORK]", Short: "Print the current objects, then each event, one per line",
		Example: "  vnetctl event watch --changes", ValidArgsFunction: t.complete(firstNetwork(nil)),
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
	watch.Flags().BoolVar(&changes, "changes", false, "do not print the current objects")
	c.AddCommand(watch)
	return c
}

// printEvent prints an event: one line of text, one line of JSON, or a YAML document
// with "---" after it.
func (t *tool) printEvent(e *vnetv1.WatchResponse) error {
	var b []byte
	var err error
	switch t.output {
	case "json":
		b, err = protojson.MarshalOptions{}.Marshal(e)
	case "yaml":
		b, err = definition.Marshal(e)
		b = append(b, "---"...)
	default:
		b = []byte(eventLine(e))
	}
	if err == nil {
		_, err = fmt.Fprintf(t.out, "%s\n", b)
	}
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
