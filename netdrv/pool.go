package netdrv

import "sort"

// Pools are the ranges without what is excluded.
func (d *DHCP) Pools() []Range { return without(d.Ranges, d.Exclude) }

// Pools are the ranges without what is excluded.
func (r *RelayedSubnet) Pools() []Range { return without(r.Ranges, r.Exclude) }

// without cuts exclude, each of which starts before it ends, out of ranges.
func without(ranges, exclude []Range) []Range {
	if len(exclude) == 0 {
		return ranges
	}
	cut := newRangeIndex(exclude)
	var left []Range
	for _, r := range ranges {
		// The first that may reach into r is the one after all that end before it.
		at := sort.Search(len(cut.order), func(i int) bool { return !cut.all[cut.widest[i]].End.Less(r.Start) })
		for ; at < len(cut.order); at++ {
			x := cut.all[cut.order[at]]
			if r.End.Less(x.Start) || r.End.Less(r.Start) {
				break
			}
			if r.Start.Less(x.Start) {
				left = append(left, Range{r.Start, x.Start.Prev()})
			}
			if !x.End.Less(r.Start) {
				r.Start = x.End.Next()
			}
			if !r.Start.IsValid() { // x ends with the last address that there is
				break
			}
		}
		if r.Start.IsValid() && !r.End.Less(r.Start) {
			left = append(left, r)
		}
	}
	return left
}
