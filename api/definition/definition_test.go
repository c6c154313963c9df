package definition

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

const lab = `name: lab
mode: nat
bridge: {name: virbr1}
subnets:
  - address: 10.20.0.1/24
    dhcp:
      ranges: [{start: 10.20.0.100, end: 10.20.0.200}]
      leaseTime: 1h
      reservations: [{mac: "52:54:00:aa:bb:01", address: 10.20.0.10, hostname: web}]
  - {address: 'fd00:20::1/64'}
dns:
  domain: lab.test
  forwarders: [{domain: corp.example, address: 10.0.0.53}]
nat:
  ports: {start: 1024, end: 65535}
autostart: false
`

func labNetwork() *vnetv1.Network {
	return &vnetv1.Network{
		Name: "lab", Mode: vnetv1.Mode_MODE_NAT, Bridge: &vnetv1.Bridge{Name: "virbr1"},
		Subnets: []*vnetv1.Subnet{
			{Address: "10.20.0.1/24", Dhcp: &vnetv1.DHCP{
				Ranges:       []*vnetv1.AddressRange{{Start: "10.20.0.100", End: "10.20.0.200"}},
				LeaseTime:    durationpb.New(time.Hour),
				Reservations: []*vnetv1.Reservation{{Mac: "52:54:00:aa:bb:01", Address: "10.20.0.10", Hostname: "web"}},
			}},
			{Address: "fd00:20::1/64"},
		},
		Dns:       &vnetv1.DNS{Domain: "lab.test", Forwarders: []*vnetv1.Forwarder{{Domain: "corp.example", Address: "10.0.0.53"}}},
		Nat:       &vnetv1.NAT{Ports: &vnetv1.PortRange{Start: 1024, End: 65535}},
		Autostart: proto.Bool(false),
	}
}

func TestDefinitionOfTheDesign(t *testing.T) {
	got, err := Parse("lab.yaml", []byte(lab))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*vnetv1.Network{labNetwork()}, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	text, err := Marshal(got[0])
	if err != nil || string(text) != lab {
		t.Errorf("%v, written as\n%s", err, text)
	}
	roundTrip(t, labNetwork(), func() proto.Message { return &vnetv1.Network{} })
}

// roundTrip writes m in both languages and reads it back.
// What is written is what the library would write.
func asTheLibraryWrites(t *testing.T, m proto.Message) {
	t.Helper()
	var want bytes.Buffer
	enc := yaml.NewEncoder(&want)
	enc.SetIndent(2)
	if err := enc.Encode(messageNode(&encoder{}, m)); err != nil {
		t.Fatal(err)
	}
	if got, err := Marshal(m); err != nil || string(got) != want.String() {
		t.Errorf("%v, written as\n%s\nand by the library as\n%s", err, got, &want)
	}
}

func roundTrip(t *testing.T, m proto.Message, empty func() proto.Message) {
	t.Helper()
	asTheLibraryWrites(t, m)
	for name, marshal := range map[string]func(proto.Message) ([]byte, error){"yaml": Marshal, "json": MarshalJSON} {
		text, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		back := empty()
		if err := Unmarshal("back."+name, text, back); err != nil {
			t.Fatalf("%v, of\n%s", err, text)
		}
		if diff := cmp.Diff(m, back, protocmp.Transform(), cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%s:\n%s\n%s", name, diff, text)
		}
		again, err := marshal(back)
		if err != nil || string(again) != string(text) {
			t.Errorf("%s: not stable:\n%s\n%s", name, text, again)
		}
	}
}

func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"a letter missing":      {"name: a\nsubnets:\n  - dhcp:\n      range: []", "f:4:7: subnets[0].dhcp.range: unknown key: did you mean ranges?"},
		"letters swapped":       {"name: a\nmdoe: nat", "f:2:1: mdoe: unknown key: did you mean mode?"},
		"the proto's own name":  {"subnets: [{dhcp: {lease_time: 1h}}]", "f:1:19: subnets[0].dhcp.lease_time: unknown key: did you mean leaseTime?"},
		"a level too high":      {"subnets: [{leaseTime: 1h}]", "f:1:12: subnets[0].leaseTime: unknown key: did you mean dhcp.leaseTime?"},
		"two levels too high":   {"reservations: []", "f:1:1: reservations: unknown key: did you mean subnets[0].dhcp.reservations?"},
		"unheard of":            {"bridge: {vlanFiltering: true}", "f:1:10: bridge.vlanFiltering: unknown key: known are name, mac, mtu, uplinks, fdbMaxLearned"},
		"case of an enum":       {"mode: NAT", `f:1:7: mode: wants one of nat, route, open, isolated, bridge, direct, not "NAT": did you mean nat?`},
		"the contract's word":   {"mode: MODE_ROUTE", `f:1:7: mode: wants one of nat, route, open, isolated, bridge, direct, not "MODE_ROUTE": did you mean route?`},
		"the unset enum":        {"mode: unspecified", `f:1:7: mode: wants one of nat, route, open, isolated, bridge, direct, not "unspecified"`},
		"a list as text":        {"subnets: 10.0.0.1/24", `f:1:10: subnets: wants a list, not "10.0.0.1/24": did you mean subnets: [10.0.0.1/24]?`},
		"a list as a mapping":   {"subnets: {address: 10.0.0.1/24}", "f:1:10: subnets: wants a list, not keys and values: put a - before the first key of each element"},
		"a mapping as text":     {"bridge: virbr0", `f:1:9: bridge: wants keys and values, not "virbr0": did you mean {name: virbr0}?`},
		"a mapping as a list":   {"bridge: [{name: x}]", "f:1:9: bridge: wants keys and values, not a list: leave out the - or the brackets"},
		"text as a mapping":     {"name: {a: b}", "f:1:7: name: wants a text, not keys and values"},
		"an empty element":      {"subnets: [null]", "f:1:11: subnets[0]: an empty element"},
		"twice":                 {"name: a\nname: b", "f:2:1: name: given twice: it is on line 1 already"},
		"twice in JSON":         {"{\n\t\"name\": \"a\",\n\t\"name\": \"b\"\n}", "f:3:2: name: given twice: it is on line 2 already"},
		"a typo in JSON":        {"{\n\t\"name\": \"a\",\n\t\"bridge\": {\"mut\": 9000}}", "f:3:13: bridge.mut: unknown key: did you mean mtu?"},
		"a tab":                 {"bridge:\n\tname: x", "f:2: found character that cannot start any token: indent with spaces, not tabs"},
		"nothing":               {"# later\n", "f: there is no definition in it"},
		"text alone":            {"lab", `f:1:1: wants keys and values, not "lab"`},
		"latin-1":               {"name: a\ndns: {domain: \xfc}", "f:2: not UTF-8 text"},
		"an alias to nothing":   {"bridge: *b", "f:1: unknown anchor 'b' referenced"},
		"in the second of two":  {"name: a\n---\nname: b\nbrige: {}", "f:4:1: brige: unknown key: did you mean bridge?"},
		"half of a JSON object": {`{"name": "a"`, "f:1: did not find expected ',' or '}'"},
		"all at once": {"nam: a\nmode: nta\nnat: {ports: {start: big}}", `f:1:1: nam: unknown key: did you mean name?
f:2:7: mode: wants one of nat, route, open, isolated, bridge, direct, not "nta": did you mean nat?
f:3:22: nat.ports.start: wants a whole number from 0 to 4294967295, not "big"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.in))
			var e *Error
			if !errors.As(err, &e) || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

func TestReadAsWritten(t *testing.T) {
	for in, want := range map[string]string{
		"no": "no", "1e3": "1e3", "0x1f": "0x1f", "12:30:45": "12:30:45", "52:54:00:12:34:56": "52:54:00:12:34:56",
		"2026-01-01": "2026-01-01", "007": "007", "1_000": "1_000", "true": "true", "'null'": "null", `"~"`: "~",
		"null": "", "~": "", "": "", ".inf": ".inf", "fd00::1": "fd00::1", `"\u00e9"`: "é",
	} {
		got, err := Parse("f", []byte("name: x\ndns: {domain: "+in+"}"))
		if err != nil || got[0].GetDns().GetDomain() != want {
			t.Errorf("%s read as %q, %v", in, got, err)
		}
	}
}

func TestJSONIsReadAsJSON(t *testing.T) {
	in := "{\n\t\"name\":\"a\\/b\",\t\"dns\":{\"domain\":\"\\ud83d\\ude00\"},\n\t\"bridge\":{\"mtu\":9000}}\n{\"name\":\"second\"}"
	got, err := Parse("f", []byte(in))
	if err != nil || len(got) != 2 || got[0].Name != "a/b" || got[0].Dns.Domain != "😀" || got[0].Bridge.Mtu != "9000" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSeveralNetworks(t *testing.T) {
	for name, in := range map[string]string{
		"documents": "---\nname: a\n---\n# nothing\n---\nname: b\n...\n",
		"a list":    "- name: a\n- name: b\n",
		"JSON":      `[{"name": "a"}, {"name": "b"}]`,
	} {
		got, err := Parse("f", []byte(in))
		if err != nil || len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if err := Unmarshal("f", []byte("name: a\n---\nname: b"), &vnetv1.Network{}); err == nil {
		t.Error("two documents were read as one message")
	}
}

func TestDocumentKnowsItsText(t *testing.T) {
	docs, err := ParseDocuments("f", []byte("name: a\nautostart: false\nsubnets:\n  - address: 10.0.0.1/24\n"))
	if err != nil {
		t.Fatal(err)
	}
	d := docs[0]
	if !d.Has("autostart") || d.Has("transient") || !d.Has("subnets[0].address") || d.Has("subnets[1]") {
		t.Error("Has is wrong")
	}
	for path, want := range map[string]int{"name": 1, "subnets[0].address": 4, "subnets[0].dhcp.ranges[3].end": 4, "mode": 1} {
		if line, _ := d.Position(path); line != want {
			t.Errorf("%s is on line %d, not %d", path, line, want)
		}
	}
}

func TestAliases(t *testing.T) {
	got, err := Parse("f", []byte("name: a\nsubnets:\n  - address: 10.0.0.1/24\n    dhcp: &d {leaseTime: 2h}\n  - address: 10.0.1.1/24\n    dhcp: *d\n"))
	if err != nil || got[0].Subnets[1].Dhcp.LeaseTime.AsDuration() != 2*time.Hour {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAliasesAreBounded(t *testing.T) {
	var in strings.Builder
	in.WriteString("subnets:\n")
	reservations := strings.Repeat("{hostname: x},", 200)
	fmt.Fprintf(&in, "- dhcp: &d {reservations: [%s]}\n", reservations)
	in.WriteString(strings.Repeat("- dhcp: *d\n", 5000))
	start := time.Now()
	_, err := Parse("f", []byte(in.String()))
	if err == nil || !strings.Contains(err.Error(), "unfold") {
		t.Error(err)
	}
	t.Log(time.Since(start))
}

func TestSet(t *testing.T) {
	for _, tt := range []struct{ path, value, want string }{
		{"dns.domain", "no", `domain: "no"`},
		{"autostart", "true", "autostart: true"},
		{"mode", "isolated", "mode: isolated"},
		{"bridge.mtu", "9000", "mtu: 9000"},
		{"bridge.mac", "52:54:00:12:34:56", `mac: "52:54:00:12:34:56"`},
		{"bridge", "{name: br9}", "bridge: {name: br9}"},
		{"subnets[1].dhcp.leaseTime", "2h", "dhcp: {leaseTime: 2h}"},
		{"subnets[0].dhcp.ranges", "[{start: 10.20.0.5, end: 10.20.0.6}]", "ranges: [{start: 10.20.0.5, end: 10.20.0.6}]"},
		{"subnets[2].address", "10.9.0.1/24", "- address: 10.9.0.1/24"},
		{"subnets[0]", "{address: 10.8.0.1/24}", "- address: 10.8.0.1/24"},
	} {
		m := labNetwork()
		if err := Set(m, tt.path, tt.value); err != nil {
			t.Errorf("%s=%s: %v", tt.path, tt.value, err)
		}
		text, _ := Marshal(m)
		if !strings.Contains(string(text), strings.TrimPrefix(tt.want, "- ")) {
			t.Errorf("%s=%s gives\n%s", tt.path, tt.value, text)
		}
	}
}

func TestSetNothingTakesAway(t *testing.T) {
	m := labNetwork()
	for _, path := range []string{"subnets[0]", "dns", "nat.ports"} {
		if err := Set(m, path, ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.Subnets) != 1 || m.Subnets[0].Address != "fd00:20::1/64" || m.Dns != nil || m.Nat.Ports != nil {
		t.Error(m)
	}
}

func TestSetFindings(t *testing.T) {
	for path, want := range map[string]string{
		"dns.domian=x":          "dns.domian: unknown key: did you mean domain?",
		"autostart=yes":         `autostart: wants true or false, not "yes": write true`,
		"subnets.address=x":     "subnets: is a list: did you mean subnets[0].address?",
		"subnets[9].address=x":  "subnets[9]: there are only 2",
		"subnets[0=x":           `"subnets[0" is no path: write one as dns.domain or subnets[0].address`,
		".=x":                   `"." is no path: write one as dns.domain or subnets[0].address`,
		"name.x=x":              "name: has nothing further in it",
		"subnets[0].dhcp=yes":   `subnets[0].dhcp: wants keys and values, not "yes": did you mean {ranges: yes}?`,
		"bridge={nme: x}":       "bridge.nme: unknown key: did you mean name?",
		"bridge={":              "line 1: bridge: did not find expected node content",
		"nat.ports.start=-1":    `nat.ports.start: wants a whole number from 0 to 4294967295, not "-1"`,
		"subnets[0][1]=x":       "subnets[0]: has nothing further in it",
		"subnets[99999999].a=x": `"subnets[99999999].a" is no path: write one as dns.domain or subnets[0].address`,
	} {
		key, value, _ := strings.Cut(path, "=")
		m := labNetwork()
		err := Set(m, key, value)
		if err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", path, err, want)
		}
		if !proto.Equal(m, labNetwork()) {
			t.Errorf("%s was refused, and done in part", path)
		}
	}
}

func TestWhatHasNoText(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"not UTF-8":       &vnetv1.Network{Name: "\xff"},
		"a long duration": &vnetv1.DHCP{LeaseTime: &durationpb.Duration{Seconds: InfiniteSeconds - 1}},
		"a bad duration":  &vnetv1.DHCP{LeaseTime: &durationpb.Duration{Seconds: 1, Nanos: -1}},
	} {
		if text, err := Marshal(m); err == nil {
			t.Errorf("%s: %s", name, text)
		}
		if text, err := MarshalJSON(m); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// The longest Duration is a word; a decimal number of seconds would say less.
func TestInfinite(t *testing.T) {
	m := &vnetv1.DHCP{LeaseTime: &durationpb.Duration{Seconds: InfiniteSeconds}}
	roundTrip(t, m, func() proto.Message { return &vnetv1.DHCP{} })
	if text, err := Marshal(m); err != nil || string(text) != "leaseTime: infinite\n" {
		t.Errorf("%s, %v", text, err)
	}
	if d := m.LeaseTime.AsDuration(); d != math.MaxInt64 {
		t.Errorf("as Go's: %s", d)
	}
}

func TestOutputOnlyFieldsAreRead(t *testing.T) {
	n := labNetwork()
	n.Revision, n.Status = 7, &vnetv1.NetworkStatus{Phase: vnetv1.Phase_PHASE_READY, Revision: 7, Leases: 2}
	roundTrip(t, n, func() proto.Message { return &vnetv1.Network{} })
}

func TestLists(t *testing.T) {
	for _, ns := range [][]*vnetv1.Network{nil, {labNetwork()}, {labNetwork(), {Name: "b"}}} {
		y, err1 := MarshalList(ns)
		j, err2 := MarshalJSONList(ns)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for _, text := range [][]byte{y, j} {
			got, err := Parse("f", text)
			if len(ns) == 0 {
				continue
			}
			if diff := cmp.Diff(ns, got, protocmp.Transform()); err != nil || diff != "" {
				t.Errorf("%v\n%s\n%s", err, diff, text)
			}
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		lab, `{"name":"a","subnets":[{"address":"10.0.0.1/24"}]}`, "child: &x {child: *x}", "a: &a [*a]", "words: [a, 'b', \"c\\n\"]",
		"text: |\n  two\n  lines\n", "labels: {? a : b}", "---\n---\n", "text: \"\\0\\x85\\u2028\"", "%YAML 1.1\n---\na: b", "ratio: .nan",
	} {
		f.Add([]byte(seed))
	}
	if design, err := os.ReadFile("testdata/design.yaml"); err == nil {
		f.Add(design)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, empty := range []func() proto.Message{newEverything, func() proto.Message { return &vnetv1.Network{} }} {
			m := empty()
			if err := Unmarshal("f", in, m); err == nil {
				roundTrip(t, m, empty)
			}
		}
		_, _ = Parse("f", in)
	})
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"no", "a: b", "# x", "- x", "52:54:00:12:34:56", "\n", " x", "x ", "\t", "'", `"`, "\x00", "\u2028", "\ufeff", "a\r\nb", "{a}", "*x", "&x", "!x", "%x", "@x", "`x", "...", "---", "=", "<<", "1.", "-", "?"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m := &vnetv1.Network{Name: in, Subnets: []*vnetv1.Subnet{{Address: in, Dhcp: &vnetv1.DHCP{Reservations: []*vnetv1.Reservation{{Hostname: in}}}}}}
		if _, err := proto.Marshal(m); err != nil {
			t.Skip() // not UTF-8
		}
		roundTrip(t, m, func() proto.Message { return &vnetv1.Network{} })
	})
}

func FuzzSet(f *testing.F) {
	f.Add("subnets[0].dhcp.ranges[0].start", "10.0.0.1")
	f.Add("bridge", "{name: a}")
	f.Add("labels.x", "y")
	f.Add("child.child.words[0]", "y")
	f.Fuzz(func(t *testing.T, path, value string) {
		_ = Set(labNetwork(), path, value)
		_ = Set(newEverything(), path, value)
	})
}
