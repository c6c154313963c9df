package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// image says what tables hold, as messages of the kernel's own protocol do: from
// the name of an object, for people, to what it is, in a form that is the same
// for a message that we send and for the kernel's answer about the object.
// Counters, handles and what else the kernel fills in are left out.
type image struct {
	objects map[string]string
	rules   map[string]int // how many there are, by chain
}

// newImage returns an empty image with room for that many elements.
func newImage(elements int) image {
	return image{objects: make(map[string]string, elements), rules: map[string]int{}}
}

// add takes in one message about a new object, sent or received. Rules of a
// chain must come in their order.
func (im image) add(m message) {
	as := m.attributes()
	switch m.typ {
	case nftType(unix.NFT_MSG_NEWTABLE):
		// Who owns the table is not what it holds.
		flags := number(as, unix.NFTA_TABLE_FLAGS) & unix.NFT_TABLE_F_DORMANT
		im.objects["table "+tableOf(m, text(as, unix.NFTA_TABLE_NAME))] = fmt.Sprint(flags)
	case nftType(unix.NFT_MSG_NEWSET):
		table := tableOf(m, text(as, unix.NFTA_SET_TABLE))
		im.objects["set "+table+" "+text(as, unix.NFTA_SET_NAME)] = setContent(as)
	case nftType(unix.NFT_MSG_NEWCHAIN):
		table := tableOf(m, text(as, unix.NFTA_CHAIN_TABLE))
		im.objects["chain "+table+" "+text(as, unix.NFTA_CHAIN_NAME)] = chainContent(as)
	case nftType(unix.NFT_MSG_NEWRULE):
		im.addRule(m, as)
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

func chainContent(as []attr) string {
	s := content(as, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE)
	if hook := get(as, unix.NFTA_CHAIN_HOOK); hook != nil {
		s += content(attrs(hook), unix.NFTA_HOOK_HOOKNUM, unix.NFTA_HOOK_PRIORITY, unix.NFTA_HOOK_DEV)
	}
	return s
}

// Kinds of elements, by what a name in an image ends with after its path, a NUL
// and the kind: a key, the end of an interval, or the first and the last key.
const (
	oneKey  = 'k'
	endKey  = 'e'
	twoKeys = 'r'
)

// addElements takes care to allocate little: a look reads thousands.
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

// printName makes the name of an object readable.
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

// printKey makes a key of links' names and addresses readable, and keeps keys
// apart.
func printKey(key []byte) string {
	var words []string
	for len(key) >= unix.IFNAMSIZ && looksLikeName(key[:unix.IFNAMSIZ]) {
		name, _, _ := bytes.Cut(key[:unix.IFNAMSIZ], []byte{0})
		words, key = append(words, fmt.Sprintf("%q", name)), key[unix.IFNAMSIZ:]
	}
	if len(key) > 0 {
		words = append(words, fmt.Sprintf("%x", key))
	}
	return strings.Join(words, " . ")
}

// looksLikeName: printable characters, then zeros only.
func looksLikeName(b []byte) bool {
	name, rest, _ := bytes.Cut(b, []byte{0})
	printable := !slices.ContainsFunc(name, func(c byte) bool { return c <= ' ' || c > '~' })
	return len(name) > 0 && printable && len(bytes.TrimLeft(rest, "\x00")) == 0
}

// appendData adds what a register holds: a verdict or a value.
func appendData(b, data []byte) []byte {
	if v := seek(data, unix.NFTA_DATA_VERDICT); v != nil {
		chain, _, _ := bytes.Cut(seek(v, unix.NFTA_VERDICT_CHAIN), []byte{0})
		return append(append(append(b, "verdict "...), seek(v, unix.NFTA_VERDICT_CODE)...), chain...)
	}
	return append(b, seek(data, unix.NFTA_DATA_VALUE)...)
}

func (im image) addRule(m message, as []attr) {
	chain := "rule " + tableOf(m, text(as, unix.NFTA_RULE_TABLE)) + " " + text(as, unix.NFTA_RULE_CHAIN)
	im.rules[chain]++
	var b strings.Builder
	for _, e := range attrs(get(as, unix.NFTA_RULE_EXPRESSIONS)) {
		b.WriteString(printExpr(attrs(e.data)))
	}
	im.objects[fmt.Sprintf("%s %d", chain, im.rules[chain])] = b.String() + content(as, unix.NFTA_RULE_USERDATA)
}

// nested are the attributes of expressions that hold a register's data.
var nested = map[string][]uint16{
	"immediate": {unix.NFTA_IMMEDIATE_DATA},
	"cmp":       {unix.NFTA_CMP_DATA},
	"bitwise":   {unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR},
}

// printExpr writes an expression with its attributes in order of type. An
// attribute that is zero is one that was left out: the kernel answers with all
// that it has.
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
			// Says which set within a transaction, and nothing after it.
		case name == "dynset" && a.typ == unix.NFTA_DYNSET_SET_ID:
		case name == "dynset" && a.typ == unix.NFTA_DYNSET_EXPR:
			b.WriteString(printExpr(attrs(a.data)))
		case name == "nat" && a.typ == unix.NFTA_NAT_FLAGS:
			// That there are addresses the kernel says as a flag too.
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

// drift says in a line how have differs from im, or nothing.
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
	// What is gone or foreign as a whole says more than what was in it.
	slices.SortFunc(names, cmpDrift)
	if more := len(names) - 1; more > 0 {
		return fmt.Sprintf("%s, and %d more", names[0], more)
	}
	return names[0]
}

func cmpDrift(a, b string) int {
	order := func(s string) int {
		kind, _, _ := strings.Cut(s, " ")
		return slices.Index([]string{"table", "chain", "set", "rule", "element"}, kind)
	}
	if d := order(a) - order(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// generationOf reads a message about the generation of the ruleset.
func generationOf(m message) (gen uint32, ok bool) {
	b := get(m.attributes(), unix.NFTA_GEN_ID)
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}
