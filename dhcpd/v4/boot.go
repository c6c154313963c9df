package v4

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vnetd/vnetd/dhcpd/boot"
)

// httpClient is what a client that boots by HTTP wants to hear in option 60
// (UEFI specification 2.10 §24.7.3): other replies are not for it.
const httpClient = "HTTPClient"

// longestFile fits into an option. Only the header's field ends with a NUL.
const longestFile, longestInHeader = 255, offCookie - offFile - 1

func checkBoot(cfg *Config) error {
	if cfg.Boot == nil {
		return nil
	}
	var errs []error
	if !cfg.Boot.Server.Is4() {
		errs = append(errs, fmt.Errorf("boot.server: %q is not an IPv4 address", cfg.Boot.Server))
	}
	for i, f := range cfg.Boot.Files {
		if f.Name == "" || len(f.Name) > longestFile {
			errs = append(errs, fmt.Errorf("boot.files[%d]: a name of %d octets", i, len(f.Name)))
		}
	}
	return errors.Join(errs...)
}

// bootClient is what the client says of itself.
func (r *Request) bootClient() boot.Client {
	c := boot.Client{Archs: r.ClientArch}
	c.VendorClass(r.VendorClass)
	c.UserClass(r.UserClass)
	return c
}

// bootstrap says what to boot: in the header, where all ROMs look, and in the
// options that the client asks for. Where the name is too long for the header
// it is an option in any case. It comes before all that may take the header's
// field for options. It returns the options that are its to say: those
// of the same code in Config.Options are for clients that it has no file for.
func (s *Subnet) bootstrap(w *writer, req *Request, d *Decision) (said codeSet) {
	if s.boot == nil {
		return said
	}
	own := ""
	if d.Reserved != nil {
		own = d.Reserved.BootFile
	}
	client := req.bootClient()
	f := s.boot.Choose(own, &client)
	if f == nil {
		return said
	}
	name := s.boot.Name(f, &client)
	header := w.b[w.start:]
	put(header[offSIAddr:], s.boot.Server)
	inHeader := len(name) <= longestInHeader
	if inHeader {
		copy(header[offFile:], name)
	}
	// HTTPClient is not asked for, and needed (see httpClient).
	if client.HTTP {
		w.option(optVendorClass, []byte(httpClient))
		said = said.with(optVendorClass)
	}
	if len(name) <= longestFile && (req.asksFor(optBootFile) || client.HTTP || !inHeader) {
		w.option(optBootFile, []byte(name))
		w.pad()
	}
	if req.asksFor(optServerName) {
		w.option(optServerName, []byte(s.boot.Server.String()))
	}
	// RFC 4578 §2.3: back to the client, as it came.
	if client.Boots() && len(req.MachineID) > 0 && len(req.MachineID) <= longestFile {
		w.option(optMachineID, req.MachineID)
		said = said.with(optMachineID)
	}
	return said.with(optServerName, optBootFile)
}

func (r *Request) asksFor(code byte) bool { return bytes.IndexByte(r.Parameters, code) >= 0 }
