package definition

import (
	"google.golang.org/protobuf/proto"

	"go.yaml.in/yaml/v3"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// Document is one network as it stood in a file.
type Document struct {
	Network *vnetv1.Network
	File    string

	positions map[string]position
}

type position struct{ line, column int }

// Has reports whether the file gives a value for path, even a value that is the
// same as none: autostart: false.
func (d *Document) Has(path string) bool {
	_, ok := d.positions[path]
	return ok && path != ""
}

// Position returns where path stands in the file, or, if it does not, the
// nearest thing around it.
func (d *Document) Position(path string) (line, column int) {
	for ; ; path = parentPath(path) {
		if at, ok := d.positions[path]; ok {
			return at.line, at.column
		}
		if path == "" {
			return 0, 0
		}
	}
}

// Parse returns the networks that data defines: one a document, or several in a
// list. The filename is for messages only. The error is an [*Error].
func Parse(filename string, data []byte) ([]*vnetv1.Network, error) {
	docs, err := ParseDocuments(filename, data)
	if err != nil {
		return nil, err
	}
	networks := make([]*vnetv1.Network, len(docs))
	for i, d := range docs {
		networks[i] = d.Network
	}
	return networks, nil
}

// ParseDocuments is Parse for callers who also ask what was written where.
func ParseDocuments(filename string, data []byte) ([]*Document, error) {
	var docs []*Document
	d := newDecoder(filename)
	for _, root := range flatten(d.read(data)) {
		doc := &Document{Network: &vnetv1.Network{}, File: filename}
		d.positions = map[string]position{}
		doc.positions = d.document(root, doc.Network)
		docs = append(docs, doc)
	}
	if len(docs) == 0 && len(d.findings) == 0 {
		d.findings = append(d.findings, Finding{File: filename, Why: "there is no definition in it"})
	}
	if err := asError(d.findings); err != nil {
		return nil, err
	}
	return docs, nil
}

// Unmarshal reads the one document in data into m, which it resets first. The
// error is an [*Error], and m is then to be thrown away.
func Unmarshal(filename string, data []byte, m proto.Message) error {
	proto.Reset(m)
	d := newDecoder(filename)
	roots := d.read(data)
	switch {
	case len(d.findings) > 0:
	case len(roots) == 0:
		d.findings = append(d.findings, Finding{File: filename, Why: "there is nothing in it"})
	case len(roots) > 1:
		d.find(roots[1], "", "a second document where one is meant", "")
	default:
		d.document(roots[0], m)
	}
	return asError(d.findings)
}

// flatten puts the elements of a document that is a list in its place.
func flatten(roots []*yaml.Node) []*yaml.Node {
	var flat []*yaml.Node
	for _, n := range roots {
		if n.Kind == yaml.SequenceNode {
			flat = append(flat, n.Content...)
			continue
		}
		flat = append(flat, n)
	}
	return flat
}
