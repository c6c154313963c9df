package wire

import (
	"net/netip"
	"reflect"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func fullPort() netdrv.Port {
	return netdrv.Port{
		Network: "lab", Link: "vnet0", Guest: "web", MAC: netdrv.MAC{2, 0, 0, 0, 10, 11},
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.10.11")}, Owner: 1000, Queues: 4, Uplink: "eno1",
		Transient: true, Holder: netdrv.Process{PID: 4711, Started: 99}, Granted: "user alice", Filter: fullFilter(),
		Bandwidth: netdrv.Bandwidth{
			In:  netdrv.Rate{Average: 8_000_000, Peak: 16_000_000, Burst: 100_000, Floor: 1_000_000},
			Out: netdrv.Rate{Average: 4_000_000, Peak: 8_000_000, Burst: 50_000, Floor: 2_000_000},
		},
	}
}

func TestEveryFieldOfAPortIsTranslated(t *testing.T) {
	want := fullPort()
	requireSet(t, "Port", reflect.ValueOf(want))
	p := ToPort(&want)
	output := map[protoreflect.Name]bool{"kind": true, "index": true, "managed": true, "attached": true, "up": true, "limits": true, "counters": true}
	requireProtoSet(t, p, output, map[protoreflect.Name]bool{})
	if got, unread := FromPort(p); unread != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v), want %+v", got, unread, want)
	}
}

func TestPortThatCannotBeRead(t *testing.T) {
	_, unread := FromPort(&vnetv1.Port{Mac: "x", Addresses: []string{"1.2.3.4", "y"}, Owner: "nobody-such", Queues: 1 << 31})
	var paths []string
	for _, f := range unread {
		paths = append(paths, f.Path)
	}
	if want := []string{"mac", "addresses[1]", "owner"}; !reflect.DeepEqual(paths, want) {
		t.Errorf("findings at %v, want %v", paths, want)
	}
}
