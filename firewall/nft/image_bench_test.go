package nft

import (
	"testing"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
)

// BenchmarkImage500 encodes the rules of 500 networks to compare them.
func BenchmarkImage500(b *testing.B) {
	r := firewall.Compile(example.Many(500))
	b.ReportAllocs()
	for b.Loop() {
		_, err := imageOf(r)
		must(b, err)
	}
}
