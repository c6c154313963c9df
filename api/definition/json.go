package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// readJSON returns the nodes of JSON text, several values in a row being
// several documents, or false if data is not JSON. JSON is nearly YAML; but YAML
// readers stumble over tabs, over escaped slashes and over escapes of characters
// beyond 16 bits, so it is read as what it is. Keys given twice stay, to be found
// by the decoder.
func readJSON(data []byte) ([]*yaml.Node, bool) {
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return nil, false
	}
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1, column: 1}
	r.dec.UseNumber()
	var roots []*yaml.Node
	for {
		n, err := r.value()
		if errors.Is(err, io.EOF) {
			return roots, true
		}
		if err != nil {
			return nil, false
		}
		roots = append(roots, n)
	}
}

type jsonReader struct {
	dec          *json.Decoder
	data         []byte
	at           int // the position that line and column are about
	line, column int
}

func (r *jsonReader) value() (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	n.Line, n.Column = r.next()
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		return n, r.children(n, t)
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!float", t.String()
	case bool:
		n.Tag, n.Value = "!!bool", map[bool]string{true: "true", false: "false"}[t]
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

func (r *jsonReader) children(n *yaml.Node, open json.Delim) error {
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	if open == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for r.dec.More() {
		child, err := r.value()
		if err != nil {
			return errNotJSON // not err: io.EOF in here is no end of the documents
		}
		n.Content = append(n.Content, child)
	}
	if _, err := r.dec.Token(); err != nil {
		return errNotJSON
	}
	return nil
}

var errNotJSON = errors.New("not JSON")

// next returns where the next token starts.
func (r *jsonReader) next() (line, column int) {
	to := int(r.dec.InputOffset())
	for to < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[to]) >= 0 {
		to++
	}
	for r.at < to {
		c, size := utf8.DecodeRune(r.data[r.at:])
		r.at += size
		r.column++
		if c == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
	return r.line, r.column
}
