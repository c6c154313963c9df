package netdrv

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPools(t *testing.T) {
	all := rng("10.0.0.10", "10.0.0.19")
	for name, c := range map[string]struct {
		exclude, want []Range
	}{
		"nothing":          {nil, []Range{all}},
		"elsewhere":        {[]Range{rng("10.0.0.1", "10.0.0.9")}, []Range{all}},
		"the middle":       {[]Range{rng("10.0.0.12", "10.0.0.13")}, []Range{rng("10.0.0.10", "10.0.0.11"), rng("10.0.0.14", "10.0.0.19")}},
		"the beginning":    {[]Range{rng("10.0.0.1", "10.0.0.10")}, []Range{rng("10.0.0.11", "10.0.0.19")}},
		"the end":          {[]Range{rng("10.0.0.19", "10.0.0.30")}, []Range{rng("10.0.0.10", "10.0.0.18")}},
		"two":              {[]Range{rng("10.0.0.11", "10.0.0.11"), rng("10.0.0.18", "10.0.0.19")}, []Range{rng("10.0.0.10", "10.0.0.10"), rng("10.0.0.12", "10.0.0.17")}},
		"two that overlap": {[]Range{rng("10.0.0.11", "10.0.0.15"), rng("10.0.0.13", "10.0.0.18")}, []Range{rng("10.0.0.10", "10.0.0.10"), rng("10.0.0.19", "10.0.0.19")}},
		"all":              {[]Range{all}, nil},
		"what was unread":  {[]Range{{}}, []Range{all}},
	} {
		d := DHCP{Ranges: []Range{all}, Exclude: c.exclude}
		if got := d.Pools(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	last := DHCP{Ranges: []Range{{netip.MustParseAddr("255.255.255.250"), netip.MustParseAddr("255.255.255.255")}}, Exclude: []Range{rng("255.255.255.252", "255.255.255.255")}}
	if got := last.Pools(); !slices.Equal(got, []Range{rng("255.255.255.250", "255.255.255.251")}) {
		t.Errorf("at the end of the addresses: %v", got)
	}
}
