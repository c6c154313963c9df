package definition

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func plain(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// text is a string, quoted where a reader of YAML could take it for another
// thing. Our own reader could not; others are of YAML 1.1, where no is false and
// a MAC address of digits is a number to the base 60.
func text(s string) *yaml.Node {
	n := plain("!!str", s)
	if !plainSafe(s) || mayBeOther(s) && otherYAML.MatchString(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// plainSafe reports whether s is of characters that mean nothing to YAML, where they
// stand in it.
func plainSafe(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '_':
		case i == 0, c != '.' && (i == len(s)-1 || !strings.ContainsRune(":@+ -", rune(c))):
			return false
		}
	}
	return s != ""
}

// mayBeOther rules most strings out, such as names and addresses, before otherYAML,
// which takes a microsecond: a hundred thousand reservations have three strings each.
func mayBeOther(s string) bool {
	return len(s) <= len("false") || strings.Contains(s, ":") || (s[0] <= '9' || s[0] == '_') && strings.Count(s, ".") < 2
}

var otherYAML = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|[-+]?[0-9_]+(\.[0-9_]*)?(e[-+]?[0-9]+)?|0[xob][0-9a-f_]+|[0-9a-f]{1,2}(:[0-9a-f]{1,2})+(\.[0-9_]*)?)$|: `)

// inlineWidth is what is written in one line.
const inlineWidth = 72

// inline makes n a flow collection ({start: 10.0.0.2, end: 10.0.0.9}) if that
// reads well: it fits on a line, and is not a list of several collections, which
// people read as a table and edit line by line.
func inline(n *yaml.Node) {
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
		return
	}
	collections, width := 0, 2
	for _, child := range n.Content {
		width += nodeWidth(child) + 2
		if child.Kind != yaml.ScalarNode {
			collections++
			if child.Style != yaml.FlowStyle {
				return
			}
		}
	}
	tooMany := collections > 0 && (n.Kind == yaml.MappingNode || len(n.Content) > 1)
	if width <= inlineWidth && !tooMany {
		n.Style = yaml.FlowStyle
	}
}

func nodeWidth(n *yaml.Node) int {
	width := utf8.RuneCountInString(n.Value)
	if n.Style == yaml.DoubleQuotedStyle {
		width += 2 + strings.Count(n.Value, "\n")
	}
	for _, child := range n.Content {
		width += nodeWidth(child) + 2
	}
	return width
}
