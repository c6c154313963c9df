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
var odd = picture{
	uplinks: []string{outside, `e"<&>\0`},
	networks: []pictured{
		{"lab", "nat, ready", "lab0 192.168.10.1/24 fd00:10::1/64", []string{outside}, []string{"vnet0 tap", "vnet1 veth (detached)"}},
		{"lan", "direct, ready", "", []string{`e"<&>\0`}, nil},
		{"quiet", "isolated, stopped", "quiet0", nil, []string{"vnet2 tap"}},
	},
}

func TestPictureAsText(t *testing.T) {
	const want = `host
├── lab (nat, ready)
│   ├── out by any uplink
│   ├── bridge lab0 192.168.10.1/24 fd00:10::1/64
│   ├── vnet0 tap
│   └── vnet1 veth (detached)
├── lan (direct, ready)
│   └── out by e"<&>\0
└── quiet (isolated, stopped)
    ├── bridge quiet0
    └── vnet2 tap
`
	if got := odd.text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPictureAsSVG(t *testing.T) {
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
	if count["rect"] != 8 || count["line"] != 5 {
		t.Errorf("got %d boxes and %d lines, want 8 and 5:\n%s", count["rect"], count["line"], odd.svg())
	}
}

// Graphviz reads the DOT, and finds each box and line.
func TestPictureAsDOT(t *testing.T) {
	nettest.Need(t, "dot")
	cmd := exec.Command("dot", "-Tplain")
	cmd.Stdin = strings.NewReader(odd.dot())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dot: %v\n%s\n%s", err, out, odd.dot())
	}
	nodes, edges := strings.Count(string(out), "\nnode "), strings.Count(string(out), "\nedge ")
	if nodes != 8 || edges != 5 {
		t.Errorf("got %d nodes and %d edges, want 8 and 5:\n%s", nodes, edges, out)
	}
}
