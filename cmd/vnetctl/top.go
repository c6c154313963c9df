package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func topCommand(t *tool) *cobra.Command {
	interval := 2 * time.Second
	c := &cobra.Command{
		Use: "top", Short: "Show live traffic per network and port (s: change sort order, q: quit)",
		Example: "  vnetctl top --every 1s",
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			if interval < 100*time.Millisecond {
				return fmt.Errorf("--every %s: must be at least 100ms", interval)
			}
			return t.top(ctx, c, interval)
		}),
	}
	c.Flags().DurationVar(&interval, "every", interval, "measuring interval")
	return c
}

// top draws until the user quits, or prints one table if there is no terminal.
func (t *tool) top(ctx context.Context, c *client.Client, interval time.Duration) error {
	before, err := takeSample(ctx, c)
	if err != nil {
		return err
	}
	term := openTerminal(t.in, t.out)
	var keys chan byte // without a terminal nil, which never receives
	if term != nil {
		defer term.close()
		keys = term.keys
	}
	order, rates := 0, []rate(nil)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if term != nil {
			term.draw(topTable(before, rates, order))
		}
		select {
		case <-ctx.Done():
			return nil
		case key, ok := <-keys:
			switch {
			case !ok || key == 'q' || key == 3:
				return nil
			case key == 's':
				order = (order + 1) % len(orders)
			}
			continue
		case <-tick.C:
		}
		now, err := takeSample(ctx, c)
		if err != nil {
			return err
		}
		rates, before = ratesOf(before, now), now
		if term == nil {
			_, err := fmt.Fprint(t.out, topTable(now, rates, order))
			return err
		}
	}
}

// sample is the state of all networks and ports at a time.
type sample struct {
	at       time.Time
	networks []*vnetv1.Network
	ports    []*vnetv1.Port
}

func takeSample(ctx context.Context, c *client.Client) (sample, error) {
	networks, err := c.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
	if err != nil {
		return sample{}, err
	}
	ports, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{})
	return sample{time.Now(), networks.GetNetworks(), ports.GetPorts()}, err
}

// rate is the traffic per second of a port, or with port "" of a network.
type rate struct {
	network, port string
	in, out       float64 // bits, from the guest's point of view
	frames, drops float64
}

func ratesOf(before, now sample) []rate {
	last := map[[2]string]*vnetv1.Counters{}
	before.each(func(network, port string, c *vnetv1.Counters) { last[[2]string{network, port}] = c })
	seconds := now.at.Sub(before.at).Seconds()
	var out []rate
	now.each(func(network, port string, c *vnetv1.Counters) {
		b := last[[2]string{network, port}]
		if b == nil || c == nil || c.GetRxBytes() < b.GetRxBytes() || c.GetTxBytes() < b.GetTxBytes() {
			b = c // new, or created again
		}
		out = append(out, rate{
			network, port,
			8 * float64(c.GetRxBytes()-b.GetRxBytes()) / seconds, 8 * float64(c.GetTxBytes()-b.GetTxBytes()) / seconds,
			float64(c.GetRxPackets()-b.GetRxPackets()+c.GetTxPackets()-b.GetTxPackets()) / seconds,
			float64(c.GetRxDrops()-b.GetRxDrops()+c.GetTxDrops()-b.GetTxDrops()) / seconds,
		})
	})
	return out
}

func (s sample) each(f func(network, port string, c *vnetv1.Counters)) {
	for _, n := range s.networks {
		f(n.GetName(), "", n.GetStatus().GetCounters())
	}
	for _, p := range s.ports {
		f(p.GetNetwork(), p.GetLink(), p.GetCounters())
	}
}

// orders are the sort orders of networks, and of the ports of each.
var orders = []struct {
	name string
	key  func(rate) float64
}{
	{"total", func(r rate) float64 { return r.in + r.out }},
	{"in", func(r rate) float64 { return r.in }},
	{"out", func(r rate) float64 { return r.out }},
	{"name", func(rate) float64 { return 0 }},
}

// topTable lists networks, each with its ports below it. The counters of a network are
// those of traffic to the host and beyond.
func topTable(s sample, rates []rate, order int) string {
	var b strings.Builder
	row := func(cells ...any) { fmt.Fprintf(&b, "%-28s %10s %10s %10s %10s\n", cells...) }
	line := func(name string, r rate) {
		row(name, amount(r.in, ""), amount(r.out, ""), amount(r.frames, ""), amount(r.drops, ""))
	}
	fmt.Fprintf(&b, "%s  %d networks, %d ports, by %s   (s: sort order, q: quit)\n", s.at.Format(time.TimeOnly), len(s.networks), len(s.ports), orders[order].name)
	row("NETWORK / PORT", "IN bit/s", "OUT bit/s", "FRAMES/s", "DROPS/s")
	slices.SortStableFunc(rates, func(x, y rate) int {
		key := orders[order].key
		return cmp.Or(cmp.Compare(key(y), key(x)), cmp.Compare(x.network, y.network), cmp.Compare(x.port, y.port))
	})
	for _, n := range rates {
		if n.port != "" {
			continue
		}
		line(n.network, n)
		for _, p := range rates {
			if p.port != "" && p.network == n.network {
				line("  "+p.port, p)
			}
		}
	}
	return b.String()
}

// terminal is a screen with keys.
type terminal struct {
	out, in  *os.File
	original *unix.Termios
	keys     chan byte
}

// openTerminal returns nil if in or out is not a terminal.
func openTerminal(in, out any) *terminal {
	i, ok1 := in.(*os.File)
	o, ok2 := out.(*os.File)
	if !ok1 || !ok2 {
		return nil
	}
	original, err := unix.IoctlGetTermios(int(i.Fd()), unix.TCGETS)
	if err != nil {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(o.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	raw := *original
	raw.Lflag &^= unix.ICANON | unix.ECHO
	if unix.IoctlSetTermios(int(i.Fd()), unix.TCSETS, &raw) != nil {
		return nil
	}
	s := &terminal{o, i, original, make(chan byte)}
	fmt.Fprint(o, "\x1b[?1049h\x1b[?25l") // alternate screen, no cursor
	// The goroutine ends with the process: a read from a terminal cannot be cancelled.
	go func() {
		defer close(s.keys)
		r := bufio.NewReader(i)
		for {
			key, err := r.ReadByte()
			if err != nil {
				return
			}
			s.keys <- key
		}
	}()
	return s
}

// draw fills the screen, and truncates what does not fit.
func (s *terminal) draw(text string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	width, height := 80, 24
	if size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 && size.Col > 0 {
		width, height = int(size.Col), int(size.Row)
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line[:min(len(line), width)])
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, _ = s.out.WriteString(b.String())
}

func (s *terminal) close() {
	fmt.Fprint(s.out, "\x1b[?25h\x1b[?1049l")
	_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.original)
}
