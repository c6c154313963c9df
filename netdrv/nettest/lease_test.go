package nettest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseReports(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "noise\n", nil},
		{"one", "@lease 1 ip=192.0.2.1\n@lease 1 END bound\n", []string{"bound ip=192.0.2.1"}},
		{"an open one", "@lease 1 ip=192.0.2.1\n@lease 1 EN", nil},
		{"two at a time", "@lease 1 ip=1\n@lease 2 ip=2\nnoise\n@lease 2 END b\n@lease 1 END a\n", []string{"b ip=2", "a ip=1"}},
		{"a number again", "@lease 1 ip=1\n@lease 1 END a\n@lease 1 END b\n", []string{"a ip=1", "b ip="}},
		{"a serial line", "@lease 1 ip=1\r\n@lease 1 END a\r\n", []string{"a ip=1"}},
		{"an equals sign in a value", "@lease 1 ip=a=b\n@lease 1 END a\n", []string{"a ip=a=b"}},
		{"torn", "@lease\n@lease 1\n@lease 1 x\n@lease 1 END \n", []string{" ip="}},
	} {
		var got []string
		for _, r := range parseReports(c.text) {
			got = append(got, r.event+" ip="+r.vars["ip"])
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestLeaseThatIsNone(t *testing.T) {
	good := map[string]string{"ip": "192.0.2.9", "subnet": "255.255.255.0", "router": "192.0.2.1", "dns": "192.0.2.1 192.0.2.2", "lease": "60"}
	if l, err := udhcpcKeys.lease(good); err != nil || l.Address.String() != "192.0.2.9/24" || len(l.DNS) != 2 {
		t.Errorf("got %v, %v", l, err)
	}
	for name, bad := range map[string]string{"ip": "x", "subnet": "24", "router": "x", "dns": "192.0.2.1,x", "lease": "-1"} {
		vars := make(map[string]string)
		for k, v := range good {
			vars[k] = v
		}
		vars[name] = bad
		if l, err := udhcpcKeys.lease(vars); err == nil {
			t.Errorf("%s=%s: got %v, want an error", name, bad, l)
		}
	}
}
