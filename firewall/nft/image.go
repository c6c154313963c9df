package nft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// image is the contents of tables: from the name of an object to its attributes, in a form that
// is the same for a message that we send and for the kernel's answer about the object.
// Counters, handles and other attributes that the kernel adds are left out.
type image struct {
	objects map[string]string
	rules   map[string]int // how many there are, by chain
}

// newImage returns an empty image with room for that many elements.
func newImage(elements int) image {
	return image{objects: make(map[string]string, elements), rules: map[string]int{}}
}

// add adds the object of a message, sent or received. Rules of a chain must come in order.
func (im image) add(m message) {
	as := m.attributes()
	switch m.typ {
	case nftType(unix.NFT_MSG_NEWTABLE):
		// The owner is not part of the contents.
		flags := number(as, unix.NFTA_TABLE_FLAGS) & unix.NFT_TABLE_F_DORMANT
		im.objects["table "+tableOf(m, text(as, unix.NFTA_TABLE_NAME))] = fmt.Sprint(flags)
	case nftType(unix.NFT_MSG_NEWSET):
		table := tableOf(m, text(as, unix.NFTA_SET_TABLE))
		im.objects["set "+table+" "+text(as, unix.NFTA_SET_NAME)] = setContent(as)
	case nftType(unix.NFT_MSG_NEWCHAIN):
		table := tableOf(m, text(as, unix.NFTA_CHAIN_TABLE))
		s := content(as, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE)
		if hook := get(as, unix.NFTA_CHAIN_HOOK); hook != nil {
			s += content(attrs(hook), unix.NFTA_HOOK_HOOKNUM, unix.NFTA_HOOK_PRIORITY, unix.NFTA_HOOK_DEV)
		}
		im.objects["chain "+table+" "+text(as, unix.NFTA_CHAIN_NAME)] = s
	case nftType(unix.NFT_MSG_NEWRULE):
		chain := "rule " + tableOf(m, text(as, unix.NFTA_RULE_TABLE)) + " " + text(as, unix.NFTA_RULE_CHAIN)
		im.rules[chain]++
		var b strings.Builder
		for _, e := range attrs(get(as, unix.NFTA_RULE_EXPRESSIONS)) {
			b.WriteString(printExpr(attrs(e.data)))
		}
		im.objects[fmt.Sprintf("%s %d", chain, im.rules[chain])] = b.String() + content(as, unix.NFTA_RULE_USERDATA)
	case nftType(unix.NFT_MSG_NEWSETELEM):
		im.addElements(m, as)
	}
}

func tableOf(m message, name string) string {
	family := map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_BRIDGE: "bridge"}[m.family()]
	return family + " " + name
}

// content writes the attributes of the types given, in that order.
func content(as []attr, types ...uint16) string {
	var b strings.Builder
	for _, t := range types {
		fmt.Fprintf(&b, "%d=%x;", t, bytes.TrimLeft(get(as, t), "\x00"))
	}
	return b.String()
}

func setContent(as []attr) string {
	s := content(as, unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_KEY_LEN,
		unix.NFTA_SET_DATA_TYPE, unix.NFTA_SET_TIMEOUT, unix.NFTA_SET_USERDATA)
	if number(as, unix.NFTA_SET_FLAGS)&unix.NFT_SET_EVAL != 0 {
		s += content(attrs(get(as, unix.NFTA_SET_DESC)), unix.NFTA_SET_DESC_SIZE)
	}
	for _, f := range attrs(get(attrs(get(as, unix.NFTA_SET_DESC)), attrSetDescConcat)) {
		s += fmt.Sprintf("field=%x;", number(attrs(f.data), attrSetFieldLen))
	}
	// The kernel lists a single expression under the older attribute.
	if e := get(as, attrSetExpr); e != nil {
		s += "expr=" + text(attrs(e), unix.NFTA_EXPR_NAME)
	}
	for _, e := range attrs(get(as, attrSetExpressions)) {
		s += "expr=" + text(attrs(e.data), unix.NFTA_EXPR_NAME)
	}
	return s
}

// Kinds of elements: one key, the end of an interval, or the first and the last key. The name
// of an element in an image is its path, a NUL, the kind and the keys.
const (
	oneKey  = 'k'
	endKey  = 'e'
	twoKeys = 'r'
)

// addElements allocates little: a table has thousands of elements.
func (im image) addElements(m message, as []attr) {
	set := tableOf(m, text(as, unix.NFTA_SET_ELEM_LIST_TABLE)) + " " + text(as, unix.NFTA_SET_ELEM_LIST_SET)
	path := "element " + set + "\x00"
	var name, is []byte
	for e := range each(get(as, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
		kind, last := byte(oneKey), seek(e.data, attrElemKeyEnd, unix.NFTA_DATA_VALUE)
		if last != nil {
			kind = twoKeys
		} else if flags := seek(e.data, unix.NFTA_SET_ELEM_FLAGS); len(flags) == 4 &&
			binary.BigEndian.Uint32(flags)&unix.NFT_SET_ELEM_INTERVAL_END != 0 {
			kind = endKey
		}
		name = append(append(name[:0], path...), kind)
		name = append(append(name, seek(e.data, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)...), last...)
		is = appendData(is[:0], seek(e.data, unix.NFTA_SET_ELEM_DATA))
		is = append(is, seek(e.data, unix.NFTA_SET_ELEM_USERDATA)...)
		im.objects[string(name)] = string(is)
	}
}

// printName returns the name of an object for messages.
func printName(name string) string {
	path, raw, isElement := strings.Cut(name, "\x00")
	if !isElement {
		return name
	}
	kind, key := raw[0], []byte(raw[1:])
	switch kind {
	case endKey:
		return path + " " + printKey(key) + " (end)"
	case twoKeys:
		return path + " " + printKey(key[:len(key)/2]) + " to " + printKey(key[len(key)/2:])
	}
	return path + " " + printKey(key)
}

// printKey prints links' names at the beginning of a key, which are printable characters
// padded with zeros, and the rest in hexadecimal.
func printKey(key []byte) string {
	var words []string
	for len(key) >= unix.IFNAMSIZ {
		name := bytes.TrimRight(key[:unix.IFNAMSIZ], "\x00")
		if len(name) == 0 || slices.ContainsFunc(name, func(c byte) bool { return c <= ' ' || c > '~' }) {
			break
		}
		words, key = append(words, fmt.Sprintf("%q", name)), key[unix.IFNAMSIZ:]
	}
	if len(key) > 0 {
		words = append(words, fmt.Sprintf("%x", key))
	}
	return strings.Join(words, " . ")
}

// appendData appends the contents of a register: a verdict or a value.
func appendData(b, data []byte) []byte {
	if v := seek(data, unix.NFTA_DATA_VERDICT); v != nil {
		chain, _, _ := bytes.Cut(seek(v, unix.NFTA_VERDICT_CHAIN), []byte{0})
		return append(append(append(b, "verdict "...), seek(v, unix.NFTA_VERDICT_CODE)...), chain...)
	}
	return append(b, seek(data, unix.NFTA_DATA_VALUE)...)
}

// nested are the attributes of expressions that hold a register's data.
var nested = map[string][]uint16{
	"immediate": {unix.NFTA_IMMEDIATE_DATA},
	"cmp":       {unix.NFTA_CMP_DATA},
	"bitwise":   {unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR},
}

// printExpr prints an expression with its attributes in order of type, except those that are
// zero: the kernel lists all that it knows.
func printExpr(e []attr) string {
	name := text(e, unix.NFTA_EXPR_NAME)
	if name == "counter" {
		return "counter;"
	}
	as := attrs(get(e, unix.NFTA_EXPR_DATA))
	slices.SortStableFunc(as, func(a, b attr) int { return int(a.typ) - int(b.typ) })
	var b strings.Builder
	b.WriteString(name + "(")
	for _, a := range as {
		switch {
		case name == "lookup" && a.typ == unix.NFTA_LOOKUP_SET_ID:
			// Identifies a set within a transaction only.
		case name == "dynset" && a.typ == unix.NFTA_DYNSET_SET_ID:
		case name == "dynset" && a.typ == unix.NFTA_DYNSET_EXPR:
			b.WriteString(printExpr(attrs(a.data)))
		case name == "nat" && a.typ == unix.NFTA_NAT_FLAGS:
			// The kernel has a flag for the presence of addresses.
			if flags := number(as, a.typ) &^ unix.NF_NAT_RANGE_MAP_IPS; flags != 0 {
				fmt.Fprintf(&b, "flags:%x;", flags)
			}
		case slices.Contains(nested[name], a.typ):
			fmt.Fprintf(&b, "%d:%x;", a.typ, appendData(nil, a.data))
		case len(bytes.TrimLeft(a.data, "\x00")) > 0:
			fmt.Fprintf(&b, "%d:%x;", a.typ, a.data)
		}
	}
	return b.String() + ")"
}

// drift describes in a line how have differs from im; "" if it does not.
func (im image) drift(have image) string {
	var names []string
	for name, is := range have.objects {
		if should, ok := im.objects[name]; !ok {
			names = append(names, printName(name)+" is foreign")
		} else if should != is {
			names = append(names, printName(name)+" was changed")
		}
	}
	for name := range im.objects {
		if _, ok := have.objects[name]; !ok {
			names = append(names, printName(name)+" is missing")
		}
	}
	if len(names) == 0 {
		return ""
	}
	// A table or chain that is missing or foreign comes before its contents.
	kinds := []string{"table", "chain", "set", "rule", "element"}
	slices.SortFunc(names, func(a, b string) int {
		first, _, _ := strings.Cut(a, " ")
		second, _, _ := strings.Cut(b, " ")
		return cmp.Or(cmp.Compare(slices.Index(kinds, first), slices.Index(kinds, second)), cmp.Compare(a, b))
	})
	if more := len(names) - 1; more > 0 {
		return fmt.Sprintf("%s, and %d more", names[0], more)
	}
	return names[0]
}

// generationOf returns the generation of the ruleset in a message about it.
func generationOf(m message) (gen uint32, ok bool) {
	b := get(m.attributes(), unix.NFTA_GEN_ID)
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}
