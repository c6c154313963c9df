package definition

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	durationName  = protoreflect.FullName("google.protobuf.Duration")
	timestampName = protoreflect.FullName("google.protobuf.Timestamp")
)

// isText reports whether the message is written as one word.
func isText(md protoreflect.MessageDescriptor) bool {
	return md.FullName() == durationName || md.FullName() == timestampName
}

// scalar reads n as the field says. If why is not empty, it could not be read.
func scalar(n *yaml.Node, fd protoreflect.FieldDescriptor) (v protoreflect.Value, why, hint string) {
	quoted := n.Style != 0
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(n.Value), "", ""
	case protoreflect.BytesKind:
		return bytesOf(n.Value)
	case protoreflect.BoolKind:
		return boolOf(n.Value, quoted)
	case protoreflect.EnumKind:
		return enumOf(n.Value, fd.Enum())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return floatOf(n.Value, fd.Kind())
	case protoreflect.MessageKind:
		return wordOf(n.Value, fd.Message())
	case protoreflect.GroupKind:
		return v, "is of a kind that has no text", ""
	}
	return integerOf(n.Value, fd.Kind())
}

func bytesOf(text string) (v protoreflect.Value, why, hint string) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return v, "wants base64", ""
	}
	return protoreflect.ValueOfBytes(b), "", ""
}

func boolOf(text string, quoted bool) (v protoreflect.Value, why, hint string) {
	if !quoted && (text == "true" || text == "false") {
		return protoreflect.ValueOfBool(text == "true"), "", ""
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on", "y", "1":
		hint = "write true"
	case "false", "no", "off", "n", "0":
		hint = "write false"
	}
	return v, fmt.Sprintf("wants true or false, not %q", clip(text)), hint
}

func integerOf(text string, kind protoreflect.Kind) (v protoreflect.Value, why, hint string) {
	bits, signed := 64, true
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		bits = 32
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		bits, signed = 32, false
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		signed = false
	}
	if signed {
		i, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return v, wantsInteger(text, int64(-1)<<(bits-1), uint64(math.MaxInt64)>>(64-bits)), ""
		}
		if bits == 32 {
			return protoreflect.ValueOfInt32(int32(i)), "", ""
		}
		return protoreflect.ValueOfInt64(i), "", ""
	}
	u, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return v, wantsInteger(text, 0, uint64(math.MaxUint64)>>(64-bits)), ""
	}
	if bits == 32 {
		return protoreflect.ValueOfUint32(uint32(u)), "", ""
	}
	return protoreflect.ValueOfUint64(u), "", ""
}

func wantsInteger(text string, low int64, high uint64) string {
	return fmt.Sprintf("wants a whole number from %d to %d, not %q", low, high, clip(text))
}

// floatWords are YAML's words as Go's; those of the JSON mapping are Go's.
var floatWords = map[string]string{".inf": "Inf", "-.inf": "-Inf", ".nan": "NaN"}

func floatOf(text string, kind protoreflect.Kind) (v protoreflect.Value, why, hint string) {
	bits := 64
	if kind == protoreflect.FloatKind {
		bits = 32
	}
	if word, ok := floatWords[text]; ok {
		text = word
	}
	f, err := strconv.ParseFloat(text, bits)
	if err != nil {
		return v, fmt.Sprintf("wants a number, not %q", clip(text)), ""
	}
	if bits == 32 {
		return protoreflect.ValueOfFloat32(float32(f)), "", ""
	}
	return protoreflect.ValueOfFloat64(f), "", ""
}

// wordOf reads a duration or a timestamp.
func wordOf(text string, md protoreflect.MessageDescriptor) (v protoreflect.Value, why, hint string) {
	var m proto.Message
	if md.FullName() == durationName {
		m, why, hint = durationOf(text)
	} else {
		m, why, hint = timestampOf(text)
	}
	if why != "" {
		return v, why, hint
	}
	return protoreflect.ValueOfMessage(m.ProtoReflect()), "", ""
}

// InfiniteSeconds make the longest Duration that there is; a definition calls it
// infinite.
const InfiniteSeconds = 315_576_000_000

const infinite = "infinite"

func durationOf(text string) (m *durationpb.Duration, why, hint string) {
	if text == infinite {
		return &durationpb.Duration{Seconds: InfiniteSeconds}, "", ""
	}
	d, err := time.ParseDuration(text)
	if err == nil {
		return durationpb.New(d), "", ""
	}
	why = fmt.Sprintf("wants a duration such as 1h30m, not %q", clip(text))
	if _, err := strconv.ParseUint(text, 10, 32); err == nil {
		return nil, why, "did you mean " + text + "s?"
	}
	if days, err := strconv.ParseUint(strings.TrimSuffix(text, "d"), 10, 16); err == nil {
		return nil, why, fmt.Sprintf("did you mean %dh?", days*24)
	}
	return nil, why, ""
}

func timestampOf(text string) (m *timestamppb.Timestamp, why, hint string) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err == nil {
		if m := timestamppb.New(t); m.IsValid() {
			return m, "", ""
		}
	}
	return nil, fmt.Sprintf("wants a time such as 2026-01-31T15:04:05Z, not %q", clip(text)), ""
}
