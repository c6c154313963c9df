package nft

import (
	"strings"
	"syscall"

	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

var verbs = map[uint16]string{
	nftType(unix.NFT_MSG_NEWTABLE):   "add table",
	nftType(unix.NFT_MSG_DELTABLE):   "delete table",
	nftType(unix.NFT_MSG_NEWCHAIN):   "add chain",
	nftType(unix.NFT_MSG_DELCHAIN):   "delete chain",
	nftType(unix.NFT_MSG_NEWSET):     "add set",
	nftType(unix.NFT_MSG_DELSET):     "delete set",
	nftType(unix.NFT_MSG_NEWSETELEM): "add elements to set",
	nftType(unix.NFT_MSG_DELSETELEM): "delete elements of set",
	nftType(unix.NFT_MSG_NEWRULE):    "add rule to chain",
	nftType(unix.NFT_MSG_DELRULE):    "flush chain",
}

// describe says what a message asks for, as an administrator would. In messages
// of all kinds attribute 1 is the table's name and attribute 2 the name of chain
// or set, but for chains, where that is attribute 3.
func describe(m message) string {
	as := m.attributes()
	words := []string{verbs[m.typ], tableOf(m, text(as, 1))}
	switch m.typ {
	case nftType(unix.NFT_MSG_NEWTABLE), nftType(unix.NFT_MSG_DELTABLE):
	case nftType(unix.NFT_MSG_NEWCHAIN), nftType(unix.NFT_MSG_DELCHAIN):
		words = append(words, text(as, unix.NFTA_CHAIN_NAME))
	default:
		words = append(words, text(as, 2))
	}
	s := strings.Join(words, " ")
	if m.typ != nftType(unix.NFT_MSG_NEWRULE) {
		return s
	}
	s += ": " + strings.Join(expressions(as), " ")
	// The library's own reader panics on a length beyond the end.
	if c := get(as, unix.NFTA_RULE_USERDATA); len(c) > 2 && c[0] == byte(userdata.TypeComment) && len(c) >= 2+int(c[1]) {
		s += ` comment "` + strings.TrimRight(string(c[2:2+int(c[1])]), "\x00") + `"`
	}
	return s
}

func expressions(rule []attr) []string {
	var names []string
	for _, e := range attrs(get(rule, unix.NFTA_RULE_EXPRESSIONS)) {
		names = append(names, text(attrs(e.data), unix.NFTA_EXPR_NAME))
	}
	return names
}

// modules are the kernel's modules that rules may miss, by expression.
var modules = map[string]string{
	"masq":   "nft_masq",
	"nat":    "nft_nat",
	"reject": "nft_reject_inet",
	"ct":     "nft_ct",
	"fib":    "nft_fib_inet",
	"limit":  "nft_limit",
	"log":    "nf_log_syslog",
}

// hint guesses what a kernel lacks that does not know an object.
func hint(m message, errno syscall.Errno, offset int) string {
	if errno == unix.EPERM {
		return "it needs CAP_NET_ADMIN, and the table must not belong to another process"
	}
	if errno != unix.ENOENT && errno != unix.EOPNOTSUPP && errno != unix.EAFNOSUPPORT {
		return ""
	}
	as := m.attributes()
	switch m.typ {
	case nftType(unix.NFT_MSG_NEWTABLE):
		return "does the kernel lack nf_tables for this family?"
	case nftType(unix.NFT_MSG_NEWCHAIN):
		return "does the kernel lack nft_chain_" + text(as, unix.NFTA_CHAIN_TYPE) + "?"
	case nftType(unix.NFT_MSG_NEWRULE):
		return ruleHint(m, as, offset)
	}
	return ""
}

// ruleHint names the module for the expression that the kernel points at, or for
// all of the rule's if it points nowhere.
func ruleHint(m message, as []attr, offset int) string {
	var lacking []string
	for _, a := range as {
		if a.typ != unix.NFTA_RULE_EXPRESSIONS {
			continue
		}
		start := headerLen + 4 + a.at + 4 // headers of netlink, nfnetlink and the list
		for _, e := range attrs(a.data) {
			module := modules[text(attrs(e.data), unix.NFTA_EXPR_NAME)]
			at := start + e.at
			if pointed := offset < start || offset >= at && offset < at+4+len(e.data); pointed && module != "" {
				lacking = append(lacking, module)
			}
		}
	}
	if len(lacking) == 0 {
		return ""
	}
	return "does the kernel lack the module " + strings.Join(lacking, " or ") + "?"
}
