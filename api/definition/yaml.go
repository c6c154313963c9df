package definition

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// writer writes the nodes that an encoder makes as yaml.Encoder with an indent of two
// would, in a sixth of its time and memory: a definition may have a hundred thousand
// reservations.
type writer struct {
	bytes.Buffer
	err error
}

// document writes a node with a newline at its end.
func (w *writer) document(n *yaml.Node) {
	if w.block(n, 0); w.Len() == 0 || w.Bytes()[w.Len()-1] != '\n' {
		w.WriteByte('\n')
	}
}

// block writes a node that begins at the current column, which is indent; further lines
// of it are indented by as much.
func (w *writer) block(n *yaml.Node, indent int) {
	switch {
	case n.Kind == yaml.ScalarNode:
		w.scalar(n, false)
	case n.Style == yaml.FlowStyle:
		w.flow(n)
	case n.Kind == yaml.SequenceNode:
		for i, element := range n.Content {
			w.line(i, indent)
			w.WriteString("- ")
			w.block(element, indent+2)
		}
	default:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			w.line(i, indent)
			w.scalar(key, false)
			w.WriteByte(':')
			if value.Kind == yaml.ScalarNode || value.Style == yaml.FlowStyle {
				w.WriteByte(' ')
				w.block(value, indent)
				continue
			}
			w.WriteByte('\n')
			w.WriteString(strings.Repeat(" ", indent+2))
			w.block(value, indent+2)
		}
	}
}

// line begins the line of an entry, except the first, which continues its line.
func (w *writer) line(i, indent int) {
	if i > 0 {
		w.WriteByte('\n')
		w.WriteString(strings.Repeat(" ", indent))
	}
}

func (w *writer) flow(n *yaml.Node) {
	switch n.Kind {
	case yaml.SequenceNode:
		w.WriteByte('[')
		for i, element := range n.Content {
			w.separate(i)
			w.flow(element)
		}
		w.WriteByte(']')
	case yaml.MappingNode:
		w.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.separate(i)
			w.scalar(n.Content[i], true)
			w.WriteString(": ")
			w.flow(n.Content[i+1])
		}
		w.WriteByte('}')
	default:
		w.scalar(n, true)
	}
}

func (w *writer) separate(i int) {
	if i > 0 {
		w.WriteString(", ")
	}
}

// scalar asks the library about a scalar of which it is not plain how it is written,
// inside of a flow collection or not.
func (w *writer) scalar(n *yaml.Node, flow bool) {
	s := n.Value
	switch {
	case n.Style == yaml.DoubleQuotedStyle && plainInQuotes(s):
		w.WriteString(`"` + s + `"`)
	case n.Style == 0 && (n.Tag == "!!bool" || n.Tag == "!!int" || n.Tag == "!!str" && isWord(s)):
		w.WriteString(s)
	default:
		if flow {
			n = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{n}}
		}
		b, err := yaml.Marshal(n)
		if b = bytes.TrimSuffix(b, []byte("\n")); flow && err == nil {
			b = b[1 : len(b)-1]
		}
		if w.err == nil {
			w.err = err
		}
		w.Write(b)
	}
}

// plainInQuotes reports whether s is of printable ASCII without " and \.
func plainInQuotes(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
}

// isWord reports whether s, which text leaves without quotes, is a string to the library
// too: it begins with a letter, or is an IPv4 address.
func isWord(s string) bool {
	if !plainSafe(s) || strings.ContainsAny(s, ": ") {
		return false
	}
	letter := 'a' <= s[0]|0x20 && s[0]|0x20 <= 'z'
	return letter || strings.Trim(s, "0123456789.") == "" && strings.Count(s, ".") == 3
}
