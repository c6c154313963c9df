//go:build bench

package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// A table has a row for everything measured and a column for everybody who did
// it. It prints as Markdown.
type table struct {
	servers []string // vnetd first
	rows    []*row
}

// A row is one thing that was measured, once in each round.
type row struct {
	what, unit string
	wanted     []wish
	got        map[string][]float64 // by server
}

// A wish is what the issue asks of a row.
type wish struct {
	peer string // "": the figure itself is meant, not its ratio to a peer's
	most bool   // not above, or else at least
	than float64
}

func atLeast(ratio float64, peer string) wish { return wish{peer: peer, than: ratio} }
func atMost(ratio float64, peer string) wish  { return wish{peer: peer, most: true, than: ratio} }
func below(figure float64) wish               { return wish{most: true, than: figure} }

func (t *table) row(what, unit string, wanted ...wish) *row {
	r := &row{what: what, unit: unit, wanted: wanted, got: map[string][]float64{}}
	t.rows = append(t.rows, r)
	return r
}

func (r *row) add(server string, figure float64) { r.got[server] = append(r.got[server], figure) }

// median returns the figure of a server, and whether there is one.
func (r *row) median(server string) (float64, bool) {
	all := slices.Sorted(slices.Values(r.got[server]))
	if len(all) == 0 {
		return 0, false
	}
	return all[len(all)/2], true
}

func (r *row) cell(server string) string {
	figure, ok := r.median(server)
	if !ok {
		return "-"
	}
	if figure >= 1000 {
		return fmt.Sprintf("%.0f", figure)
	}
	return fmt.Sprintf("%.3g", figure)
}

// ratio says how vnetd stands to a peer, and what is wanted of it.
func (r *row) ratio(w wish) string {
	own, ok := r.median("vnetd")
	if w.peer != "" {
		var peers float64
		if peers, ok = r.median(w.peer); ok {
			own /= peers
		}
	}
	if !ok {
		return w.peer + " not measured"
	}
	sign, held := "≥", own >= w.than
	if w.most {
		sign, held = "≤", own <= w.than
	}
	text := fmt.Sprintf("%.3g (%s %.3g)", own, sign, w.than)
	if w.peer != "" {
		text = fmt.Sprintf("%.3g of %s's (%s %.3g)", own, w.peer, sign, w.than)
	}
	if !held {
		text += " MISSED"
	}
	return text
}

func (t *table) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	line := func(cells ...string) { fmt.Fprintln(w, "| "+strings.Join(cells, "\t| ")+"\t|") }
	fmt.Fprintln(w)
	line(slices.Concat([]string{"what", "unit"}, t.servers, []string{"vnetd's (wanted)"})...)
	line(strings.Fields(strings.Repeat("--- ", len(t.servers)+3))...)
	for _, r := range t.rows {
		cells := []string{r.what, r.unit}
		for _, s := range t.servers {
			cells = append(cells, r.cell(s))
		}
		var ratios []string
		for _, wanted := range r.wanted {
			ratios = append(ratios, r.ratio(wanted))
		}
		line(append(cells, strings.Join(ratios, ", "))...)
	}
	w.Flush()
}
