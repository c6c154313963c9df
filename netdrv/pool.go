package netdrv

import "net/netip"

// Pools are the ranges without what is excluded.
func (d *DHCP) Pools() []Range { return without(d.Ranges, d.Exclude) }

// Pools are the ranges without what is excluded.
func (r *RelayedSubnet) Pools() []Range { return without(r.Ranges, r.Exclude) }

func without(ranges, exclude []Range) []Range {
	for _, x := range exclude {
		var left []Range
		for _, r := range ranges {
			left = append(left, r.without(x)...)
		}
		ranges = left
	}
	return ranges
}

// without returns what is left of r, in two parts at most.
func (r Range) without(x Range) []Range {
	if x.End.Less(r.Start) || r.End.Less(x.Start) {
		return []Range{r}
	}
	var left []Range
	if r.Start.Less(x.Start) {
		left = append(left, Range{r.Start, x.Start.Prev()})
	}
	if x.End.Less(r.End) {
		left = append(left, Range{x.End.Next(), r.End})
	}
	return left
}

// inRanges reports whether one of the ranges shares an address with x.
func inRanges(ranges []Range, x Range) bool {
	for _, r := range ranges {
		if r.Contains(x.Start) || x.Contains(r.Start) {
			return true
		}
	}
	return false
}

// overlapping returns the first of the prefixes that shares addresses with p, or -1.
func overlapping(p netip.Prefix, all []netip.Prefix) int {
	for i, o := range all {
		if p.IsValid() && o.IsValid() && p.Overlaps(o) {
			return i
		}
	}
	return -1
}
