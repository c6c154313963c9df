// Package metrics shows the counters of a daemon to Prometheus, in its text format
// (version 0.0.4).
package metrics

import (
	"fmt"
	"strings"
)

// kind is what Prometheus calls the type of a metric.
type kind string

const (
	counter kind = "counter"
	gauge   kind = "gauge"
)

// text writes one exposition.
type text struct{ strings.Builder }

// family begins a metric; its samples follow.
func (b *text) family(name string, k kind, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, k)
}

// sample writes a value, with pairs of label and value.
func (b *text) sample(name string, value float64, labels ...string) {
	b.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		fmt.Fprintf(b, `%s="%s"`, labels[i], escape.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	fmt.Fprintf(b, " %.16g\n", value)
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
