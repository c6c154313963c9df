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

// describe returns what a message asks for, in words. In messages of all kinds attribute 1 is the
// name of the table and attribute 2 that of the chain or set, except for messages about chains,
// where it is attribute 3.
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
	s += ":"
	for _, e := range attrs(get(as, unix.NFTA_RULE_EXPRESSIONS)) {
		s += " " + text(attrs(e.data), unix.NFTA_EXPR_NAME)
	}
	// The library's own reader panics on a length beyond the end.
	if c := get(as, unix.NFTA_RULE_USERDATA); len(c) > 2 && c[0] == byte(userdata.TypeComment) && len(c) >= 2+int(c[1]) {
		s += ` comment "` + strings.TrimRight(string(c[2:2+int(c[1])]), "\x00") + `"`
	}
	return s
}

// modules are the kernel's modules that implement expressions.
var modules = map[string]string{
	"masq":   "nft_masq",
	"nat":    "nft_nat",
	"reject": "nft_reject_inet",
	"ct":     "nft_ct",
	"fib":    "nft_fib_inet",
	"limit":  "nft_limit",
	"log":    "nf_log_syslog",
}

// hint names what the kernel may lack if it does not know an object.
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
		// The module for the expression at the offset, or for all of the rule's if there is
		// none.
		var lacking []string
		for _, a := range as {
			if a.typ != unix.NFTA_RULE_EXPRESSIONS {
				continue
			}
			start := headerLen + 4 + a.at + 4 // headers of netlink, nfnetlink and the list
			for _, e := range attrs(a.data) {
				module := modules[text(attrs(e.data), unix.NFTA_EXPR_NAME)]
				at := start + e.at
				if module != "" && (offset < start || offset >= at && offset < at+4+len(e.data)) {
					lacking = append(lacking, module)
				}
			}
		}
		if len(lacking) > 0 {
			return "does the kernel lack the module " + strings.Join(lacking, " or ") + "?"
		}
	}
	return ""
}
