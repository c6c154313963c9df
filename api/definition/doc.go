// Package definition reads and writes messages of the contract as files that
// people keep: YAML, and JSON, which is YAML too. The proto is the only schema;
// a file is its JSON mapping, with three differences for the reader's sake:
//
//   - an enum value is a short lower-case word: nat, not MODE_NAT;
//   - a duration is written as in Go: 1h30m;
//   - a 64-bit integer is a number.
//
// Reading is strict and generic. Strict: an unknown key, a key given twice, a
// list where a text is meant is an error, and all of them are reported at once
// in an [Error], each with file, line and column, path and, where there is one,
// a hint. Generic: the code walks the YAML nodes against protoreflect
// descriptors and knows no field by name, so a field
// that is added to the proto is readable and writable at once.
//
// What is meant by a scalar is decided by the field, not by YAML: a hostname
// written as no, 1e3 or 52:54:00:12:34:56 is that text. null means absent.
// Merge keys and tags are refused; aliases work, up to a limit that makes
// documents which unfold into millions of nodes an error.
//
// What [Marshal] and [MarshalJSON] write, [Unmarshal] reads back as an equal
// message. Whether a definition makes sense (a range inside its subnet, say) is
// not decided here; the daemon does that.
//
// Start reading at [Parse].
package definition
