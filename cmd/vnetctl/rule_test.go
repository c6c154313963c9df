package main

import (
	"testing"

	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

func TestParseRule(t *testing.T) {
	for words, want := range map[string]*vnetv1.FilterRule{
		"in accept":    {Direction: "in", Action: "accept"},
		"out drop log": {Direction: "out", Action: "drop", Log: true},
		"in accept tcp/22,8000-8080 from @office": {Direction: "in", Action: "accept", Protocol: "tcp", Ports: []string{"22", "8000-8080"}, Remote: "@office"},
		"out reject to 10.0.0.0/8 log":            {Direction: "out", Action: "reject", Remote: "10.0.0.0/8", Log: true},
		"in accept 47":                            {Direction: "in", Action: "accept", Protocol: "47"},
	} {
		if got, err := parseRule(words); err != nil || !proto.Equal(got, want) {
			t.Errorf("%q is %v (%v), want %v", words, got, err, want)
		}
	}
	for _, words := range []string{"", "in", "in accept tcp 22", "in accept from", "in accept from a b"} {
		if got, err := parseRule(words); err == nil {
			t.Errorf("%q is %v, want an error", words, got)
		}
	}
}
