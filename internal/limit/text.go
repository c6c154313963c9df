package limit

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is how many octets of a guest-supplied string are shown.
const MaxText = 64

// Text returns a guest-supplied string as logs and events show it: at most
// MaxText octets of valid UTF-8 without control or formatting characters.
func Text(s string) string { return replace(cut(s, MaxText), "") }

const ellipsis = "…"

// cut returns at most so many octets of a string, in whole runes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most - len(ellipsis)
	for end > most-len(ellipsis)-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// replace puts a question mark in place of what is not printable and not among keep.
func replace(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) && !strings.ContainsRune(keep, r) {
			return '?'
		}
		return r
	}, s)
}
