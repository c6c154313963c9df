package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func graphCommand(t *tool) *cobra.Command {
	format := "text"
	c := &cobra.Command{
		Use: "graph", Short: "Draw the host, its uplinks, networks, guests and published ports",
		Long:    "Draw the host with its uplinks, networks, guests and published ports: as text for a terminal, as DOT for Graphviz, or as SVG for a browser.",
		Example: "  vnetctl graph -o svg > networks.svg",
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			draw := map[string]func(graph) string{"text": graph.text, "dot": graph.dot, "svg": graph.svg}[format]
			if draw == nil {
				return fmt.Errorf("-o %s: unknown output format; supported: text, dot, svg", format)
			}
			g, err := readGraph(ctx, c)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(t.out, draw(g))
			return err
		}),
	}
	c.Flags().StringVarP(&format, "output", "o", format, "output format: text, dot or svg")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// graph has uplinks, networks and guests, each in one column.
type graph struct {
	uplinks  []string
	networks []networkNode
}

type networkNode struct {
	labels   []string // name; mode and state; bridge and addresses, empty for macvtaps
	uplinks  []string // empty for networks without a way out
	guests   []string
	forwards []forwardNode
}

// forwardNode is a published port. guest is an index into the network's guests, -1 if
// the target is none of them.
type forwardNode struct {
	label string
	guest int
}

// anyUplink stands for the link that the host's routes choose.
const anyUplink = "any uplink"

func readGraph(ctx context.Context, c *client.Client) (graph, error) {
	s, err := takeSample(ctx, c)
	if err != nil {
		return graph{}, err
	}
	leases, err := c.ListLeases(ctx, &vnetv1.ListLeasesRequest{})
	if err != nil {
		return graph{}, err
	}
	forwards, err := c.ListForwards(ctx, &vnetv1.ListForwardsRequest{})
	if err != nil {
		return graph{}, err
	}
	var g graph
	for _, n := range s.networks {
		d := nodeOf(n, s.ports, leases.GetLeases(), forwards.GetForwards())
		g.networks = append(g.networks, d)
		g.uplinks = append(g.uplinks, d.uplinks...)
	}
	slices.Sort(g.uplinks)
	g.uplinks = slices.Compact(g.uplinks)
	return g, nil
}

func nodeOf(n *vnetv1.Network, ports []*vnetv1.Port, leases []*vnetv1.Lease, forwards []*vnetv1.PublishedForward) networkNode {
	d := networkNode{uplinks: slices.Concat(n.GetUplinks(), n.GetBridge().GetUplinks(), n.GetDirect().GetUplinks())}
	switch n.GetMode() {
	case vnetv1.Mode_MODE_NAT, vnetv1.Mode_MODE_ROUTE, vnetv1.Mode_MODE_OPEN:
		if len(d.uplinks) == 0 {
			d.uplinks = []string{anyUplink}
		}
	}
	bridge := []string{n.GetBridge().GetName()}
	for _, s := range n.GetSubnets() {
		bridge = append(bridge, s.GetAddress())
	}
	d.labels = []string{n.GetName(), definition.Word(n.GetMode()) + ", " + definition.Word(n.GetStatus().GetPhase()), joinWords(bridge)}
	guestAt := map[string]int{} // by address
	for _, p := range ports {
		if p.GetNetwork() != n.GetName() {
			continue
		}
		name, addresses := p.GetGuest(), slices.Clone(p.GetAddresses())
		for _, l := range leases {
			if p.GetMac() != "" && l.GetNetwork() == p.GetNetwork() && l.GetMac() == p.GetMac() {
				name = cmp.Or(name, l.GetHostname())
				if !slices.Contains(addresses, l.GetAddress()) {
					addresses = append(addresses, l.GetAddress())
				}
			}
		}
		for _, a := range addresses {
			guestAt[a] = len(d.guests)
		}
		words := slices.Concat([]string{name}, addresses, []string{p.GetLink(), p.GetKind(), p.GetMac()})
		if !p.GetAttached() {
			words = append(words, "(detached)")
		}
		d.guests = append(d.guests, joinWords(words))
	}
	for _, p := range forwards {
		if p.GetNetwork() != n.GetName() {
			continue
		}
		f := p.GetForward()
		node := forwardNode{f.GetListen(), -1}
		if f.GetAddress() != "" {
			node.label += " on " + f.GetAddress()
		}
		node.label += " to " + f.GetTo()
		if p.GetState() != vnetv1.ForwardState_FORWARD_STATE_ACTIVE {
			node.label += " (" + definition.Word(p.GetState()) + ")"
		}
		for _, a := range p.GetTargets() {
			if i, ok := guestAt[a]; ok {
				node.guest = i
			}
		}
		d.forwards = append(d.forwards, node)
	}
	return d
}

// joinWords joins the words that are not empty.
func joinWords(words []string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// text draws a tree with the host as its root.
func (g graph) text() string {
	var b strings.Builder
	b.WriteString("host\n")
	for i, n := range g.networks {
		branch, stem := "├── ", "│   "
		if i == len(g.networks)-1 {
			branch, stem = "└── ", "    "
		}
		fmt.Fprintf(&b, "%s%s (%s)\n", branch, n.labels[0], n.labels[1])
		var below []string
		if len(n.uplinks) > 0 {
			below = append(below, "uplink "+strings.Join(n.uplinks, ", "))
		}
		if n.labels[2] != "" {
			below = append(below, "bridge "+n.labels[2])
		}
		below = append(below, n.guests...)
		for _, f := range n.forwards {
			below = append(below, "published "+f.label)
		}
		for j, line := range below {
			twig := "├── "
			if j == len(below)-1 {
				twig = "└── "
			}
			b.WriteString(stem + twig + line + "\n")
		}
	}
	return b.String()
}

var dotEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// dot draws for Graphviz: `vnetctl graph -o dot | dot -Tsvg`.
func (g graph) dot() string {
	quote := func(labels ...string) string {
		var out []string
		for _, l := range labels {
			if l != "" {
				out = append(out, dotEscape.Replace(l))
			}
		}
		return `"` + strings.Join(out, `\n`) + `"`
	}
	id := func(kind string, names ...string) string { return quote(kind + " " + strings.Join(names, " ")) }
	var b strings.Builder
	b.WriteString("graph vnetd {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"sans-serif\"];\n")
	for _, u := range g.uplinks {
		fmt.Fprintf(&b, "\t%s [label=%s, shape=ellipse];\n", id("uplink", u), quote(u))
	}
	for _, n := range g.networks {
		name := n.labels[0]
		network := id("network", name)
		fmt.Fprintf(&b, "\t%s [label=%s, style=bold];\n", network, quote(n.labels...))
		for _, u := range n.uplinks {
			fmt.Fprintf(&b, "\t%s -- %s;\n", id("uplink", u), network)
		}
		for _, guest := range n.guests {
			fmt.Fprintf(&b, "\t%s [label=%s, style=rounded];\n\t%s -- %s;\n", id("guest", name, guest), quote(guest), network, id("guest", name, guest))
		}
		for _, f := range n.forwards {
			from, to := id("forward", name, f.label), network
			if f.guest >= 0 {
				to = id("guest", name, n.guests[f.guest])
			}
			fmt.Fprintf(&b, "\t%s [label=%s, shape=cds];\n\t%s -- %s [style=dashed];\n", from, quote(f.label), to, from)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// Sizes in the SVG, in pixels.
const (
	boxWidth, lineHeight, gap = 260, 18, 14
	columnWidth               = boxWidth + 100
)

// box is a rectangle with lines of text.
type box struct {
	x, y  int
	lines []string
	class string
}

func (b box) height() int { return len(b.lines)*lineHeight + 10 }

// svg draws uplinks on the left, networks in the middle, guests to their right, and
// published ports in the last column.
func (g graph) svg() string {
	var out strings.Builder
	connect := func(from, to box) {
		fmt.Fprintf(&out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", from.x+boxWidth, from.y+from.height()/2, to.x, to.y+to.height()/2)
	}
	bottom, columns, uplinks := gap, 2, map[string]box{}
	for _, u := range g.uplinks {
		uplinks[u] = box{gap, bottom, []string{u}, "uplink"}
		bottom += uplinks[u].height() + gap
	}
	y := gap
	for _, n := range g.networks {
		var labels []string
		for _, f := range n.forwards {
			labels, columns = append(labels, f.label), 3
		}
		guests, below := stack(n.guests, "guest", 2, y)
		forwards, end := stack(labels, "forward", 3, y)
		below = max(below, end)
		net := box{gap + columnWidth, y, slices.DeleteFunc(slices.Clone(n.labels), func(s string) bool { return s == "" }), "network"}
		net.y = max(y, (y+below-gap-net.height())/2)
		for _, u := range n.uplinks {
			connect(uplinks[u], net)
		}
		for _, guest := range guests {
			connect(net, guest)
			guest.draw(&out)
		}
		for i, b := range forwards {
			from := net
			if f := n.forwards[i]; f.guest >= 0 {
				from = guests[f.guest]
			}
			connect(from, b)
			b.draw(&out)
		}
		net.draw(&out)
		y = max(below, net.y+net.height()+gap)
	}
	for _, u := range g.uplinks {
		uplinks[u].draw(&out)
	}
	width, height := gap+columns*columnWidth+boxWidth+gap, max(y, bottom)
	return fmt.Sprintf(svgHead, width, height, width, height) + out.String() + "</svg>\n"
}

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">
<style>rect{fill:#fff;stroke:#333}.uplink{fill:#eef}.network{fill:#efe;stroke-width:2}.guest{fill:#fff8e8}.forward{fill:#fef0f0;stroke-dasharray:4}line{stroke:#999}</style>
`

// stack places boxes of one line below each other in a column, and returns where the
// next network may begin.
func stack(lines []string, class string, column, y int) (boxes []box, below int) {
	for _, l := range lines {
		b := box{gap + column*columnWidth, y, []string{l}, class}
		boxes = append(boxes, b)
		y += b.height() + gap
	}
	return boxes, y
}

var xmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func (b box) draw(out *strings.Builder) {
	fmt.Fprintf(out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n", b.class, b.x, b.y, boxWidth, b.height())
	for i, l := range b.lines {
		if r := []rune(l); len(r) > boxWidth/7 {
			l = string(r[:boxWidth/7-1]) + "…"
		}
		fmt.Fprintf(out, "<text x=\"%d\" y=\"%d\">%s</text>\n", b.x+8, b.y+lineHeight*(i+1)-1, xmlEscape.Replace(cmp.Or(l, " ")))
	}
}
