package v6

import (
	"encoding/binary"
	"errors"
	"fmt"
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
		if f.Name == "" || size > maxBoot {
			errs = append(errs, fmt.Errorf("boot.files[%d]: a name and parameters of %d octets", i, size))
		}
	}
	return errors.Join(errs...)
}

// appendBoot adds what to boot, RFC 5970 §3, for a client that asks. Options of
// the same code in Config.Options are for clients that it has no file for.
func (s *Service) appendBoot(b []byte, req *Request, d *Decision, limit int, said *codeSet) []byte {
	if s.boot == nil || !req.wants(optBootURL) {
		return b
	}
	f := s.boot.Choose(d.bootFile, &req.Boot)
	if f == nil {
		return b
	}
	said.add(optBootURL)
	said.add(optBootParams)
	next := appendOption(b, optBootURL, []byte(s.boot.URL(f, &req.Boot)))
	if len(f.Params) > 0 && req.wants(optBootParams) {
		next = appendOption(next, optBootParams, params(f.Params))
	}
	if req.Boot.HTTP {
		said.add(optVendor)
		class := binary.BigEndian.AppendUint32(nil, req.Enterprise)
		next = appendOption(next, optVendor, appendPiece(class, httpClient))
	}
	if len(next) > limit {
		return b
	}
	return next
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
