package wire

import "math/rand/v2"

// Letters says which letters of a question's name are capitals: some bits more
// that a forged reply has to guess (draft-vixie-dnsext-dns0x20). Bit i, modulo
// 64, is about byte i.
type Letters uint64

// SmallLetters is for servers that do not repeat the question as it was.
const SmallLetters Letters = 0

// RandomLetters returns unpredictable ones: the runtime's generator is ChaCha8,
// seeded by the kernel.
func RandomLetters() Letters { return Letters(rand.Uint64()) }

// Apply writes a name, which is in small letters, in these ones.
func (l Letters) Apply(name []byte) {
	for i, c := range name {
		name[i] = l.letter(i, c)
	}
}

func (l Letters) letter(i int, c byte) byte {
	if c-'a' < 26 && l>>(i%64)&1 != 0 {
		return c &^ 0x20
	}
	return c
}

// In reports whether the reply repeats the question in these letters.
// SmallLetters are in any.
func (m *Message) In(l Letters) bool {
	if l == SmallLetters {
		return true
	}
	for i, c := range m.raw[HeaderLen:] {
		if c == 0 {
			return true
		}
		if l.letter(i, small(c)) != c {
			return false
		}
	}
	return false
}
