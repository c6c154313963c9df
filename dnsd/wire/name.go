package wire

import (
	"bytes"
	"fmt"
	"strings"
)

// Name turns a host or domain name as people write it into wire form and small
// letters. A trailing dot is optional; "" and "." are the root. Labels are
// letters, digits, hyphens and underscores; an error says which one is not.
func Name(text string) ([]byte, error) {
	text = strings.TrimSuffix(text, ".")
	if text == "" {
		return []byte{0}, nil
	}
	name := make([]byte, 0, len(text)+2)
	for label := range strings.SplitSeq(text, ".") {
		if err := checkLabel(label); err != nil {
			return nil, fmt.Errorf("name %q: %w", text, err)
		}
		name = append(name, byte(len(label)))
		name = append(name, strings.ToLower(label)...)
	}
	name = append(name, 0)
	if len(name) > MaxName {
		return nil, fmt.Errorf("name %q: longer than 253 letters", text)
	}
	return name, nil
}

func checkLabel(label string) error {
	if label == "" {
		return fmt.Errorf("an empty label")
	}
	if len(label) > MaxLabel {
		return fmt.Errorf("label %q is longer than 63 letters", label)
	}
	for i := range len(label) {
		if !hostByte(label[i]) {
			return fmt.Errorf("label %q has %q: only letters, digits, '-' and '_' may be in it", label, label[i])
		}
	}
	return nil
}

func hostByte(c byte) bool {
	return c-'a' < 26 || c-'A' < 26 || c-'0' < 10 || c == '-' || c == '_'
}

// HostLabel reports whether label can be one label of what Name accepts.
func HostLabel[T []byte | string](label T) bool {
	for i := range len(label) {
		if !hostByte(label[i]) {
			return false
		}
	}
	return 0 < len(label) && len(label) <= MaxLabel
}

// Text returns a name in wire form as people write it. Bytes that no host name
// has become question marks: what a guest asks for ends in no log as it is.
func Text(name []byte) string {
	var b strings.Builder
	for ; len(name) > 0 && name[0] != 0 && 1+int(name[0]) < len(name); name = name[1+name[0]:] {
		for _, c := range name[1 : 1+name[0]] {
			if !hostByte(c) {
				c = '?'
			}
			b.WriteByte(c)
		}
		b.WriteByte('.')
	}
	return b.String()
}

// Under returns where in name the labels of zone begin, and whether name is
// zone or below it. Both are in wire form and small letters. Labels are
// compared, not bytes: a label may hold any byte.
func Under(name, zone []byte) (off int, ok bool) {
	want := len(name) - len(zone)
	for off < want && name[off] != 0 {
		off += 1 + int(name[off])
	}
	return off, off == want && bytes.Equal(name[off:], zone)
}
