package netdrv

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidateBoot(t *testing.T) {
	bios := BootArch{Known: true}
	for name, c := range map[string]struct {
		boot Boot
		want []string // substrings, one a finding, in order
	}{
		"a directory":         {Boot{Root: "/srv/boot"}, nil},
		"all there is":        {Boot{Root: "/srv/boot", HTTPPort: 8080, Files: []BootFile{{Arch: bios, File: "a/b"}, {IPXE: true, File: "/x.ipxe"}, {File: "http://192.168.10.5/x?y=z"}}}, nil},
		"only pointed to":     {Boot{Server: netip.MustParseAddr("192.168.10.5"), Files: []BootFile{{File: "pxelinux.0"}}}, nil},
		"nothing":             {Boot{}, []string{"boot: has neither root nor files"}},
		"a relative root":     {Boot{Root: "srv/boot"}, []string{`boot.root: "srv/boot" is not the plain path`}},
		"a winding root":      {Boot{Root: "/srv/../etc"}, []string{"boot.root"}},
		"the whole host":      {Boot{Root: "/"}, []string{"boot.root: would show the whole host"}},
		"a server elsewhere":  {Boot{Root: "/srv/boot", Server: netip.MustParseAddr("fd00::5")}, []string{"boot.server: fd00::5 is not of the subnet's family"}},
		"a server nowhere":    {Boot{Root: "/srv/boot", Server: netip.MustParseAddr("0.0.0.0")}, []string{"boot.server: 0.0.0.0 cannot be"}},
		"a port of nobody":    {Boot{HTTPPort: 8080, Files: []BootFile{{File: "x"}}}, []string{"boot.httpPort"}},
		"a file without name": {Boot{Files: []BootFile{{Arch: bios}}}, []string{"boot.files[0].file: is missing"}},
		"a way out":           {Boot{Files: []BootFile{{File: "../x"}, {IPXE: true, File: "/a/../../x"}, {Arch: bios, File: ".."}}}, []string{"files[0].file: \"../x\" leads out", "files[1].file", "files[2].file"}},
		"not a URL":           {Boot{Files: []BootFile{{File: "http://"}}}, []string{"files[0].file: \"http://\" is neither a path nor a URL"}},
		"umlauts":             {Boot{Files: []BootFile{{File: "bücher"}}}, []string{"files[0].file: has other than"}},
		"a long name":         {Boot{Files: []BootFile{{File: strings.Repeat("x", 201)}}}, []string{"files[0].file: is longer than"}},
		"parameters in IPv4":  {Boot{Files: []BootFile{{File: "x", Params: []string{"y"}}}}, []string{"files[0].params: are for IPv6"}},
		"two for one": {
			Boot{Files: []BootFile{{File: "a"}, {Arch: bios, File: "b"}, {File: "c"}, {Arch: bios, IPXE: true, File: "d"}, {Arch: bios, File: "e"}}},
			[]string{"files[2]: is for the same clients as files[0]", "files[4]: is for the same clients as files[1]"},
		},
	} {
		n := lab()
		n.Subnets[0].DHCP.Boot = &c.boot
		wantFindings(t, name, Validate(&n), c.want)
	}
}

func TestValidateGuestBoot(t *testing.T) {
	n := lab()
	r := &n.Subnets[0].DHCP.Reservations[0]
	r.BootFile = "../x"
	wantFindings(t, "no boot", Validate(&n), []string{"reservations[0].boot.file: \"../x\" leads out", "reservations[0].boot: needs dhcp.boot"})
	n.Subnets[0].DHCP.Boot, r.BootFile = &Boot{Root: "/srv/boot"}, "x"
	wantFindings(t, "boot", Validate(&n), nil)
}

// All IPv6 subnets of a link are told the same.
func TestValidateBootOfTwoSubnets(t *testing.T) {
	n := lab()
	for _, a := range []string{"fd00:10::1/64", "fd00:11::1/64"} {
		n.Subnets = append(n.Subnets, Subnet{Address: netip.MustParsePrefix(a), DHCP: &DHCP{Stateless: true, Boot: &Boot{Root: "/srv/boot"}}})
	}
	wantFindings(t, "two", Validate(&n), []string{"subnets[2].dhcp.boot: is the second"})
}

func TestBootArchRoundTrip(t *testing.T) {
	for n := range bootArchs {
		a := BootArch{true, n}
		if got, ok := ParseBootArch(a.String()); !ok || got != a {
			t.Errorf("ParseBootArch(%s) = %v, %v", a, got, ok)
		}
	}
	for s, want := range map[string]BootArch{"": {}, "0": {true, 0}, "7": {true, 7}, "4711": {true, 4711}} {
		if got, ok := ParseBootArch(s); !ok || got != want {
			t.Errorf("ParseBootArch(%q) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"x86", "-1", "65536", "BIOS"} {
		if got, ok := ParseBootArch(s); ok {
			t.Errorf("ParseBootArch(%q) = %v", s, got)
		}
	}
}

func wantFindings(t *testing.T, name string, got Findings, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d findings, want %d:\n%s", name, len(got), len(want), strings.Join(lines(got), "\n"))
		return
	}
	for i := range want {
		if !strings.Contains(got[i].String(), want[i]) {
			t.Errorf("%s: finding %d: got %q, want it to say %q", name, i, got[i], want[i])
		}
	}
}
