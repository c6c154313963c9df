package definition

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Set changes one value of m: path is dns.domain, or subnets[0].dhcp.leaseTime;
// the index after the last element appends one. The value is text for what is
// text in a definition (a duration, an enum word, ...), YAML for lists and
// messages, and empty to take away what is there, an element of a list included.
// Messages on the way are made. The error is an [*Error], and m is then as before.
func Set(m proto.Message, path, value string) error {
	steps, err := splitPath(path)
	if err != nil {
		return err
	}
	changed := proto.Clone(m)
	s := &setter{decoder: newDecoder(""), value: value}
	s.positions = map[string]position{}
	s.message("", steps, changed.ProtoReflect())
	if err := asError(s.findings); err != nil {
		return err
	}
	proto.Reset(m)
	proto.Merge(m, changed)
	return nil
}

// step is a key, or an index if key is empty.
type step struct {
	key   string
	index int
}

func splitPath(path string) ([]step, error) {
	var steps []step
	for _, part := range strings.Split(path, ".") {
		key, rest, indexed := strings.Cut(part, "[")
		if key == "" {
			return nil, pathError(path)
		}
		steps = append(steps, step{key: key})
		if !indexed {
			continue
		}
		for _, text := range strings.Split(rest, "[") {
			i, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 16)
			if err != nil || !strings.HasSuffix(text, "]") {
				return nil, pathError(path)
			}
			steps = append(steps, step{index: int(i)})
		}
	}
	return steps, nil
}

func pathError(path string) error {
	why := fmt.Sprintf("%q is no path", path)
	return &Error{Findings: []Finding{{Why: why, Hint: "write one as dns.domain or subnets[0].address"}}}
}

type setter struct {
	*decoder
	value string
}

func (s *setter) bad(path, why, hint string) {
	s.findings = append(s.findings, Finding{Path: path, Why: why, Hint: hint})
}

func (s *setter) message(path string, steps []step, m protoreflect.Message) {
	here, rest := steps[0], steps[1:]
	fd := m.Descriptor().Fields().ByJSONName(here.key)
	if fd == nil {
		s.bad(childPath(path, here.key), "unknown key", unknownHint(here.key, m.Descriptor()))
		return
	}
	path = childPath(path, here.key)
	switch {
	case len(rest) == 0:
		s.field(path, m, fd)
	case fd.IsMap():
		s.mapped(path, rest, m.Mutable(fd).Map(), fd)
	case fd.IsList():
		s.element(path, rest, m.Mutable(fd).List(), fd)
	case fd.Message() == nil || isText(fd.Message()) || rest[0].key == "":
		s.bad(path, "has nothing further in it", "")
	default:
		s.message(path, rest, m.Mutable(fd).Message())
	}
}

// field replaces a whole field.
func (s *setter) field(path string, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	m.Clear(fd)
	if s.value == "" {
		return
	}
	if n := s.node(path, fd, fd.IsList() || fd.IsMap()); n != nil {
		s.decoder.field(path, n, m, fd)
	}
}

func (s *setter) mapped(path string, steps []step, m protoreflect.Map, fd protoreflect.FieldDescriptor) {
	path = childPath(path, steps[0].key)
	k, why, hint := scalar(&yaml.Node{Kind: yaml.ScalarNode, Value: steps[0].key}, fd.MapKey())
	switch {
	case why != "":
		s.bad(path, why, hint)
	case len(steps) > 1:
		s.bad(path, "cannot be set in parts", "set it as a whole")
	case s.value == "":
		m.Clear(k.MapKey())
	default:
		if n := s.node(path, fd.MapValue(), false); n != nil {
			s.decoder.value(path, n, fd.MapValue(), m.NewValue(), func(v protoreflect.Value) { m.Set(k.MapKey(), v) })
		}
	}
}

func (s *setter) element(path string, steps []step, l protoreflect.List, fd protoreflect.FieldDescriptor) {
	i, rest := steps[0].index, steps[1:]
	if steps[0].key != "" {
		s.bad(path, "is a list", fmt.Sprintf("did you mean %s[0].%s?", path, steps[0].key))
		return
	}
	path = indexPath(path, i)
	if i > l.Len() || i == l.Len() && s.value == "" {
		s.bad(path, fmt.Sprintf("there are only %d", l.Len()), "")
		return
	}
	switch {
	case len(rest) == 0 && s.value == "":
		remove(l, i)
	case len(rest) == 0:
		if n := s.node(path, fd, false); n != nil {
			s.decoder.value(path, n, fd, l.NewElement(), func(v protoreflect.Value) { put(l, i, v) })
		}
	case fd.Message() == nil || isText(fd.Message()) || rest[0].key == "":
		s.bad(path, "has nothing further in it", "")
	default:
		if i == l.Len() {
			l.Append(l.NewElement())
		}
		s.message(path, rest, l.Get(i).Message())
	}
}

// node returns the value for a decoder: the literal text for fields that are text, so
// that quotes are not needed, and parsed YAML for others.
func (s *setter) node(path string, fd protoreflect.FieldDescriptor, many bool) *yaml.Node {
	if !many && (fd.Message() == nil || isText(fd.Message())) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.value}
	}
	before := len(s.findings)
	roots := s.read([]byte(s.value))
	switch {
	case len(s.findings) > before:
		s.findings[before].Path = path
	case len(roots) != 1:
		s.bad(path, "wants one value", "")
	default:
		return unplaced(roots[0])
	}
	return nil
}

// unplaced takes the lines away: in a value of one line they only confuse.
func unplaced(n *yaml.Node) *yaml.Node {
	n.Line, n.Column = 0, 0
	for _, child := range n.Content {
		unplaced(child)
	}
	return n
}

func put(l protoreflect.List, i int, v protoreflect.Value) {
	if i == l.Len() {
		l.Append(v)
		return
	}
	l.Set(i, v)
}

func remove(l protoreflect.List, i int) {
	for ; i+1 < l.Len(); i++ {
		l.Set(i, l.Get(i+1))
	}
	l.Truncate(l.Len() - 1)
}
