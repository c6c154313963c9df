package firewall_test

import (
	"testing"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
)

// BenchmarkCompile500 is what one create costs on a host with 500 networks.
func BenchmarkCompile500(b *testing.B) {
	networks := example.Many(500)
	b.ReportAllocs()
	for b.Loop() {
		firewall.Compile(networks)
	}
}

// BenchmarkDiff500 compares with the ruleset of one network less.
func BenchmarkDiff500(b *testing.B) {
	old, with := firewall.Compile(example.Many(499)), firewall.Compile(example.Many(500))
	b.ReportAllocs()
	for b.Loop() {
		firewall.Diff(old, with)
	}
}
