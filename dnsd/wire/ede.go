package wire

import "encoding/binary"

// maxErrorText is how much of an upstream's text is passed on, octets.
const maxErrorText = 64

// Extended errors of our own (RFC 8914 section 4).
var (
	staleAnswer          = ede(3, "")
	notReady             = ede(14, "")
	blocked              = ede(15, "private address (DNS rebinding)")
	staleName            = ede(19, "")
	noReachableAuthority = ede(22, "")
)

// ede returns an EDE option: its code, a length, INFO-CODE and EXTRA-TEXT.
func ede[T string | []byte](code uint16, text T) []byte {
	b := binary.BigEndian.AppendUint16(nil, optionEDE)
	b = binary.BigEndian.AppendUint16(b, uint16(2+len(text)))
	return append(binary.BigEndian.AppendUint16(b, code), text...)
}

const optionEDE = 15

// extendedError returns the first EDE option among those of an OPT record, with what
// is not printable replaced and long text cut, or nil.
func extendedError(options []byte) []byte {
	for len(options) >= 4 {
		code, size := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		options = options[4:]
		if size > len(options) {
			return nil
		}
		if code == optionEDE && size >= 2 {
			b := ede(binary.BigEndian.Uint16(options), options[2:min(size, 2+maxErrorText)])
			for i, c := range b[6:] {
				if c < ' ' || c > '~' {
					b[6+i] = '?'
				}
			}
			return b
		}
		options = options[size:]
	}
	return nil
}
