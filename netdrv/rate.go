package netdrv

import (
	"cmp"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// unit is a word behind a number; all are powers of 1000 but those with an i.
type unit struct {
	word string
	size uint64
}

var (
	rateUnits = []unit{
		{"gbit", 1_000_000_000},
		{"mbit", 1_000_000},
		{"kbit", 1_000},
		{"bit", 1},
		{"GB", 8_000_000_000},
		{"MB", 8_000_000},
		{"kB", 8_000},
	}
	sizeUnits = []unit{
		{"GB", 1_000_000_000}, {"MB", 1_000_000}, {"kB", 1_000}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1},
	}
	quantityRE = regexp.MustCompile(`^([0-9]{1,12}(?:\.[0-9]{1,9})?)([A-Za-z]+)$`)
)

// ParseBitRate reads "10mbit", "2.5gbit" or, in bytes per second, "500kB". What
// is not a whole number of bytes per second is an error, for the kernel counts so.
func ParseBitRate(s string) (BitRate, error) {
	v, ok := parseQuantity(s, rateUnits)
	if !ok {
		return 0, fmt.Errorf("%q is not a rate such as 500kbit, 10mbit or 1.5MB (units are %s)", s, unitWords(rateUnits))
	}
	if v%8 != 0 {
		return 0, fmt.Errorf("%q is not a whole number of bytes per second", s)
	}
	return BitRate(v), nil
}

// ParseSize reads "100kB", "64KiB" or "1500B".
func ParseSize(s string) (Size, error) {
	v, ok := parseQuantity(s, sizeUnits)
	if !ok || v > 1<<32-1 {
		return 0, fmt.Errorf("%q is not a number of bytes below 4GiB, such as 100kB or 64KiB (units are %s)", s, unitWords(sizeUnits))
	}
	return Size(v), nil
}

// String says "10mbit", in the largest unit that leaves no fraction.
func (r BitRate) String() string { return quantity(uint64(r), rateUnits[:4]) }

// String says "100kB", in the largest unit that leaves no fraction.
func (s Size) String() string { return quantity(uint64(s), sizeUnits) }

func parseQuantity(s string, units []unit) (uint64, bool) {
	m := quantityRE.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	i := slices.IndexFunc(units, func(u unit) bool { return u.word == m[2] })
	if i < 0 {
		return 0, false
	}
	v, ok := new(big.Rat).SetString(m[1])
	if !ok {
		return 0, false
	}
	v.Mul(v, new(big.Rat).SetUint64(units[i].size))
	if !v.IsInt() || !v.Num().IsUint64() {
		return 0, false
	}
	return v.Num().Uint64(), true
}

func quantity(v uint64, units []unit) string {
	largest := slices.MaxFunc(units, func(a, b unit) int { return cmp.Compare(fit(v, a), fit(v, b)) })
	return fmt.Sprintf("%d%s", v/largest.size, largest.word)
}

// fit is how large a unit is, or 0 if v is no multiple of it.
func fit(v uint64, u unit) uint64 {
	if v%u.size != 0 {
		return 0
	}
	return u.size
}

func unitWords(units []unit) string {
	out := make([]string, len(units))
	for i, u := range units {
		out[i] = u.word
	}
	return strings.Join(out, ", ")
}
