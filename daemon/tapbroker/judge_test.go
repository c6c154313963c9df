package tapbroker

import (
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv"
)

// known has alice, who is user 1000, and the group kvm, which is 36.
type known struct{}

func (known) uid(name string) (uint32, bool) {
	if name == "alice" {
		return 1000, true
	}
	return number(name)
}

func (known) gid(name string) (uint32, bool) {
	if name == "kvm" {
		return 36, true
	}
	return number(name)
}

func (known) groups(uid uint32) []uint32 { return map[uint32][]uint32{1001: {36}}[uid] }

// A user loses a port when no entry of the access list names the user any more.
func TestMayHold(t *testing.T) {
	for name, c := range map[string]struct {
		access  netdrv.Access
		owner   uint32
		granted string
		want    bool
	}{
		"as it was":           {netdrv.Access{Users: []string{"alice"}}, 1000, "user alice", true},
		"not named any more":  {netdrv.Access{Users: []string{"1001"}}, 1000, "user alice", false},
		"no user is":          {netdrv.Access{}, 1000, "user alice", false},
		"now by number":       {netdrv.Access{Users: []string{"1000"}}, 1000, "user alice", true},
		"now by group":        {netdrv.Access{Groups: []string{"kvm"}}, 1001, "user 1001", true},
		"its group":           {netdrv.Access{Groups: []string{"kvm"}}, 5555, "group kvm", true},
		"its group is gone":   {netdrv.Access{Groups: []string{"7"}}, 5555, "group kvm", false},
		"a user is no group":  {netdrv.Access{Users: []string{"kvm"}}, 5555, "group kvm", false},
		"an administrator":    {netdrv.Access{}, 1000, netdrv.GrantedAdmin, true},
		"of an earlier vnetd": {netdrv.Access{Groups: []string{"x"}}, 1000, "", true},
		"and none is named":   {netdrv.Access{}, 1000, "", false},
		"and it is root's":    {netdrv.Access{}, 0, "", true},
	} {
		if got := mayHold(&c.access, &netdrv.Port{Owner: c.owner, Granted: c.granted}, known{}); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestRefuse(t *testing.T) {
	alice, other := caller{UID: 1000, Groups: []uint32{1000}}, caller{UID: 1001, Groups: []uint32{1001, 36}}
	mac := netdrv.MAC{0x52, 0x54, 0, 1, 2, 3}
	for name, c := range map[string]struct {
		access netdrv.Access
		who    caller
		held   int
		mac    netdrv.MAC
		want   string // "" if he may
	}{
		"nobody is named":         {netdrv.Access{}, alice, 0, mac, "user 1000 may not"},
		"root":                    {netdrv.Access{MACPrefix: "02", MaxPorts: 1}, caller{Admin: true}, 9, mac, ""},
		"user 0 is not by itself": {netdrv.Access{}, caller{UID: 0}, 0, mac, "user 0 may not"},
		"by name":                 {netdrv.Access{Users: []string{"alice"}}, alice, 0, mac, ""},
		"by number":               {netdrv.Access{Users: []string{"1000"}}, alice, 0, mac, ""},
		"another":                 {netdrv.Access{Users: []string{"alice"}}, other, 0, mac, "user 1001 may not"},
		"an unknown name":         {netdrv.Access{Users: []string{"bob"}}, alice, 0, mac, "user 1000 may not"},
		"by group":                {netdrv.Access{Groups: []string{"kvm"}}, other, 0, mac, ""},
		"not in the group":        {netdrv.Access{Groups: []string{"kvm"}}, alice, 0, mac, "user 1000 may not"},
		"a group is no user":      {netdrv.Access{Users: []string{"36"}}, other, 0, mac, "user 1001 may not"},
		"one more":                {netdrv.Access{Users: []string{"alice"}, MaxPorts: 2}, alice, 1, mac, ""},
		"one too many":            {netdrv.Access{Users: []string{"alice"}, MaxPorts: 2}, alice, 2, mac, "may have no more"},
		"the default":             {netdrv.Access{Users: []string{"alice"}}, alice, 32, mac, "has 32 ports"},
		"a MAC that fits":         {netdrv.Access{Users: []string{"alice"}, MACPrefix: "52:54:00:01"}, alice, 0, mac, ""},
		"a MAC that does not":     {netdrv.Access{Users: []string{"alice"}, MACPrefix: "52:54:00:02"}, alice, 0, mac, "begin with 52:54:00:02"},
		"no MAC":                  {netdrv.Access{Users: []string{"alice"}, MACPrefix: "52:54:00:02"}, alice, 0, netdrv.MAC{}, ""},
	} {
		n := netdrv.Network{Name: "lab", Access: c.access}
		granted, got := refuse(&n, c.who, c.held, c.mac, known{})
		if (granted == "") != (got != "") {
			t.Errorf("%s: granted by %q, and refused because %q", name, granted, got)
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPickedMACs(t *testing.T) {
	for _, prefix := range []string{"", "52:54:00", "02", "aa:bb:cc:dd:ee"} {
		a := netdrv.Access{MACPrefix: prefix}
		if m := pickMAC(&a); !a.Allows(m) || m.IsMulticast() || m == pickMAC(&a) && prefix != "aa:bb:cc:dd:ee" {
			t.Errorf("prefix %q: picked %s", prefix, m)
		}
	}
}
