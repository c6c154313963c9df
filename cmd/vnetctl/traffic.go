package main

import (
	"fmt"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// amount prints a number of bytes or bits with three digits: 3.1MB, 12.4kB.
func amount(v float64, unit string) string {
	for _, prefix := range []string{"", "k", "M", "G", "T"} {
		if v < 999.95 || prefix == "T" {
			if prefix == "" {
				return fmt.Sprintf("%.0f%s", v, unit)
			}
			return fmt.Sprintf("%.1f%s%s", v, prefix, unit)
		}
		v /= 1000
	}
	return ""
}

// received and sent are for a table; empty where nobody counts.
func received(c *vnetv1.Counters) string {
	if c == nil {
		return ""
	}
	return amount(float64(c.GetRxBytes()), "B")
}

func sent(c *vnetv1.Counters) string {
	if c == nil {
		return ""
	}
	return amount(float64(c.GetTxBytes()), "B")
}
