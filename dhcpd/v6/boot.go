package v6

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
)

// httpClient is what a client that boots by HTTP wants to hear in option 16
// (UEFI specification 2.10 §24.7.3.2).
const httpClient = "HTTPClient"

func checkBoot(cfg *Config) error {
	if cfg.Boot == nil {
		return nil
	}
	var errs []error
	if a := cfg.Boot.Server; !a.Is6() || a.Is4In6() {
		errs = append(errs, fmt.Errorf("boot.server: %q is not an IPv6 address", a))
	}
	for i, f := range cfg.Boot.Files {
		size := len(f.Name)
		for _, p := range f.Params {
			size += 2 + len(p)
		}
		if f.Name == "" || size > maxOption {
			errs = append(errs, fmt.Errorf("boot.files[%d]: a name and parameters of %d octets", i, size))
		}
	}
	return errors.Join(errs...)
}

// appendBoot adds what to boot, RFC 5970 §3, for a client that asks.
func (s *Service) appendBoot(b []byte, req *Request) []byte {
	if s.boot == nil || !req.wants(optBootURL) {
		return b
	}
	f := s.boot.Choose(s.bootFile(req), &req.Boot)
	if f == nil {
		return b
	}
	b = appendOption(b, optBootURL, []byte(s.boot.URL(f, &req.Boot)))
	if len(f.Params) > 0 && req.wants(optBootParams) {
		b = appendOption(b, optBootParams, params(f.Params))
	}
	if req.Boot.HTTP {
		class := binary.BigEndian.AppendUint32(nil, req.Enterprise)
		b = appendOption(b, optVendor, appendPiece(class, httpClient))
	}
	return b
}

// bootFile is the client's own, or "".
func (s *Service) bootFile(req *Request) string {
	c := client{Client: lease.Client{MAC: req.MAC(), DUID: string(req.ClientID)}, name: v4.Hostname(req.Hostname)}
	for r := range s.reservations(&c) {
		if r.BootFile != "" {
			return r.BootFile
		}
	}
	return ""
}

func params(list []string) (b []byte) {
	for _, p := range list {
		b = appendPiece(b, p)
	}
	return b
}

// appendPiece adds text with its length in front (RFC 5970 §3.2, RFC 8415 §21.16).
func appendPiece(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}
