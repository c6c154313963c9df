package boot

import (
	"net/netip"
	"testing"
)

func arch(a Arch) *Arch { return &a }

// lab has a file of every kind.
var lab = Config{
	Server: netip.MustParseAddr("10.20.0.1"),
	Files: []File{
		{Name: "pxelinux.0"},
		{Arch: arch(0), Name: "undionly.kpxe"},
		{Arch: arch(7), Name: "ipxe.efi"},
		{Arch: arch(16), Name: "shim.efi"},
		{Arch: arch(19), Name: "http://10.20.0.9/a%20b.efi"},
		{IPXE: true, Name: "boot.ipxe"},
		{IPXE: true, Arch: arch(11), Name: "arm.ipxe"},
		{Arch: arch(0), Name: "too-late"},
	},
}

func TestWhoGetsWhat(t *testing.T) {
	for name, c := range map[string]struct {
		own, vendor, user, archs string
		want                     string
	}{
		"nobody in particular":           {want: "pxelinux.0"},
		"a BIOS":                         {vendor: "PXEClient:Arch:00000:UNDI:002001", archs: "\x00\x00", want: "undionly.kpxe"},
		"UEFI":                           {vendor: "PXEClient:Arch:00007:UNDI:003016", archs: "\x00\x07", want: "ipxe.efi"},
		"UEFI by the misprinted list":    {vendor: "PXEClient", archs: "\x00\x09", want: "ipxe.efi"},
		"an architecture without a file": {vendor: "PXEClient", archs: "\x00\x0b", want: "pxelinux.0"},
		"two architectures":              {vendor: "PXEClient", archs: "\x00\x0b\x00\x07", want: "ipxe.efi"},
		"half an architecture":           {vendor: "PXEClient", archs: "\x00", want: "pxelinux.0"},
		"iPXE on a BIOS":                 {vendor: "PXEClient", user: "iPXE", archs: "\x00\x00", want: "boot.ipxe"},
		"iPXE as RFC 3004 has it":        {user: "\x03abc\x04iPXE", archs: "\x00\x00", want: "boot.ipxe"},
		"iPXE on ARM":                    {user: "iPXE", archs: "\x00\x0b", want: "arm.ipxe"},
		"another user class":             {user: "iPXE-like", archs: "\x00\x00", want: "undionly.kpxe"},
		"a user class cut off":           {user: "\x09iPXE", archs: "\x00\x00", want: "undionly.kpxe"},
		"UEFI HTTP":                      {vendor: "HTTPClient:Arch:00016:UNDI:003001", archs: "\x00\x10", want: "http://10.20.0.1/shim.efi"},
		"UEFI HTTP, a URL":               {vendor: "HTTPClient", archs: "\x00\x13", want: "http://10.20.0.9/a%20b.efi"},
		"a guest with its own":           {own: "own.0", vendor: "PXEClient", user: "iPXE", archs: "\x00\x00", want: "own.0"},
		"its own, by HTTP":               {own: "a b/own.efi", vendor: "HTTPClient", want: "http://10.20.0.1/a%20b/own.efi"},
	} {
		client := Client{Archs: []byte(c.archs)}
		client.VendorClass([]byte(c.vendor))
		client.UserClass([]byte(c.user))
		f := lab.Choose(c.own, &client)
		if f == nil || lab.Name(f, &client) != c.want {
			t.Errorf("%s: got %+v, want %s", name, f, c.want)
		}
	}
	if f := (&Config{}).Choose("", &Client{PXE: true}); f != nil {
		t.Errorf("no files, and yet %+v", f)
	}
}

func TestURL(t *testing.T) {
	six := Config{Server: netip.MustParseAddr("fd00:20::1"), HTTPPort: 8080}
	for want, c := range map[string]struct {
		file   string
		client Client
	}{
		"tftp://[fd00:20::1]/boot.ipxe":         {"boot.ipxe", Client{IPXE: true}},
		"tftp://[fd00:20::1]/efi/a":             {"/efi/a", Client{PXE: true}},
		"http://[fd00:20::1]:8080/efi/a%3Fb.0":  {"efi/a?b.0", Client{HTTP: true}},
		"https://boot.example/x":                {"https://boot.example/x", Client{PXE: true}},
		"tftp://[fd00:20::1]/images/x.d://y.gz": {"images/x.d://y.gz", Client{}},
	} {
		if got := six.URL(&File{Name: c.file}, &c.client); got != want {
			t.Errorf("%s: got %s, want %s", c.file, got, want)
		}
	}
}

func TestClient6(t *testing.T) {
	var c Client
	if e := c.VendorClass6([]byte("\x00\x00\x01\x57\x00\x02xy\x00\x0eHTTPClient:Arc")); e != 343 || !c.HTTP || c.PXE {
		t.Errorf("enterprise %d, %+v", e, c)
	}
	c.UserClass6([]byte("\x00\x04iPXE\x00\x09cut"))
	if !c.IPXE || !c.Boots() {
		t.Errorf("%+v", c)
	}
}

// What guests say may be anything; what they get is one of the files.
func FuzzClient(f *testing.F) {
	f.Add([]byte("PXEClient:Arch:00000:UNDI:002001"), []byte("iPXE"), []byte{0, 7})
	f.Add([]byte("HTTPClient"), []byte("\x04iPXE"), []byte{0, 16, 0})
	f.Add([]byte{0, 0, 1, 0x57, 0, 4, 'i', 'P', 'X', 'E'}, []byte{0, 4, 'i', 'P', 'X', 'E'}, []byte{})
	known := map[string]bool{}
	for _, file := range lab.Files {
		known[file.Name] = true
	}
	f.Fuzz(func(t *testing.T, vendor, user, archs []byte) {
		c := Client{Archs: archs}
		c.VendorClass(vendor)
		c.VendorClass6(vendor)
		c.UserClass(user)
		c.UserClass6(user)
		file := lab.Choose("", &c)
		if file == nil || !known[file.Name] || lab.URL(file, &c) == "" {
			t.Errorf("%+v gets %+v", c, file)
		}
	})
}
