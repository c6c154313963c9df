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

func (t *tool) topCommand() *cobra.Command {
	every := 2 * time.Second
	c := &cobra.Command{
		Use: "top", Short: "Watch how much passes networks and ports; keys: s sorts otherwise, q ends", Args: cobra.NoArgs,
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			if every < 100*time.Millisecond {
				return fmt.Errorf("--every %s: use 100ms or more", every)
			}
			return t.top(ctx, c, every)
		}),
	}
	c.Flags().DurationVar(&every, "every", every, "how long to measure")
	return c
}

// top draws until somebody has seen enough, or once if nobody is watching.
func (t *tool) top(ctx context.Context, c *client.Client, every time.Duration) error {
	before, err := look(ctx, c)
	if err != nil {
		return err
	}
	screen := openScreen(t.in, t.out)
	defer screen.close()
	order, rates := byTotal, []rate(nil)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if screen != nil {
			screen.draw(topTable(before, rates, order))
		}
		select {
		case <-ctx.Done():
			return nil
		case key, ok := <-screen.pressed():
			switch {
			case !ok || key == 'q' || key == 3:
				return nil
			case key == 's':
				order = (order + 1) % orders
			}
			continue
		case <-tick.C:
		}
		now, err := look(ctx, c)
		if err != nil {
			return err
		}
		rates, before = ratesOf(before, now), now
		if screen == nil {
			_, err := fmt.Fprint(t.out, topTable(now, rates, order))
			return err
		}
	}
}

// sight is what there was at a time.
type sight struct {
	at       time.Time
	networks []*vnetv1.Network
	ports    []*vnetv1.Port
}

func look(ctx context.Context, c *client.Client) (sight, error) {
	networks, err := c.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
	if err != nil {
		return sight{}, err
	}
	ports, err := c.ListPorts(ctx, &vnetv1.ListPortsRequest{})
	if err != nil {
		return sight{}, err
	}
	return sight{time.Now(), networks.GetNetworks(), ports.GetPorts()}, nil
}

// rate is how much passes a port, or with port "" a network, per second.
type rate struct {
	network, port string
	in, out       float64 // bits, from the guest's point of view
	frames, drops float64
}

func ratesOf(before, now sight) []rate {
	was := map[[2]string]*vnetv1.Counters{}
	before.each(func(network, port string, c *vnetv1.Counters) { was[[2]string{network, port}] = c })
	seconds := now.at.Sub(before.at).Seconds()
	var out []rate
	now.each(func(network, port string, c *vnetv1.Counters) {
		w := was[[2]string{network, port}]
		if w == nil || c == nil || c.GetRxBytes() < w.GetRxBytes() || c.GetTxBytes() < w.GetTxBytes() {
			w = c // new, or made anew
		}
		out = append(out, rate{
			network, port,
			8 * float64(c.GetRxBytes()-w.GetRxBytes()) / seconds, 8 * float64(c.GetTxBytes()-w.GetTxBytes()) / seconds,
			float64(c.GetRxPackets()-w.GetRxPackets()+c.GetTxPackets()-w.GetTxPackets()) / seconds,
			float64(c.GetRxDrops()-w.GetRxDrops()+c.GetTxDrops()-w.GetTxDrops()) / seconds,
		})
	})
	return out
}

func (s sight) each(f func(network, port string, c *vnetv1.Counters)) {
	for _, n := range s.networks {
		f(n.GetName(), "", n.GetStatus().GetCounters())
	}
	for _, p := range s.ports {
		f(p.GetNetwork(), p.GetLink(), p.GetCounters())
	}
}

// The orders of ports within a network, and of networks.
const (
	byTotal = iota
	byIn
	byOut
	byName
	orders
)

var orderNames = [orders]string{"total", "in", "out", "name"}

func (r rate) key(order int) float64 {
	switch order {
	case byTotal:
		return r.in + r.out
	case byIn:
		return r.in
	case byOut:
		return r.out
	}
	return 0
}

// topTable lists networks, each with its ports below it. A network's own line is
// what passes to the host and beyond.
func topTable(s sight, rates []rate, order int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %d networks, %d ports, by %s   (s sorts, q ends)\n", s.at.Format(time.TimeOnly), len(s.networks), len(s.ports), orderNames[order])
	fmt.Fprintf(&b, "%-28s %10s %10s %10s %10s\n", "NETWORK / PORT", "IN bit/s", "OUT bit/s", "FRAMES/s", "DROPS/s")
	slices.SortStableFunc(rates, func(x, y rate) int {
		return cmp.Or(cmp.Compare(y.key(order), x.key(order)), cmp.Compare(x.network, y.network), cmp.Compare(x.port, y.port))
	})
	for _, n := range rates {
		if n.port != "" {
			continue
		}
		b.WriteString(n.line(n.network))
		for _, p := range rates {
			if p.port != "" && p.network == n.network {
				b.WriteString(p.line("  " + p.port))
			}
		}
	}
	return b.String()
}

func (r rate) line(name string) string {
	return fmt.Sprintf("%-28s %10s %10s %10s %10s\n", name, amount(r.in, ""), amount(r.out, ""), amount(r.frames, ""), amount(r.drops, ""))
}

// screen is a terminal that somebody watches.
type screen struct {
	out  *os.File
	in   *os.File
	was  *unix.Termios
	keys chan byte
}

// openScreen returns nil if one of the two is no terminal.
func openScreen(in, out any) *screen {
	i, ok1 := in.(*os.File)
	o, ok2 := out.(*os.File)
	if !ok1 || !ok2 {
		return nil
	}
	was, err := unix.IoctlGetTermios(int(i.Fd()), unix.TCGETS)
	if err != nil {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(o.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	raw := *was
	raw.Lflag &^= unix.ICANON | unix.ECHO
	if unix.IoctlSetTermios(int(i.Fd()), unix.TCSETS, &raw) != nil {
		return nil
	}
	s := &screen{o, i, was, make(chan byte)}
	fmt.Fprint(o, "\x1b[?1049h\x1b[?25l")
	go s.read()
	return s
}

// read ends with the program: nothing takes a terminal's reader away.
func (s *screen) read() {
	defer close(s.keys)
	r := bufio.NewReader(s.in)
	for {
		key, err := r.ReadByte()
		if err != nil {
			return
		}
		s.keys <- key
	}
}

// pressed is never ready where there is no screen.
func (s *screen) pressed() <-chan byte {
	if s == nil {
		return nil
	}
	return s.keys
}

// draw fills the screen, and cuts what does not fit.
func (s *screen) draw(text string) {
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

func (s *screen) close() {
	if s == nil {
		return
	}
	fmt.Fprint(s.out, "\x1b[?25h\x1b[?1049l")
	_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.was)
}
