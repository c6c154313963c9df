package v4

import "github.com/vnetd/vnetd/dhcpd/option"

// The flags of option 81, RFC 4702 §2.1, and what is before the name.
const (
	fqdnS      = 1 << iota // the server keeps the A record
	fqdnO                  // it does so although the client said otherwise
	fqdnE                  // the name is in the DNS's format
	fqdnHeader = 3         // flags and two result codes

	noResult = 255 // of the codes, which clients must ignore (§2.2)
	maxFQDN  = fqdnHeader + 64 + 255
)

// fqdnName returns the name of option 81, RFC 4702 §2: its first label, if it
// is in the DNS's format.
func fqdnName(b []byte) []byte {
	if len(b) <= fqdnHeader {
		return nil
	}
	name := b[fqdnHeader:]
	if b[0]&fqdnE == 0 {
		return name
	}
	if n := int(name[0]); n < len(name) {
		return name[1 : 1+n]
	}
	return nil
}

// appendFQDN adds the value of option 81 to a client that sent it: its name in
// the DNS, in the client's encoding, whose A record is ours to keep (RFC 4702
// §4).
//
// Deviation: a client that wants no record (N) has one all the same, as has any
// guest with a name, and is told so.
func appendFQDN(b []byte, asked byte, host, domain string) []byte {
	flags := byte(fqdnS) | asked&fqdnE
	if asked&fqdnS == 0 {
		flags |= fqdnO
	}
	b = append(b, flags, noResult, noResult)
	if flags&fqdnE == 0 {
		b = append(b, host...)
		if domain != "" {
			b = append(append(b, '.'), domain...)
		}
		return b
	}
	b = append(append(b, byte(len(host))), host...)
	if domain != "" {
		b, _ = option.AppendName(b, domain)
	}
	return b
}
