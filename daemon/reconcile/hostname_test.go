package reconcile

import (
	"fmt"
	"testing"
)

// A host name that DNS cannot have leaves the host the name "host".
func TestHostNames(t *testing.T) {
	for hostname, want := range map[string]string{
		"kvm1": "[kvm1 host]", "KVM1.example.com": "[kvm1 host]", "host_a": "[host_a host]", "host": "[host]", "localhost": "[host]",
		"": "[host]", "(none)": "[host]", "my host": "[host]", "büro": "[host]", "a.b c": "[a host]", ".x": "[host]",
		"a-label-of-more-than-63-letters-which-linux-has-room-for-in-64-as": "[host]",
	} {
		if got := fmt.Sprint(hostNames(hostname)); got != want {
			t.Errorf("%q: %s, want %s", hostname, got, want)
		}
	}
}
