package definition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// read returns the root node of each document that is not empty. What is wrong
// with the syntax becomes a finding; then there may be roots before it.
func (d *decoder) read(data []byte) []*yaml.Node {
	if at := invalidUTF8(data); at >= 0 {
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		d.findings = append(d.findings, Finding{File: d.file, Line: line, Why: "not UTF-8 text"})
		return nil
	}
	if roots, ok := readJSON(data); ok {
		return roots
	}
	roots, err := readYAML(data)
	if err != nil {
		d.findings = append(d.findings, syntaxFinding(d.file, data, err))
	}
	return roots
}

func readYAML(data []byte) (roots []*yaml.Node, err error) {
	// The parser reports what it expects by panics of its own, which it
	// catches; input is not to be trusted to meet only those.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return roots, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 && !isNull(n.Content[0]) {
			roots = append(roots, n.Content[0])
		}
	}
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

func syntaxFinding(file string, data []byte, err error) Finding {
	why := strings.TrimPrefix(err.Error(), "yaml: ")
	f := Finding{File: file, Line: 1}
	if m := yamlLine.FindStringSubmatch(why); m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		why = strings.TrimPrefix(why, m[0])
	}
	f.Why = why
	if line := lineOf(data, f.Line); strings.HasPrefix(strings.TrimLeft(line, " "), "\t") {
		f.Hint = "indent with spaces, not tabs"
	}
	return f
}

func lineOf(data []byte, line int) string {
	for range line - 1 {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return ""
		}
		data = rest
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return string(first)
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
