package definition

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Change is a field in which two definitions differ, with the values as they
// are written; empty for a field that is not there.
type Change struct{ Path, Before, After string }

// Diff returns the fields in which after differs from before, a message of the
// same type, in the contract's order. An element of a list that only moved is no
// change.
func Diff(before, after proto.Message) []Change {
	var d differ
	d.message("", before.ProtoReflect(), after.ProtoReflect())
	return d
}

type differ []Change

func (d *differ) add(path string, before, after string) {
	*d = append(*d, Change{path, before, after})
}

func (d *differ) message(path string, a, b protoreflect.Message) {
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		at := childPath(path, fd.JSONName())
		switch {
		case !a.Has(fd) && !b.Has(fd):
		case fd.IsList():
			d.list(at, fd, a.Get(fd).List(), b.Get(fd).List())
		case a.Has(fd) && b.Has(fd) && fd.Message() != nil && !fd.IsMap() && !isText(fd.Message()):
			d.message(at, a.Get(fd).Message(), b.Get(fd).Message())
		default:
			if before, after := fieldText(a, fd), fieldText(b, fd); before != after {
				d.add(at, before, after)
			}
		}
	}
}

// list pairs the elements that are not in both lists in the order in which they
// stand.
func (d *differ) list(path string, fd protoreflect.FieldDescriptor, a, b protoreflect.List) {
	gone, come := apart(fd, a, b)
	for i := range max(len(gone), len(come)) {
		switch {
		case i >= len(come):
			d.add(indexPath(path, gone[i]), valueText(a.Get(gone[i]), fd), "")
		case i >= len(gone):
			d.add(indexPath(path, come[i]), "", valueText(b.Get(come[i]), fd))
		case fd.Message() != nil:
			d.message(indexPath(path, come[i]), a.Get(gone[i]).Message(), b.Get(come[i]).Message())
		default:
			d.add(indexPath(path, come[i]), valueText(a.Get(gone[i]), fd), valueText(b.Get(come[i]), fd))
		}
	}
}

// apart returns the indexes of what is in one list only.
func apart(fd protoreflect.FieldDescriptor, a, b protoreflect.List) (gone, come []int) {
	left := map[string]int{}
	for i := range b.Len() {
		left[identity(b.Get(i), fd)]++
	}
	for i := range a.Len() {
		if is := identity(a.Get(i), fd); left[is] > 0 {
			left[is]--
		} else {
			gone = append(gone, i)
		}
	}
	for i := b.Len() - 1; i >= 0; i-- {
		if is := identity(b.Get(i), fd); left[is] > 0 {
			left[is]--
			come = append(come, i)
		}
	}
	slices.Reverse(come)
	return gone, come
}

// identity is the same for equal elements of a list, and costs a fraction of their
// text.
func identity(v protoreflect.Value, fd protoreflect.FieldDescriptor) string {
	if fd.Message() == nil {
		return v.String()
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(v.Message().Interface())
	if err != nil { // a string that is not UTF-8
		return valueText(v, fd)
	}
	return string(b)
}

// fieldText writes a field as a definition does, in one line; "" if it is not
// there.
func fieldText(m protoreflect.Message, fd protoreflect.FieldDescriptor) string {
	if !m.Has(fd) {
		return ""
	}
	if fd.IsMap() {
		return m.Get(fd).String()
	}
	return valueText(m.Get(fd), fd)
}

func valueText(v protoreflect.Value, fd protoreflect.FieldDescriptor) string {
	var e encoder
	n := e.value(v, fd)
	flow(n)
	b, err := yaml.Marshal(n)
	if err != nil || e.err != nil {
		return v.String()
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// flow makes a node print in one line.
func flow(n *yaml.Node) {
	if n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		flow(c)
	}
}
