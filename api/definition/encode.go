package definition

import (
	"encoding/base64"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Marshal returns m as YAML, the fields in the order of the proto, those that
// are not set left out. The same message is always the same text. It fails for
// what has no text: strings that are not UTF-8, durations out of range.
func Marshal(m proto.Message) ([]byte, error) { return marshalYAML(m, messageNode) }

// MarshalList returns ms as a YAML list; Parse reads it.
func MarshalList[M proto.Message](ms []M) ([]byte, error) { return marshalYAML(ms, listNode[M]) }

// MarshalJSON is Marshal for JSON, indented.
func MarshalJSON(m proto.Message) ([]byte, error) { return marshalJSON(m, messageNode) }

// MarshalJSONList is MarshalList for JSON, indented.
func MarshalJSONList[M proto.Message](ms []M) ([]byte, error) { return marshalJSON(ms, listNode[M]) }

func marshalYAML[T any](value T, node func(*encoder, T) *yaml.Node) ([]byte, error) {
	e := &encoder{}
	root := node(e, value)
	if e.err != nil {
		return nil, e.err
	}
	var w writer
	w.document(root)
	return w.Bytes(), w.err
}

// encoder builds nodes and keeps the first error.
type encoder struct{ err error }

func messageNode(e *encoder, m proto.Message) *yaml.Node { return e.message(m.ProtoReflect(), true) }

func listNode[M proto.Message](e *encoder, ms []M) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if len(ms) == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, m := range ms {
		n.Content = append(n.Content, e.message(m.ProtoReflect(), true))
	}
	return n
}

func (e *encoder) message(m protoreflect.Message, top bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		n.Content = append(n.Content, text(fd.JSONName()), e.field(m.Get(fd), fd))
	}
	if len(n.Content) == 0 || !top {
		inline(n)
	}
	return n
}

func (e *encoder) field(v protoreflect.Value, fd protoreflect.FieldDescriptor) *yaml.Node {
	switch {
	case fd.IsMap():
		return e.mapping(v.Map(), fd)
	case fd.IsList():
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range v.List().Len() {
			n.Content = append(n.Content, e.value(v.List().Get(i), fd))
		}
		inline(n)
		return n
	}
	return e.value(v, fd)
}

func (e *encoder) mapping(m protoreflect.Map, fd protoreflect.FieldDescriptor) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	for _, k := range keys {
		n.Content = append(n.Content, text(k.String()), e.value(m.Get(k), fd.MapValue()))
	}
	inline(n)
	return n
}

func (e *encoder) value(v protoreflect.Value, fd protoreflect.FieldDescriptor) *yaml.Node {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		if isText(fd.Message()) {
			return e.word(v.Message())
		}
		return e.message(v.Message(), false)
	case protoreflect.StringKind:
		return number(v.String())
	case protoreflect.BytesKind:
		return text(base64.StdEncoding.EncodeToString(v.Bytes()))
	case protoreflect.EnumKind:
		return text(enumWord(fd.Enum(), v.Enum()))
	case protoreflect.FloatKind:
		return plain("!!float", floatText(v.Float(), 32))
	case protoreflect.DoubleKind:
		return plain("!!float", floatText(v.Float(), 64))
	case protoreflect.BoolKind:
		return plain("!!bool", v.String())
	}
	return plain("!!int", v.String())
}

// number writes a string that is a plain number (an MTU, which may be a word,
// too) without quotes. It is read back as the string that it was.
func number(s string) *yaml.Node {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil && strconv.FormatUint(n, 10) == s {
		return plain("!!int", s)
	}
	return text(s)
}

func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return ".nan"
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	}
	s := strconv.FormatFloat(f, 'g', -1, bits)
	if !strings.ContainsAny(s, ".e") {
		s += ".0" // or YAML readers take it for an integer
	}
	return s
}

// word writes a duration or a timestamp, whichever code made the message.
func (e *encoder) word(m protoreflect.Message) *yaml.Node {
	fields := m.Descriptor().Fields()
	seconds := m.Get(fields.ByName("seconds")).Int()
	nanos := int32(m.Get(fields.ByName("nanos")).Int())
	if m.Descriptor().FullName() == timestampName {
		t := &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
		e.fail(t.CheckValid())
		return plain("!!timestamp", t.AsTime().Format(time.RFC3339Nano))
	}
	if seconds == InfiniteSeconds && nanos == 0 {
		return text(infinite)
	}
	d := &durationpb.Duration{Seconds: seconds, Nanos: nanos}
	e.fail(d.CheckValid())
	if !proto.Equal(durationpb.New(d.AsDuration()), d) {
		e.fail(fmt.Errorf("a duration of %d seconds is too long to be written", seconds))
	}
	return text(Duration(d.AsDuration()))
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// Duration returns d as in a definition: 1h30m, where Go has 1h30m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if short, ok := strings.CutSuffix(s, "m0s"); ok {
		s = short + "m"
	}
	if short, ok := strings.CutSuffix(s, "h0m"); ok {
		s = short + "h"
	}
	return s
}
