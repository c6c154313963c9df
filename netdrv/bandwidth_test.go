package netdrv

import (
	"strings"
	"testing"
)

func TestRates(t *testing.T) {
	for in, want := range map[string]string{
		"8kbit": "8kbit", "10mbit": "10mbit", "2.5gbit": "2500mbit", "500kB": "4mbit", "1.5MB": "12mbit", "1000kbit": "1mbit", "8bit": "8bit",
	} {
		r, err := ParseBitRate(in)
		if err != nil || r.String() != want {
			t.Errorf("%s: got %s, %v, want %s", in, r, err, want)
			continue
		}
		if again, err := ParseBitRate(r.String()); err != nil || again != r {
			t.Errorf("%s does not come back: %s, %v", in, again, err)
		}
	}
	for _, in := range []string{"", "10", "10Mbit", "10 mbit", "-1mbit", "1e3kbit", "1kbps", "0.5bit", "9bit", ".5mbit", "99999999999999999999gbit", "mbit"} {
		if r, err := ParseBitRate(in); err == nil {
			t.Errorf("%q is taken for %s", in, r)
		}
	}
	for in, want := range map[string]string{"100kB": "100kB", "64KiB": "64KiB", "1500B": "1500B", "2000kB": "2MB"} {
		if s, err := ParseSize(in); err != nil || s.String() != want {
			t.Errorf("%s: got %s, %v, want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"100k", "100kbit", "4GiB", "1.0001B"} {
		if s, err := ParseSize(in); err == nil {
			t.Errorf("%q is taken for %s", in, s)
		}
	}
}

func TestValidateBandwidth(t *testing.T) {
	const m = 1_000_000
	for name, c := range map[string]struct {
		change func(*Network)
		want   []string // beginnings, one a finding
	}{
		"all of it": {func(n *Network) {
			n.Bandwidth = NetworkBandwidth{In: Rate{Average: m, Peak: 2 * m, Burst: 100_000}, Out: Rate{Average: m}, PerPort: Bandwidth{In: Rate{Average: m}}}
		}, nil},
		"too slow":           {func(n *Network) { n.Bandwidth.In.Average = 800 }, []string{"bandwidth.in.average: 800bit is outside 8kbit to 400gbit"}},
		"too fast":           {func(n *Network) { n.Bandwidth.PerPort.Out.Average = 1e12 }, []string{"bandwidth.perPort.out.average: 1000gbit is outside"}},
		"a peak alone":       {func(n *Network) { n.Bandwidth.In.Peak = m }, []string{"bandwidth.in.average: is missing"}},
		"a peak below":       {func(n *Network) { n.Bandwidth.Out = Rate{Average: 2 * m, Peak: m} }, []string{"bandwidth.out.peak: 1mbit is less than the average of 2mbit"}},
		"a burst of a byte":  {func(n *Network) { n.Bandwidth.In = Rate{Average: m, Burst: 1} }, []string{"bandwidth.in.burst: 1B is less than a frame"}},
		"a burst of an hour": {func(n *Network) { n.Bandwidth.In = Rate{Average: 8000, Burst: 3_600_000} }, []string{"bandwidth.in.burst: 3600kB takes longer than a minute"}},
		"both ways out":      {func(n *Network) { n.Bandwidth.Out.Average, n.Bandwidth.PerPort.Out.Average = m, m }, nil},
		"a peak in both": {func(n *Network) {
			n.Bandwidth.Out.Average, n.Bandwidth.PerPort.Out = m, Rate{Average: m, Peak: 2 * m}
		}, []string{"bandwidth.perPort.out.peak: cannot be held besides"}},
		"a floor of nobody's": {func(n *Network) { n.Bandwidth.In = Rate{Average: m, Floor: m} }, []string{"bandwidth.in.floor: is a port's alone: `vnetctl port set LINK bandwidth.in.floor=1mbit`"}},
		"somebody's bridge":   {func(n *Network) { n.Mode, n.Bandwidth.In.Average = ExistingBridge, m }, []string{"bandwidth.in: is what passes the host's address"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := lab()
			c.change(&n)
			var fs Findings
			validateBandwidth(&fs, &n)
			if len(fs) != len(c.want) {
				t.Fatalf("got %v, want %q", fs, c.want)
			}
			for i, f := range fs {
				if !strings.HasPrefix(f.String(), c.want[i]) {
					t.Errorf("got %q, want it to begin with %q", f, c.want[i])
				}
			}
		})
	}
}

func TestIfbNames(t *testing.T) {
	seen := map[string]string{}
	for _, link := range []string{"vnet0", "elevenbytes", "twelve-bytes", "fifteen-bytes-0", "fifteen-bytes-1"} {
		name := IfbName(link)
		if why := LinkNameProblem(name); why != "" || seen[name] != "" {
			t.Errorf("%s: %q %s (also %s's)", link, name, why, seen[name])
		}
		seen[name] = link
	}
}

func TestValidatePortBandwidth(t *testing.T) {
	const m = 1_000_000
	other := Port{Network: "lab", Link: "vnet1", Bandwidth: Bandwidth{In: Rate{Floor: 6 * m}}}
	for name, c := range map[string]struct {
		own  Bandwidth
		want string // beginning of the finding, or none
	}{
		"limits":          {Bandwidth{In: Rate{Average: m, Peak: 2 * m}, Out: Rate{Average: m}}, ""},
		"a floor":         {Bandwidth{In: Rate{Floor: 4 * m}}, ""},
		"one too many":    {Bandwidth{In: Rate{Floor: 5 * m}}, "bandwidth.in.floor: the floors of the network's ports are 11mbit then, and its bandwidth.in.average is 10mbit"},
		"of nothing":      {Bandwidth{Out: Rate{Floor: m}}, "bandwidth.out.floor: is a part of what all guests share, and network lab has no bandwidth.out.average"},
		"above its limit": {Bandwidth{In: Rate{Average: m, Floor: 2 * m}}, "bandwidth.in.floor: 2mbit is more than the port's average of 1mbit"},
		"next to nothing": {Bandwidth{In: Rate{Floor: 8}}, "bandwidth.in.floor: 8bit is outside 8kbit to 400gbit"},
		"no limit":        {Bandwidth{In: Rate{Average: 8}}, "bandwidth.in.average: 8bit is outside"},
	} {
		n := lab()
		n.Bandwidth.In.Average = 10 * m
		p := Port{Network: "lab", Link: "vnet0", MAC: MAC{2, 0, 0, 0, 0, 9}, Bandwidth: c.own}
		fs := append(ValidatePort(&p, &n), PortConflicts(&p, &n, []Port{other}, Host{})...)
		switch {
		case c.want == "" && fs == nil:
		case len(fs) != 1 || !strings.HasPrefix(fs[0].String(), c.want) || c.want == "":
			t.Errorf("%s: got %v, want %q", name, fs, c.want)
		}
	}
}

// Guests keep their classes when others come and go.
func TestSharesStay(t *testing.T) {
	n := lab()
	n.Bandwidth.Out.Average, n.Bandwidth.PerPort.Out.Average = 8_000_000, 2_000_000
	members := make([]Member, 300)
	for i := range members {
		members[i] = Member{Network: "lab", Link: "vnet", MAC: MAC{2, 0, 0, 0, byte(i >> 8), byte(i + 1)}}
	}
	all := sharesOf(&n, members)
	few := sharesOf(&n, members[:200])
	classes, moved := map[MAC]uint16{}, 0
	seen := map[uint16]bool{}
	for _, s := range all {
		classes[s.MAC] = s.Minor
		if seen[s.Minor] || s.Minor < defaultClass {
			t.Errorf("class %x twice", s.Minor)
		}
		seen[s.Minor] = true
	}
	for _, s := range few {
		if classes[s.MAC] != s.Minor {
			moved++
		}
	}
	if len(all) != 301 || len(few) != 201 || moved > 2 {
		t.Errorf("%d and %d shares, %d moved", len(all), len(few), moved)
	}
}

func sharesOf(n *Network, members []Member) []Class {
	s := Compile(Intent{Live: []Network{*n}, Members: members}, Host{})
	for _, q := range s.Queues {
		if q.Classes != nil {
			return q.Classes
		}
	}
	return nil
}
