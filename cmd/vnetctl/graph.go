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

func (t *tool) graphCommand() *cobra.Command {
	form := "text"
	c := &cobra.Command{
		Use: "graph", Short: "Draw the host, its uplinks, networks, guests and published ports", Args: cobra.NoArgs,
		Long: "graph draws the host with its uplinks, networks, guests and published ports: as text for a terminal, as DOT for Graphviz, or as SVG for a browser.",
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			draw := map[string]func(picture) string{"text": picture.text, "dot": picture.dot, "svg": picture.svg}[form]
			if draw == nil {
				return fmt.Errorf("-o %s: use text, dot or svg", form)
			}
			p, err := takePicture(ctx, c)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(t.out, draw(p))
			return err
		}),
	}
	c.Flags().StringVarP(&form, "output", "o", form, "text, dot or svg")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// picture is what is drawn: uplinks, networks and guests, each in one column.
type picture struct {
	uplinks  []string
	networks []pictured
}

type pictured struct {
	name    string
	about   string   // mode and state
	bridge  string   // with addresses; empty for macvtaps
	uplinks []string // none: no way out
	guests  []string
	// forwards are published ports: from where to which guest.
	forwards []arrow
}

// arrow leads to one of the guests, by number, or to nobody that is there (-1).
type arrow struct {
	words string
	guest int
}

// outside stands for whatever link the host's routes choose.
const outside = "any uplink"

func takePicture(ctx context.Context, c *client.Client) (picture, error) {
	s, err := look(ctx, c)
	if err != nil {
		return picture{}, err
	}
	leases, err := c.ListLeases(ctx, &vnetv1.ListLeasesRequest{})
	if err != nil {
		return picture{}, err
	}
	forwards, err := c.ListForwards(ctx, &vnetv1.ListForwardsRequest{})
	if err != nil {
		return picture{}, err
	}
	var p picture
	for _, n := range s.networks {
		d := picturedOf(n, s.ports, leases.GetLeases(), forwards.GetForwards())
		p.networks = append(p.networks, d)
		p.uplinks = append(p.uplinks, d.uplinks...)
	}
	slices.Sort(p.uplinks)
	p.uplinks = slices.Compact(p.uplinks)
	return p, nil
}

func picturedOf(n *vnetv1.Network, ports []*vnetv1.Port, leases []*vnetv1.Lease, forwards []*vnetv1.PublishedForward) pictured {
	d := pictured{
		name: n.GetName(), about: definition.Word(n.GetMode()) + ", " + definition.Word(n.GetStatus().GetPhase()),
		uplinks: slices.Concat(n.GetUplinks(), n.GetBridge().GetUplinks(), n.GetDirect().GetUplinks()),
	}
	switch n.GetMode() {
	case vnetv1.Mode_MODE_NAT, vnetv1.Mode_MODE_ROUTE, vnetv1.Mode_MODE_OPEN:
		if len(d.uplinks) == 0 {
			d.uplinks = []string{outside}
		}
	}
	words := []string{n.GetBridge().GetName()}
	for _, s := range n.GetSubnets() {
		words = append(words, s.GetAddress())
	}
	d.bridge = strings.TrimSpace(strings.Join(words, " "))
	at := map[string]int{} // guests by address
	for _, p := range ports {
		if p.GetNetwork() != n.GetName() {
			continue
		}
		name, addresses := guestOf(p, leases)
		for _, a := range addresses {
			at[a] = len(d.guests)
		}
		d.guests = append(d.guests, guestWords(p, name, addresses))
	}
	for _, f := range forwards {
		if f.GetNetwork() == n.GetName() {
			d.forwards = append(d.forwards, arrowOf(f, at))
		}
	}
	return d
}

// arrowOf says "tcp/8080 to web:80", and what is the matter if it leads nowhere.
func arrowOf(p *vnetv1.PublishedForward, at map[string]int) arrow {
	f, guest := p.GetForward(), -1
	words := f.GetListen()
	if f.GetAddress() != "" {
		words += " on " + f.GetAddress()
	}
	words += " to " + f.GetTo()
	if p.GetState() != vnetv1.ForwardState_FORWARD_STATE_ACTIVE {
		words += " (" + definition.Word(p.GetState()) + ")"
	}
	for _, a := range p.GetTargets() {
		if i, ok := at[a]; ok {
			guest = i
		}
	}
	return arrow{words, guest}
}

// guestOf is a guest's name, and its addresses: the port's own word, and what leases
// know.
func guestOf(p *vnetv1.Port, leases []*vnetv1.Lease) (name string, addresses []string) {
	name, addresses = p.GetGuest(), slices.Clone(p.GetAddresses())
	for _, l := range leases {
		if p.GetMac() == "" || l.GetNetwork() != p.GetNetwork() || l.GetMac() != p.GetMac() {
			continue
		}
		name = cmp.Or(name, l.GetHostname())
		if !slices.Contains(addresses, l.GetAddress()) {
			addresses = append(addresses, l.GetAddress())
		}
	}
	return name, addresses
}

// guestWords says whose link it is, as far as that is known, and which.
func guestWords(p *vnetv1.Port, name string, addresses []string) string {
	words := append([]string{name}, addresses...)
	words = append(words, p.GetLink(), p.GetKind(), p.GetMac())
	if !p.GetAttached() {
		words = append(words, "(detached)")
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// text is a tree, the host its root.
func (p picture) text() string {
	var b strings.Builder
	b.WriteString("host\n")
	for i, n := range p.networks {
		branch, stem := "├── ", "│   "
		if i == len(p.networks)-1 {
			branch, stem = "└── ", "    "
		}
		fmt.Fprintf(&b, "%s%s (%s)\n", branch, n.name, n.about)
		var below []string
		if len(n.uplinks) > 0 {
			below = append(below, "out by "+strings.Join(n.uplinks, ", "))
		}
		if n.bridge != "" {
			below = append(below, "bridge "+n.bridge)
		}
		below = append(below, n.guests...)
		for _, f := range n.forwards {
			below = append(below, "published "+f.words)
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

// dot is for Graphviz: `vnetctl graph -o dot | dot -Tsvg`.
func (p picture) dot() string {
	var b strings.Builder
	b.WriteString("graph vnetd {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"sans-serif\"];\n")
	for _, u := range p.uplinks {
		fmt.Fprintf(&b, "\t%s [label=%s, shape=ellipse];\n", dotID("uplink", u), dotQuote(u))
	}
	for _, n := range p.networks {
		id := dotID("network", n.name)
		fmt.Fprintf(&b, "\t%s [label=%s, style=bold];\n", id, dotQuote(n.lines()...))
		for _, u := range n.uplinks {
			fmt.Fprintf(&b, "\t%s -- %s;\n", dotID("uplink", u), id)
		}
		for _, g := range n.guests {
			fmt.Fprintf(&b, "\t%s [label=%s, style=rounded];\n\t%s -- %s;\n", dotID("guest", n.name+" "+g), dotQuote(g), id, dotID("guest", n.name+" "+g))
		}
		for _, f := range n.forwards {
			from, to := dotID("forward", n.name+" "+f.words), id
			if f.guest >= 0 {
				to = dotID("guest", n.name+" "+n.guests[f.guest])
			}
			fmt.Fprintf(&b, "\t%s [label=%s, shape=cds];\n\t%s -- %s [style=dashed];\n", from, dotQuote(f.words), to, from)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func (n pictured) lines() []string {
	return slices.DeleteFunc([]string{n.name, n.about, n.bridge}, func(s string) bool { return s == "" })
}

func dotID(kind, name string) string { return dotQuote(kind + " " + name) }

var dotEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func dotQuote(lines ...string) string {
	for i, l := range lines {
		lines[i] = dotEscape.Replace(l)
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}

// The measures of the SVG, in pixels.
const (
	boxWidth, lineHeight, gap = 260, 18, 14
	columnWidth               = boxWidth + 100
)

// box is a rectangle with text in it.
type box struct {
	x, y  int
	lines []string
	class string
}

func (b box) height() int { return len(b.lines)*lineHeight + 10 }
func (b box) middle() int { return b.y + b.height()/2 }

// svg has uplinks on the left, networks in the middle, guests to the right, each
// network beside its guests, and beside them what is published.
func (p picture) svg() string {
	var out strings.Builder
	uplinks := map[string]box{}
	y := gap
	for _, u := range p.uplinks {
		uplinks[u] = box{gap, y, []string{u}, "uplink"}
		y += uplinks[u].height() + gap
	}
	bottom, y := y, gap
	for _, n := range p.networks {
		guests, below := stack(n.guests, "guest", 2, y)
		doors, end := stack(n.doors(), "forward", 3, y)
		below = max(below, end)
		net := box{gap + columnWidth, y, n.lines(), "network"}
		net.y = max(y, (y+below-gap-net.height())/2)
		for _, u := range n.uplinks {
			out.WriteString(line(uplinks[u], net))
		}
		for _, g := range guests {
			out.WriteString(line(net, g) + g.svg())
		}
		for i, d := range doors {
			from := net
			if f := n.forwards[i]; f.guest >= 0 {
				from = guests[f.guest]
			}
			out.WriteString(line(from, d) + d.svg())
		}
		out.WriteString(net.svg())
		y = max(below, net.y+net.height()+gap)
	}
	for _, u := range p.uplinks {
		out.WriteString(uplinks[u].svg())
	}
	columns := 2
	if slices.ContainsFunc(p.networks, func(n pictured) bool { return n.forwards != nil }) {
		columns = 3
	}
	width, height := gap+columns*columnWidth+boxWidth+gap, max(y, bottom)
	return fmt.Sprintf(svgHead, width, height, width, height) + out.String() + "</svg>\n"
}

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">
<style>rect{fill:#fff;stroke:#333}.uplink{fill:#eef}.network{fill:#efe;stroke-width:2}.guest{fill:#fff8e8}.forward{fill:#fef0f0;stroke-dasharray:4}line{stroke:#999}</style>
`

func (n pictured) doors() []string {
	var out []string
	for _, f := range n.forwards {
		out = append(out, f.words)
	}
	return out
}

// stack puts boxes of one line below each other in a column, and returns where the
// next thing may begin.
func stack(lines []string, class string, column, y int) ([]box, int) {
	var out []box
	for _, l := range lines {
		b := box{gap + column*columnWidth, y, []string{l}, class}
		out = append(out, b)
		y += b.height() + gap
	}
	return out, y
}

func line(from, to box) string {
	return fmt.Sprintf("<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", from.x+boxWidth, from.middle(), to.x, to.middle())
}

var xmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func (b box) svg() string {
	var out strings.Builder
	fmt.Fprintf(&out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n", b.class, b.x, b.y, boxWidth, b.height())
	for i, l := range b.lines {
		fmt.Fprintf(&out, "<text x=\"%d\" y=\"%d\">%s</text>\n", b.x+8, b.y+lineHeight*(i+1)-1, xmlEscape.Replace(shortened(l)))
	}
	return out.String()
}

// shortened fits a line into a box.
func shortened(l string) string {
	r := []rune(l)
	if most := boxWidth / 7; len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return cmp.Or(l, " ")
}
