package definition

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func didYouMean(word string) string {
	if word == "" {
		return ""
	}
	return "did you mean " + word + "?"
}

// unknownHint says what the key may have been meant to be: a key that is spelled
// nearly so, or the same key further in, or any of those that there are.
func unknownHint(key string, md protoreflect.MessageDescriptor) string {
	names := fieldNames(md)
	if name := nearest(key, names); name != "" {
		return didYouMean(name)
	}
	if path := deeper(key, md, 2); path != "" {
		return didYouMean(path)
	}
	return "known are " + strings.Join(names, ", ")
}

func fieldNames(md protoreflect.MessageDescriptor) []string {
	names := make([]string, md.Fields().Len())
	for i := range names {
		names[i] = md.Fields().Get(i).JSONName()
	}
	return names
}

// deeper looks for key in the messages below md.
func deeper(key string, md protoreflect.MessageDescriptor, levels int) string {
	if levels == 0 {
		return ""
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fd.Message() == nil || fd.IsMap() || isText(fd.Message()) {
			continue
		}
		name := fd.JSONName()
		if fd.IsList() {
			name += "[0]"
		}
		if below := nearest(key, fieldNames(fd.Message())); below != "" {
			return name + "." + below
		}
		if below := deeper(key, fd.Message(), levels-1); below != "" {
			return name + "." + below
		}
	}
	return ""
}

// keysHint is for a message that was given as something else.
func keysHint(path string, n *yaml.Node, md protoreflect.MessageDescriptor) string {
	names := fieldNames(md)
	if path == "" || len(names) == 0 {
		return ""
	}
	if n.Kind == yaml.SequenceNode {
		return "leave out the - or the brackets"
	}
	return "did you mean {" + names[0] + ": " + clip(n.Value) + "}?"
}

// listHint is for a list that was given as something else.
func listHint(path string, n *yaml.Node) string {
	name := path[strings.LastIndex(path, ".")+1:]
	if n.Kind == yaml.MappingNode {
		return "put a - before the first key of each element"
	}
	return "did you mean " + name + ": [" + clip(n.Value) + "]?"
}

func kindWord(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind, protoreflect.BytesKind:
		return "a text"
	case protoreflect.EnumKind:
		return "one of " + strings.Join(enumWords(fd.Enum()), ", ")
	case protoreflect.MessageKind:
		if fd.Message().FullName() == durationName {
			return "a duration such as 1h30m"
		}
		return "a time"
	}
	return "a number"
}

// nearest returns the candidate that word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	best, least := "", 1+len(word)/3
	if len(word) > 40 {
		return "" // not a slip of the finger, and the distance costs its square
	}
	for _, c := range candidates {
		if d := distance(fold(word), fold(c)); d < least || d == least && best == "" {
			best, least = c, d
		}
	}
	return best
}

// fold makes lease_time, lease-time and leaseTime the same word.
func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance counts the letters to insert, drop, replace or swap with their
// neighbour that make b of a.
func distance(a, b string) int {
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
