package v4

// Hostname makes what a client calls itself a label that may stand in the DNS:
// the part before the first dot, in lower case. It is "" if that is not letters,
// digits and inner hyphens, at most 63 (RFC 1123 §2.1).
func Hostname(raw []byte) string {
	var label [63]byte
	n := 0
	for _, c := range raw {
		if c == '.' || c == 0 { // some clients count the NUL
			break
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if n == len(label) || !hostnameOctet(c) {
			return ""
		}
		label[n] = c
		n++
	}
	if n == 0 || label[0] == '-' || label[n-1] == '-' {
		return ""
	}
	return string(label[:n])
}

func hostnameOctet(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
}
