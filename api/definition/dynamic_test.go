package definition

import (
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// everything is a message with what the contract does not have yet: the code is
// generic, and so is its test.
const everything = `
name: "everything.proto" package: "test" syntax: "proto3"
dependency: "google/protobuf/duration.proto" dependency: "google/protobuf/timestamp.proto"
enum_type { name: "Colour" value { name: "COLOUR_UNSPECIFIED" number: 0 } value { name: "COLOUR_DARK_RED" number: 1 } }
message_type {
  name: "Everything"
  field { name: "flag" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
  field { name: "small" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "large" number: 3 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "usmall" number: 4 type: TYPE_UINT32 label: LABEL_OPTIONAL }
  field { name: "ularge" number: 5 type: TYPE_FIXED64 label: LABEL_OPTIONAL }
  field { name: "ratio" number: 6 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
  field { name: "short_ratio" number: 7 type: TYPE_FLOAT label: LABEL_OPTIONAL }
  field { name: "text" number: 8 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "raw" number: 9 type: TYPE_BYTES label: LABEL_OPTIONAL }
  field { name: "colour" number: 10 type: TYPE_ENUM type_name: ".test.Colour" label: LABEL_OPTIONAL }
  field { name: "span" number: 11 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_OPTIONAL }
  field { name: "at" number: 12 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL }
  field { name: "child" number: 13 type: TYPE_MESSAGE type_name: ".test.Everything" label: LABEL_OPTIONAL }
  field { name: "words" number: 14 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "spans" number: 15 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_REPEATED }
  field { name: "colours" number: 16 type: TYPE_ENUM type_name: ".test.Colour" label: LABEL_REPEATED }
  field { name: "labels" number: 17 type: TYPE_MESSAGE type_name: ".test.Everything.LabelsEntry" label: LABEL_REPEATED }
  field { name: "by_number" number: 18 type: TYPE_MESSAGE type_name: ".test.Everything.ByNumberEntry" label: LABEL_REPEATED }
  field { name: "left" number: 19 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "right" number: 20 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "maybe" number: 21 type: TYPE_BOOL label: LABEL_OPTIONAL oneof_index: 1 proto3_optional: true }
  nested_type { name: "LabelsEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
  nested_type { name: "ByNumberEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".test.Everything" label: LABEL_OPTIONAL } }
  oneof_decl { name: "side" } oneof_decl { name: "_maybe" }
}`

var everythingDescriptor = func() protoreflect.MessageDescriptor {
	var f descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(everything), &f); err != nil {
		panic(err)
	}
	file, err := protodesc.NewFile(&f, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	return file.Messages().Get(0)
}()

func newEverything() proto.Message { return dynamicpb.NewMessage(everythingDescriptor) }

func TestEveryKindOfField(t *testing.T) {
	const in = `
flag: true
small: -5
large: 9007199254740993
usmall: 4294967295
ularge: "18446744073709551615"
ratio: 1e3
shortRatio: -.inf
text: no
raw: AAEC
colour: dark-red
span: 90m
at: 2026-01-31T15:04:05.5+01:00
child: {child: {text: deep}}
words: [yes, 1e3, 52:54:00:12:34:56, ~x]
spans: [1s, 3600s]
colours: [dark-red]
labels: {a: 1, "no": no, b.c: ""}
byNumber: {7: {text: seven}, -1: {}}
right: r
maybe: false
`
	const want = `flag: true
small: -5
large: 9007199254740993
usmall: 4294967295
ularge: 18446744073709551615
ratio: 1000.0
shortRatio: -.inf
text: "no"
raw: AAEC
colour: dark-red
span: 1h30m
at: 2026-01-31T14:04:05.5Z
child:
  child: {text: deep}
words: ["yes", "1e3", "52:54:00:12:34:56", "~x"]
spans: [1s, 1h]
colours: [dark-red]
labels: {a: 1, b.c: "", "no": "no"}
byNumber:
  "-1": {}
  "7": {text: seven}
right: r
maybe: false
`
	m := newEverything()
	if err := Unmarshal("x.yaml", []byte(in), m); err != nil {
		t.Fatal(err)
	}
	got, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	roundTrip(t, m, newEverything)
}

func TestEveryKindOfMistake(t *testing.T) {
	const in = `
flag: yes
small: 2147483648
usmall: -1
ratio: fast
raw: "?"
colour: darkred
span: 1d
at: yesterday
child: 5
words: one
spans: [60]
labels: [a]
byNumber: {x: {}}
left: l
right: r
text: !!binary AAEC
<<: {maybe: true}
large: 0x10
? [a]
: b
`
	err := Unmarshal("x.yaml", []byte(in), newEverything())
	const want = `x.yaml:2:7: flag: wants true or false, not "yes": write true
x.yaml:3:8: small: wants a whole number from -2147483648 to 2147483647, not "2147483648"
x.yaml:4:9: usmall: wants a whole number from 0 to 4294967295, not "-1"
x.yaml:5:8: ratio: wants a number, not "fast"
x.yaml:6:6: raw: wants base64
x.yaml:7:9: colour: wants one of dark-red, not "darkred": did you mean dark-red?
x.yaml:8:7: span: wants a duration such as 1h30m, not "1d": did you mean 24h?
x.yaml:9:5: at: wants a time such as 2026-01-31T15:04:05Z, not "yesterday"
x.yaml:10:8: child: wants keys and values, not "5": did you mean {flag: 5}?
x.yaml:11:8: words: wants a list, not "one": did you mean words: [one]?
x.yaml:12:9: spans[0]: wants a duration such as 1h30m, not "60": did you mean 60s?
x.yaml:13:9: labels: wants keys and values, not a list
x.yaml:14:12: byNumber.x: wants a whole number from -2147483648 to 2147483647, not "x"
x.yaml:16:1: right: excludes left: give one of the two
x.yaml:17:7: text: a tag (!!binary) has no meaning here: leave it out
x.yaml:18:1: merge keys (<<) are not read: write the keys out
x.yaml:19:8: large: wants a whole number from -9223372036854775808 to 9223372036854775807, not "0x10"
x.yaml:20:3: a key has to be a plain word`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestSelfContainmentIsBounded(t *testing.T) {
	err := Unmarshal("x.yaml", []byte("child: &x {child: *x}"), newEverything())
	if err == nil {
		t.Fatal("a message that contains itself was read")
	}
	t.Log(err)
}
