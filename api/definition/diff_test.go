package definition

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func TestDiff(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(n *vnetv1.Network)
		want   []string
	}{
		"nothing":        {func(n *vnetv1.Network) {}, nil},
		"a word":         {func(n *vnetv1.Network) { n.Mode = vnetv1.Mode_MODE_ROUTE }, []string{"mode: nat -> route"}},
		"deep down":      {func(n *vnetv1.Network) { n.Subnets[0].Dhcp.LeaseTime = nil }, []string{"subnets[0].dhcp.leaseTime: 1h -> "}},
		"a new section":  {func(n *vnetv1.Network) { n.Ra = &vnetv1.RA{Preference: "low"} }, []string{"ra:  -> {preference: low}"}},
		"moved, no more": {func(n *vnetv1.Network) { n.Subnets[0], n.Subnets[1] = n.Subnets[1], n.Subnets[0] }, nil},
		"first of a list": {func(n *vnetv1.Network) {
			r := &n.Subnets[0].Dhcp.Reservations
			*r = append([]*vnetv1.Reservation{{Mac: "52:54:00:aa:bb:02", Address: "10.20.0.11"}}, *r...)
		}, []string{`subnets[0].dhcp.reservations[0]:  -> {mac: "52:54:00:aa:bb:02", address: 10.20.0.11}`}},
		"in a list":          {func(n *vnetv1.Network) { n.Subnets[0].Dhcp.Reservations[0].Hostname = "db" }, []string{"subnets[0].dhcp.reservations[0].hostname: web -> db"}},
		"a string of a list": {func(n *vnetv1.Network) { n.Uplinks = []string{"eno1"} }, []string{"uplinks[0]:  -> eno1"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := labNetwork()
			after := proto.CloneOf(before)
			tt.change(after)
			var got []string
			for _, c := range Diff(before, after) {
				got = append(got, c.Path+": "+c.Before+" -> "+c.After)
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
