package v6

import (
	"fmt"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/vnetd/vnetd/dhcpd/boot"
)

func bootConfig() Config {
	efi, http := boot.Arch(7), boot.Arch(16)
	cfg := config()
	cfg.Subnets[0].Reservations = append(cfg.Subnets[0].Reservations, Reservation{MAC: mac(77), BootFile: "own.efi"})
	cfg.Boot = &boot.Config{Server: ip("fd00:10::1"), HTTPPort: 8080, Files: []boot.File{
		{Arch: &efi, Name: "ipxe.efi", Params: []string{"a", "bc"}},
		{Arch: &http, Name: "shim.efi"},
		{IPXE: true, Name: "boot.ipxe"},
	}}
	return cfg
}

// What clients are told, as another codec reads it: RFC 5970's options 59 and
// 60, and the vendor class.
func TestBootReply(t *testing.T) {
	archs := dhcpv6.WithArchType
	vendor := func(class string) dhcpv6.Modifier {
		return dhcpv6.WithOption(&dhcpv6.OptVendorClass{EnterpriseNumber: 343, Data: [][]byte{[]byte(class)}})
	}
	asks := dhcpv6.WithRequestedOptions(dhcpv6.OptionBootfileURL, dhcpv6.OptionBootfileParam)
	none := dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer)
	for name, c := range map[string]struct {
		client int
		mods   []dhcpv6.Modifier
		want   string
	}{
		"a guest with an operating system": {1, []dhcpv6.Modifier{none}, `"" [] []`},
		"UEFI PXE":                         {1, []dhcpv6.Modifier{vendor("PXEClient:Arch:00007:UNDI:003016"), archs(iana.EFI_X86_64), asks}, `"tftp://[fd00:10::1]/ipxe.efi" [a bc] []`},
		"UEFI HTTP":                        {1, []dhcpv6.Modifier{vendor("HTTPClient:Arch:00016:UNDI:003001"), archs(iana.EFI_X86_64_HTTP), asks}, `"http://[fd00:10::1]:8080/shim.efi" [] [HTTPClient]`},
		"iPXE":                             {1, []dhcpv6.Modifier{dhcpv6.WithUserClass([]byte("iPXE")), archs(iana.EFI_X86_64), asks}, `"tftp://[fd00:10::1]/boot.ipxe" [] []`},
		"an architecture without a file":   {1, []dhcpv6.Modifier{archs(iana.EFI_ARM64), asks}, `"" [] []`},
		"a guest with its own":             {77, []dhcpv6.Modifier{dhcpv6.WithUserClass([]byte("iPXE")), asks}, `"tftp://[fd00:10::1]/own.efi" [] []`},
	} {
		w := newWorld(t, bootConfig())
		r, err := Parse(built(t, solicit, append(clientMods()[:3:3], c.mods...)...))
		if err != nil {
			t.Fatal(err)
		}
		r.FrameMAC = mac(c.client)
		d, _ := w.ask(&r)
		m, err := dhcpv6.MessageFromBytes(w.pool.Service().AppendReply(nil, &r, &d))
		if err != nil {
			t.Fatal(err)
		}
		var classes []string
		if vc, ok := m.GetOneOption(dhcpv6.OptionVendorClass).(*dhcpv6.OptVendorClass); ok && vc.EnterpriseNumber == 343 {
			for _, data := range vc.Data {
				classes = append(classes, string(data))
			}
		}
		if got := fmt.Sprintf("%q %v %v", m.Options.BootFileURL(), m.Options.BootFileParam(), classes); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

func TestBootConfigIsChecked(t *testing.T) {
	cfg := bootConfig()
	cfg.Boot = &boot.Config{Server: ip("192.0.2.1"), Files: []boot.File{{Name: "x", Params: []string{strings.Repeat("p", 510)}}}}
	_, err := Compile(cfg)
	if err == nil || !strings.Contains(err.Error(), "boot.server") || !strings.Contains(err.Error(), "boot.files[0]: a name and parameters of 513 octets") {
		t.Errorf("got %v", err)
	}
}

// A URL comes once: of Config.Boot, or else of the options.
func TestBootWinsOverOptions(t *testing.T) {
	cfg := bootConfig()
	s := &cfg.Subnets[0]
	s.Options.Text(59, "plain")
	s.Options.Text(60, "\x00\x05plain")
	s.Options.Text(16, "\x00\x00\x00\x09\x00\x05plain")
	for name, c := range map[string]struct {
		arch uint16
		http bool
		want string
	}{
		"UEFI PXE":       {7, false, "59=tftp://[fd00:10::1]/ipxe.efi 60=\x00\x01a\x00\x02bc 16=\x00\x00\x00\t\x00\x05plain"},
		"UEFI HTTP":      {16, true, "59=http://[fd00:10::1]:8080/shim.efi 16=\x00\x00\x01W\x00\nHTTPClient"},
		"without a file": {11, false, "59=plain 60=\x00\x05plain 16=\x00\x00\x00\t\x00\x05plain"},
	} {
		r := req(solicit, 1, ia(1))
		r.ORO = oro(59, 60, 16)
		r.Boot.Archs, r.Boot.HTTP, r.Enterprise = []byte{0, byte(c.arch)}, c.http, 343
		if got := newWorld(t, cfg).told(r); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// However long a URL is, the reply fits.
func TestBootReplyFits(t *testing.T) {
	cfg := bootConfig()
	cfg.Boot.Files[0].Name = "http://boot.example/" + strings.Repeat("x", maxBoot-30)
	r := req(solicit, 1, ia(1), ia(2), ia(3), ia(4), ia(5), ia(6), ia(7), ia(8))
	r.ORO, r.Boot.Archs = oro(59), []byte{0, 7}
	w := newWorld(t, cfg)
	d, _ := w.ask(r)
	if b := w.pool.Service().AppendReply(nil, r, &d); len(b) > maxReply {
		t.Errorf("%d octets", len(b))
	}
}
