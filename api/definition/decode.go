package definition

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxAliased bounds the nodes that aliases add to one file.
	maxAliased = 10_000
	// maxDepth bounds messages that contain themselves.
	maxDepth = 64
)

// decoder turns nodes into messages and collects what is wrong with them.
type decoder struct {
	file      string
	findings  []Finding
	positions map[string]position // of the document at hand; nil: they are not asked for
	depth     int
	inAlias   int // how many aliases we are inside of
	aliased   int // nodes visited in there so far
}

func newDecoder(file string) *decoder { return &decoder{file: file} }

func (d *decoder) find(n *yaml.Node, path, why, hint string) {
	d.findings = append(d.findings, Finding{
		File: d.file, Line: n.Line, Column: n.Column, Path: path, Why: why, Hint: hint,
	})
}

// document fills m and returns where each path stands.
func (d *decoder) document(root *yaml.Node, m proto.Message) map[string]position {
	d.note("", root)
	d.message("", root, m.ProtoReflect())
	return d.positions
}

// enter resolves n if it is an alias, and calls visit with what it stands for.
// note keeps where a path stands, if that is asked for.
func (d *decoder) note(path string, n *yaml.Node) {
	if d.positions != nil {
		d.positions[path] = position{n.Line, n.Column}
	}
}

func (d *decoder) enter(path string, n *yaml.Node, visit func(*yaml.Node)) {
	if d.inAlias > 0 {
		d.aliased++
	}
	if d.aliased > maxAliased {
		if d.aliased == maxAliased+1 {
			d.find(n, path, "aliases unfold into too much", "write it out, or make several files")
		}
		return
	}
	if n.Kind != yaml.AliasNode {
		visit(n)
		return
	}
	d.inAlias++
	d.enter(path, n.Alias, visit)
	d.inAlias--
}

func (d *decoder) message(path string, n *yaml.Node, m protoreflect.Message) {
	d.enter(path, n, func(n *yaml.Node) {
		if d.depth == maxDepth {
			d.find(n, path, "nested too deeply", "")
			return
		}
		if n.Kind != yaml.MappingNode {
			d.find(n, path, wants("keys and values", n), keysHint(path, n, m.Descriptor()))
			return
		}
		d.depth++
		d.entries(path, n, func(key, value *yaml.Node) { d.entry(path, key, value, m) })
		d.depth--
	})
}

// entries calls visit for each pair of a mapping with a key that is text and no
// duplicate, and with a value that is not null.
func (d *decoder) entries(path string, n *yaml.Node, visit func(key, value *yaml.Node)) {
	d.untagged(path, n)
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.goodKey(path, key) {
			continue
		}
		if line, again := first[key.Value]; again {
			d.find(key, childPath(path, key.Value), "given twice", fmt.Sprintf("it is on line %d already", line))
			continue
		}
		first[key.Value] = key.Line
		visit(key, value)
	}
}

func (d *decoder) goodKey(path string, key *yaml.Node) bool {
	switch {
	case key.Kind != yaml.ScalarNode:
		d.find(key, path, "a key has to be a plain word", "")
	case key.Tag == "!!merge":
		d.find(key, path, "merge keys (<<) are not read", "write the keys out")
	default:
		return d.untagged(path, key)
	}
	return false
}

// untagged refuses tags, which have no meaning here.
func (d *decoder) untagged(path string, n *yaml.Node) bool {
	if n.Style&yaml.TaggedStyle == 0 {
		return true
	}
	d.find(n, path, "a tag ("+n.Tag+") has no meaning here", "leave it out")
	return false
}

func (d *decoder) entry(path string, key, value *yaml.Node, m protoreflect.Message) {
	fd := m.Descriptor().Fields().ByJSONName(key.Value)
	if fd == nil {
		d.find(key, childPath(path, key.Value), "unknown key", unknownHint(key.Value, m.Descriptor()))
		return
	}
	if isNull(value) {
		return
	}
	path = childPath(path, fd.JSONName())
	if other := chosen(m, fd.ContainingOneof()); other != nil {
		d.find(key, path, "excludes "+other.JSONName(), "give one of the two")
		return
	}
	d.note(path, value)
	d.field(path, value, m, fd)
}

// chosen returns the field of the oneof that is set already, if any.
func chosen(m protoreflect.Message, oneof protoreflect.OneofDescriptor) protoreflect.FieldDescriptor {
	if oneof == nil {
		return nil
	}
	return m.WhichOneof(oneof)
}

// field sets one field of m. A message or list with errors is set partially; the caller
// discards it.
func (d *decoder) field(path string, n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		d.mapping(path, n, m.Mutable(fd).Map(), fd)
	case fd.IsList():
		d.list(path, n, m.Mutable(fd).List(), fd)
	default:
		d.value(path, n, fd, m.NewField(fd), func(v protoreflect.Value) { m.Set(fd, v) })
	}
}

func (d *decoder) list(path string, n *yaml.Node, l protoreflect.List, fd protoreflect.FieldDescriptor) {
	d.enter(path, n, func(n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			d.find(n, path, wants("a list", n), listHint(path, n))
			return
		}
		d.untagged(path, n)
		for i, element := range n.Content {
			at := indexPath(path, i)
			d.note(at, element)
			if isNull(element) {
				d.find(element, at, "an empty element", "")
				continue
			}
			d.value(at, element, fd, l.NewElement(), l.Append)
		}
	})
}

func (d *decoder) mapping(path string, n *yaml.Node, m protoreflect.Map, fd protoreflect.FieldDescriptor) {
	d.enter(path, n, func(n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			d.find(n, path, wants("keys and values", n), "")
			return
		}
		d.entries(path, n, func(key, value *yaml.Node) {
			at := childPath(path, key.Value)
			k, why, hint := scalar(plainNode(key), fd.MapKey())
			if why != "" {
				d.find(key, at, why, hint)
				return
			}
			if isNull(value) {
				return
			}
			d.note(at, value)
			d.value(at, value, fd.MapValue(), m.NewValue(), func(v protoreflect.Value) { m.Set(k.MapKey(), v) })
		})
	})
}

// value reads one value, not a list or map, and hands it to set if it is right.
func (d *decoder) value(path string, n *yaml.Node, fd protoreflect.FieldDescriptor, empty protoreflect.Value, set func(protoreflect.Value)) {
	if fd.Message() != nil && !isText(fd.Message()) {
		d.message(path, n, empty.Message())
		set(empty)
		return
	}
	d.enter(path, n, func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode {
			d.find(n, path, wants(kindWord(fd), n), "")
			return
		}
		if !d.untagged(path, n) {
			return
		}
		v, why, hint := scalar(n, fd)
		if why != "" {
			d.find(n, path, why, hint)
			return
		}
		set(v)
	})
}

// plainNode is a map's key as if it had not been quoted: in JSON all keys are.
func plainNode(key *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: key.Value, Line: key.Line, Column: key.Column}
}

func isNull(n *yaml.Node) bool {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style&yaml.TaggedStyle == 0
}

func wants(want string, n *yaml.Node) string {
	return "wants " + want + ", not " + found(n)
}

func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", clip(n.Value))
}

// clip keeps a message readable, whatever the file has.
func clip(text string) string {
	if r := []rune(text); len(r) > 40 {
		text = string(r[:40]) + "…"
	}
	return strings.TrimSpace(text)
}
