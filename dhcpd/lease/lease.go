package lease

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// MAC is an Ethernet address.
type MAC [6]byte

// ParseMAC reads six hexadecimal octets separated by ':' or '-'.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return MAC{}, fmt.Errorf("MAC %q: want six octets like 52:54:00:aa:bb:01", s)
	}
	for i := range m {
		if i > 0 && s[3*i-1] != ':' && s[3*i-1] != '-' {
			return MAC{}, fmt.Errorf("MAC %q: want ':' between octets", s)
		}
		if _, err := hex.Decode(m[i:i+1], []byte(s[3*i:3*i+2])); err != nil {
			return MAC{}, fmt.Errorf("MAC %q: %w", s, err)
		}
	}
	return m, nil
}

// String gives lower-case octets separated by colons.
func (m MAC) String() string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, o := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[o>>4], digits[o&15])
	}
	return string(b)
}

// MarshalText is String, for JSON and logs.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMAC.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}

// A Lease is one client's hold on one address. It is a value: changing a
// copy changes nothing in the table. Times have millisecond precision and a
// monotonic reading: compared with time.Now they count by CLOCK_MONOTONIC, and
// as dates they are by the wall clock of now.
//
// Deviation: RFC 2131 §4.2 identifies a client by its client identifier if it
// sends one. Here it is the MAC within the network, because clones of a
// virtual machine share the identifier made from /etc/machine-id
// (systemd-networkd, Debian's dhclient) and would fight over one address. The
// identifier is kept in the lease for people to read. RFC 8415 §4.2 identifies
// an IPv6 client by its DUID, and its interface by the IAID; clones share both,
// so the MAC counts there too.
type Lease struct {
	Network  string
	MAC      MAC
	Relay    bool // it was requested through a relay, and Port is the relay's
	Revoked  bool // it was ended by Table.Release, and not by its client; this is not stored
	Address  netip.Addr
	ClientID string // IPv4: the octets of option 61 as sent, type first; "" if none
	DUID     string // IPv6: the octets of the client's DUID; "" in a lease of IPv4
	IAID     uint32 // IPv6: the identity association (RFC 8415 §12)
	Port     int32  // the index of the bridge port that it was bound by, and by which the client may end it; 0: unknown; below 0: gone
	Hostname string // one lower-case label; "" if none
	Wanted   string // the label that the client asked for last, if it may have it: Hostname, or another client has that one
	Start    time.Time
	Expires  time.Time     // zero: never
	Length   time.Duration // how long before Expires it was extended last; set by the table
}

// Live reports whether the lease is in force at now.
func (l *Lease) Live(now time.Time) bool {
	return l.Expires.IsZero() || now.Before(l.Expires)
}

// A Client identifies the holder of a lease within a network. For IPv4 only MAC is set.
type Client struct {
	MAC  MAC
	DUID string
	IAID uint32
}

// Client returns the holder of the lease.
func (l *Lease) Client() Client { return Client{MAC: l.MAC, DUID: l.DUID, IAID: l.IAID} }

// family is 0 for IPv4 and 1 for IPv6.
func (l *Lease) family() int {
	if l.Address.Is6() {
		return 1
	}
	return 0
}

// onLink reports whether the port of the client itself is known.
func (l *Lease) onLink() bool { return l.Port != 0 && !l.Relay }

// goneLink is the Port of a lease that was obtained in an earlier boot.
const goneLink = -1

// Errors that a caller can act on.
var (
	ErrNotFound = errors.New("no such lease")
	ErrClosed   = errors.New("the lease table is closed")
	ErrBusy     = errors.New("too many leases wait for the disk")

	// ErrNotExtended: the disk failed, but the client's lease of this
	// address is on it from before, and its extension stands in memory.
	ErrNotExtended = errors.New("the extension of a lease could not be stored")
)
