package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func marshalJSON[T any](value T, node func(*encoder, T) *yaml.Node) ([]byte, error) {
	e := &encoder{}
	root := node(e, value)
	var compact, out bytes.Buffer
	e.json(&compact, root)
	if e.err != nil {
		return nil, e.err
	}
	if err := json.Indent(&out, compact.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// json writes n, which is one of ours, as JSON. The nodes are the mapping; the
// two languages differ in their spelling only.
func (e *encoder) json(out *bytes.Buffer, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		e.jsonMapping(out, n)
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, element := range n.Content {
			comma(out, i)
			e.json(out, element)
		}
		out.WriteByte(']')
	default:
		e.jsonScalar(out, n)
	}
}

func (e *encoder) jsonMapping(out *bytes.Buffer, n *yaml.Node) {
	out.WriteByte('{')
	for i := 0; i < len(n.Content); i += 2 {
		comma(out, i)
		e.jsonScalar(out, n.Content[i])
		out.WriteByte(':')
		e.json(out, n.Content[i+1])
	}
	out.WriteByte('}')
}

func (e *encoder) jsonScalar(out *bytes.Buffer, n *yaml.Node) {
	switch {
	case n.Tag == "!!int", n.Tag == "!!bool", n.Tag == "!!float" && floatWords[n.Value] == "":
		out.WriteString(n.Value)
		return
	case !utf8.ValidString(n.Value):
		e.fail(fmt.Errorf("%q is not UTF-8 text", n.Value))
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(n.Value); err != nil {
		e.fail(err)
	}
	out.Truncate(out.Len() - 1) // Encode ends with a newline
}

func comma(out *bytes.Buffer, i int) {
	if i > 0 {
		out.WriteByte(',')
	}
}
