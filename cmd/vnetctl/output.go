package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vnetd/vnetd/api/definition"
)

func accessible(path string) bool { return unix.Access(path, unix.R_OK|unix.W_OK) == nil }

// table is what -o table prints: a heading, and a row for each thing. The first
// column that is a name is what -q prints.
type table struct {
	heading []string
	rows    [][]string
	name    int // the column that -q prints
}

func (t *tool) printTable(tb table) error {
	if t.quiet {
		for _, r := range tb.rows {
			fmt.Fprintln(t.out, r[tb.name])
		}
		return nil
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	if !t.noLegend {
		fmt.Fprintln(w, strings.Join(tb.heading, "\t"))
	}
	for _, r := range tb.rows {
		for i, cell := range r {
			if cell == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// printList prints messages in the form asked for.
func printList[M proto.Message](t *tool, ms []M, tb table) error {
	var b []byte
	var err error
	switch {
	case t.output == "table" || t.quiet:
		return t.printTable(tb)
	case t.output == "json":
		b, err = definition.MarshalJSONList(ms)
	default:
		b, err = definition.MarshalList(ms)
	}
	if err != nil {
		return err
	}
	_, err = t.out.Write(b)
	return err
}

// printMessage prints one message as YAML, or as JSON if asked for.
func (t *tool) printMessage(m proto.Message) error {
	b, err := definition.Marshal(m)
	if t.output == "json" {
		b, err = definition.MarshalJSON(m)
	}
	if err != nil {
		return err
	}
	_, err = t.out.Write(b)
	return err
}

// until says when something ends, for people.
func until(ts *timestamppb.Timestamp, now time.Time) string {
	if ts == nil {
		return "never"
	}
	return "in " + short(ts.AsTime().Sub(now))
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
