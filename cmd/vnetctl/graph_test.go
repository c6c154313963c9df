package main

import (
	"encoding/xml"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// odd has names that each form has to quote.
var odd = graph{
	uplinks: []string{anyUplink, `e"<&>\0`},
	networks: []networkNode{
		{
			[]string{"lab", "nat, ready", "lab0 192.168.10.1/24 fd00:10::1/64"},
			[]string{anyUplink},
			[]string{"web 192.168.10.80 vnet0 tap", "vnet1 veth (detached)"},
			[]forwardNode{{"tcp/8080 to web:80", 0}, {"tcp/9090 to \"db\":80 (waiting)", -1}},
		},
		{[]string{"lan", "direct, ready", ""}, []string{`e"<&>\0`}, nil, nil},
		{[]string{"quiet", "isolated, stopped", "quiet0"}, nil, []string{"vnet2 tap"}, nil},
	},
}

func TestGraphAsText(t *testing.T) {
	const want = `host
├── lab (nat, ready)
│   ├── uplink any uplink
│   ├── bridge lab0 192.168.10.1/24 fd00:10::1/64
│   ├── web 192.168.10.80 vnet0 tap
│   ├── vnet1 veth (detached)
│   ├── published tcp/8080 to web:80
│   └── published tcp/9090 to "db":80 (waiting)
├── lan (direct, ready)
│   └── uplink e"<&>\0
└── quiet (isolated, stopped)
    ├── bridge quiet0
    └── vnet2 tap
`
	if got := odd.text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGraphAsSVG(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(odd.svg()))
	count := map[string]int{}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, odd.svg())
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
	if count["rect"] != 10 || count["line"] != 7 {
		t.Errorf("got %d boxes and %d lines, want 10 and 7:\n%s", count["rect"], count["line"], odd.svg())
	}
}

// Graphviz reads the DOT, and finds each box and line.
func TestGraphAsDOT(t *testing.T) {
	nettest.Need(t, "dot")
	cmd := exec.Command("dot", "-Tplain")
	cmd.Stdin = strings.NewReader(odd.dot())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dot: %v\n%s\n%s", err, out, odd.dot())
	}
	nodes, edges := strings.Count(string(out), "\nnode "), strings.Count(string(out), "\nedge ")
	if nodes != 10 || edges != 7 {
		t.Errorf("got %d nodes and %d edges, want 10 and 7:\n%s", nodes, edges, out)
	}
}
