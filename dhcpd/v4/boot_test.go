package v4

import (
	"fmt"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vnetd/vnetd/dhcpd/boot"
)

func bootConfig() Config {
	bios, http := boot.Arch(0), boot.Arch(16)
	cfg := labConfig()
	cfg.Reservations = append(cfg.Reservations, Reservation{MAC: mac(77), BootFile: "own.0"})
	cfg.Boot = &boot.Config{Server: ip("192.168.10.5"), Files: []boot.File{
		{Arch: &bios, Name: "undionly.kpxe"},
		{Arch: &http, Name: "shim.efi"},
		{IPXE: true, Name: "http://192.168.10.5/" + strings.Repeat("long/", 25) + "boot.ipxe"},
		{Name: "pxelinux.0"},
	}}
	return cfg
}

// What clients are told, as another codec reads it: the header's next server
// and file, and the options 60, 66, 67 and 97.
func TestBootReply(t *testing.T) {
	long := bootConfig().Boot.Files[2].Name
	id := append([]byte{0}, "0123456789abcdef"...)
	asks := dhcpv4.WithOption(dhcpv4.OptParameterRequestList(dhcpv4.GenericOptionCode(1), dhcpv4.GenericOptionCode(66), dhcpv4.GenericOptionCode(67)))
	pxe, http := generic(60, []byte("PXEClient:Arch:00000:UNDI:002001")...), generic(60, []byte("HTTPClient:Arch:00016:UNDI:003001")...)
	for name, c := range map[string]struct {
		client int
		mods   []dhcpv4.Modifier
		want   string
	}{
		"a guest with an operating system": {1, nil, `192.168.10.5 "pxelinux.0" 60="" 66="" 67="" 97=""`},
		"a ROM that reads the header":      {1, []dhcpv4.Modifier{pxe, generic(93, 0, 0), generic(97, id...)}, `192.168.10.5 "undionly.kpxe" 60="" 66="" 67="" 97="\x000123456789abcdef"`},
		"a ROM that asks":                  {1, []dhcpv4.Modifier{pxe, generic(93, 0, 0), asks}, `192.168.10.5 "undionly.kpxe" 60="" 66="192.168.10.5" 67="undionly.kpxe" 97=""`},
		"UEFI HTTP":                        {1, []dhcpv4.Modifier{http, generic(93, 0, 16), generic(97, id...)}, `192.168.10.5 "http://192.168.10.5/shim.efi" 60="HTTPClient" 66="" 67="http://192.168.10.5/shim.efi" 97="\x000123456789abcdef"`},
		"a name too long for the header":   {1, []dhcpv4.Modifier{pxe, generic(93, 0, 0), generic(77, []byte("iPXE")...)}, `192.168.10.5 "" 60="" 66="" 67="` + long + `" 97=""`},
		"a guest with its own":             {77, []dhcpv4.Modifier{pxe, generic(93, 0, 0), generic(77, []byte("iPXE")...)}, `192.168.10.5 "own.0" 60="" 66="" 67="" 97=""`},
	} {
		w := newWorld(t, bootConfig())
		req, err := Parse(wire(t, c.client, DHCPDISCOVER, "", c.mods...))
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		out := d.Subnet.AppendReply(nil, &req, &d)
		m, err := dhcpv4.FromBytes(out)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%s %q 60=%q 66=%q 67=%q 97=%q", m.ServerIPAddr, m.BootFileName, m.Options[60], m.Options[66], m.Options[67], m.Options[97])
		if got != c.want || len(out) > 548 {
			t.Errorf("%s, in %d octets:\ngot  %s\nwant %s", name, len(out), got, c.want)
		}
	}
}

// UEFI writes a NUL behind the name in option 67, which must not be the code of
// another option, or the end.
func TestNoOptionBehindBootFile(t *testing.T) {
	plain := labConfig()
	plain.Options.Text(67, "http://192.168.10.5/shim.efi")
	for name, cfg := range map[string]Config{"boot": bootConfig(), "an option": plain} {
		w := newWorld(t, cfg)
		req, err := Parse(wire(t, 1, DHCPDISCOVER, "", generic(60, []byte("HTTPClient")...), generic(93, 0, 16), generic(55, 67, 1, 6)))
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		b := d.Subnet.AppendReply(nil, &req, &d)
		_, behind, ok := strings.Cut(string(b[offOptions:]), "/shim.efi")
		if !ok || behind[0] != optPad {
			t.Errorf("%s: % x", name, b[offOptions:])
		}
	}
}

// A network that boots nobody has a header as ever, and a NAK has in any case.
func TestNoBootReply(t *testing.T) {
	for name, cfg := range map[string]Config{"no boot": labConfig(), "NAK": bootConfig()} {
		w := newWorld(t, cfg)
		b := wire(t, 1, DHCPDISCOVER, "", generic(60, []byte("PXEClient")...))
		if name == "NAK" {
			b = wire(t, 1, DHCPREQUEST, "10.0.0.9", generic(54, 192, 168, 10, 1))
		}
		req, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		m, err := dhcpv4.FromBytes(d.Subnet.AppendReply(nil, &req, &d))
		if err != nil || !m.ServerIPAddr.IsUnspecified() || m.BootFileName != "" || m.Options[67] != nil {
			t.Errorf("%s: %v, %s", name, err, m.Summary())
		}
	}
}

func TestBootConfigIsChecked(t *testing.T) {
	cfg := bootConfig()
	cfg.Boot = &boot.Config{Server: ip("fd00::1"), Files: []boot.File{{Name: ""}, {Name: strings.Repeat("x", 256)}}}
	_, err := Compile(cfg)
	want := "subnets[0].boot.server: \"fd00::1\" is not an IPv4 address\nsubnets[0].boot.files[0]: a name of 0 octets\nsubnets[0].boot.files[1]: a name of 256 octets"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// What Config.Boot says of booting is said alone: of plain options nothing comes
// with the same code, which clients would join (RFC 3396), nor into the header's
// field. Clients that it has no file for have the plain ones.
func TestBootWinsOverOptions(t *testing.T) {
	asks := generic(55, 60, 66, 67, 97, 150)
	pxe, http := generic(60, []byte("PXEClient")...), generic(60, []byte("HTTPClient")...)
	cfg := bootConfig()
	cfg.Boot.Files = cfg.Boot.Files[:3]
	for _, code := range []uint16{60, 66, 67, 97} {
		cfg.Options.Text(code, "plain")
	}
	cfg.Options.Text(150, strings.Repeat("x", 250))
	long := cfg.Boot.Files[2].Name
	for name, c := range map[string]struct {
		mods []dhcpv4.Modifier
		want string
	}{
		"a BIOS":                {[]dhcpv4.Modifier{pxe, generic(93, 0, 0)}, `"undionly.kpxe" 60="plain" 66="192.168.10.5" 67="undionly.kpxe" 97="plain"`},
		"with its identifier":   {[]dhcpv4.Modifier{pxe, generic(93, 0, 0), generic(97, []byte("\x00id")...)}, `"undionly.kpxe" 60="plain" 66="192.168.10.5" 67="undionly.kpxe" 97="\x00id"`},
		"UEFI HTTP":             {[]dhcpv4.Modifier{http, generic(93, 0, 16)}, `"http://192.168.10.5/shim.efi" 60="HTTPClient" 66="192.168.10.5" 67="http://192.168.10.5/shim.efi" 97="plain"`},
		"too long for a header": {[]dhcpv4.Modifier{generic(77, []byte("iPXE")...)}, `"" 60="plain" 66="192.168.10.5" 67="` + long + `" 97="plain"`},
		"without a file":        {[]dhcpv4.Modifier{pxe, generic(93, 0, 7)}, `"" 60="plain" 66="plain" 67="plain" 97="plain"`},
	} {
		w := newWorld(t, cfg)
		req, err := Parse(wire(t, 1, DHCPDISCOVER, "", append(c.mods, asks)...))
		if err != nil {
			t.Fatal(err)
		}
		d := w.answer(&req)
		b := d.Subnet.AppendReply(nil, &req, &d)
		_, values := decode(t, b)
		file, _, _ := strings.Cut(string(b[offFile:offCookie]), "\x00")
		if len(values[52]) > 0 && values[52][0]&1 != 0 {
			file = ""
		}
		if got := fmt.Sprintf("%q 60=%q 66=%q 67=%q 97=%q", file, values[60], values[66], values[67], values[97]); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

// A file's name in the header stays whole however much there is to say.
func TestBootAndOverload(t *testing.T) {
	cfg := bootConfig()
	for code := uint16(150); code < 160; code++ {
		cfg.Options.Text(code, strings.Repeat("x", 40))
	}
	id := generic(61, make([]byte, 36)...)
	for size := range 250 {
		w := newWorld(t, cfg)
		req, err := Parse(wire(t, 1, DHCPDISCOVER, "", generic(93, 0, 0), id, generic(55, 150, 151, 152, 153, 154, 155, 156, 157, 158, 159)))
		if err != nil {
			t.Fatal(err)
		}
		req.RelayInfo = make([]byte, size)
		d := w.answer(&req)
		b := d.Subnet.AppendReply(nil, &req, &d)
		_, values := decode(t, b)
		file, _, _ := strings.Cut(string(b[offFile:offCookie]), "\x00")
		if len(b) > 548 || file != "undionly.kpxe" || len(values[51]) != 4 || string(values[52]) != "\x02" {
			t.Errorf("%d octets of a relay: %d octets, the field has %q, lease time %v, option 52 %v", size, len(b), file, values[51], values[52])
		}
	}
}
