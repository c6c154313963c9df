package kernel_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv"
)

// What the kernel says of a bridge's settings in a message is what a person reads
// and writes in /proc/sys, however the bridge is looked at.
func TestSettingsAreThoseOfProc(t *testing.T) {
	h := newHost(t)
	h.converge(dual)
	all, _ := h.settings()
	if len(all) != 9 {
		t.Fatalf("looked at %v, want nine settings", slices.Sorted(maps.Keys(all)))
	}
	for key, was := range all {
		other := map[string]string{"0": "1", "8192": "4096"}[was] // and 0 for all others
		if other == "" {
			other = "0"
		}
		h.Run(t, "sh -c 'echo "+other+" >/proc/sys/"+key+"'")
		if got := strings.TrimSpace(h.Run(t, "cat /proc/sys/"+key)); got != other {
			t.Errorf("%s was %s, and is %s after %s was written", key, was, got, other)
		}
		if all, one := h.settings(); all[key] != other || one[key] != other {
			t.Errorf("%s is %s: all links say %q, its link alone %q", key, other, all[key], one[key])
		}
		h.Run(t, "sh -c 'echo "+was+" >/proc/sys/"+key+"'")
	}
}

// settings are what a look at everything finds, and a look at one bridge.
func (h *host) settings() (all, one map[string]string) {
	h.in(func() error {
		state, _, err := h.k.Observe(context.Background())
		if err != nil {
			return err
		}
		all = ofBridges(state)
		state, err = h.k.ObserveLinks(context.Background(), []string{dual.Bridge.Name}, nil)
		one = ofBridges(state)
		return err
	})
	return all, one
}

func ofBridges(s netdrv.State) map[string]string {
	out := map[string]string{}
	for _, s := range s.Sysctls {
		if s.Link != "" {
			out[s.Key] = s.Value
		}
	}
	return out
}
