package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vnetd/vnetd/netdrv"
)

// Config is what is about the daemon and not about a network: flags and
// vnetd.yaml together.
type Config struct {
	// StateDir keeps what must last: definitions and leases.
	StateDir string
	// RuntimeDir has the sockets, and what is gone with the boot.
	RuntimeDir string
	// Version is shown by status.
	Version string
	File    File
}

// File is vnetd.yaml. Every key is optional.
type File struct {
	// LogLevel is debug, info, warn or error; info if empty. The flag wins.
	LogLevel string `yaml:"logLevel"`
	// AdminGroup may change networks; vnetd-admin if empty.
	AdminGroup string `yaml:"adminGroup"`
	// DefaultNetwork: a daemon that finds nothing declared, ever, declares the
	// network "default". True if absent.
	DefaultNetwork *bool `yaml:"defaultNetwork"`
	// ResolvConf names the host's resolvers; /etc/resolv.conf if empty.
	ResolvConf string `yaml:"resolvConf"`
	// SubnetPools are the prefixes that subnets with "address: auto" are picked
	// from; netdrv.DefaultPools if empty.
	SubnetPools []netip.Prefix `yaml:"subnetPools"`
	// Metrics is where Prometheus asks; nowhere if empty.
	Metrics Metrics `yaml:"metrics"`
}

// Metrics is the endpoint for Prometheus.
type Metrics struct {
	// Listen is ADDRESS:PORT, [ADDRESS]:PORT for IPv6.
	Listen netip.AddrPort `yaml:"listen"`
}

// The defaults of File.
const (
	DefaultLogLevel   = "info"
	DefaultAdminGroup = "vnetd-admin"
	DefaultResolvConf = "/etc/resolv.conf"
)

// ReadFile reads vnetd.yaml strictly: an unknown key is an error that names
// file and line. A missing file is an error only if required.
func ReadFile(path string, required bool) (File, error) {
	var f File
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return f.complete(), nil
	}
	if err != nil {
		return f, fmt.Errorf("read configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("read configuration %s: %s", path, tidyYAML(err))
	}
	if _, err := ParseLevel(f.complete().LogLevel); err != nil {
		return f, fmt.Errorf("read configuration %s: logLevel: %w", path, err)
	}
	return f.complete(), nil
}

func (f File) complete() File {
	if f.LogLevel == "" {
		f.LogLevel = DefaultLogLevel
	}
	if f.AdminGroup == "" {
		f.AdminGroup = DefaultAdminGroup
	}
	if f.ResolvConf == "" {
		f.ResolvConf = DefaultResolvConf
	}
	if len(f.SubnetPools) == 0 {
		f.SubnetPools = netdrv.DefaultPools
	}
	if f.DefaultNetwork == nil {
		yes := true
		f.DefaultNetwork = &yes
	}
	return f
}

// tidyYAML takes Go's type names out of a decoder's error, which the person
// who wrote the file has never heard of.
func tidyYAML(err error) string {
	s := strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n  ")
	s = strings.ReplaceAll(s, " not found in type daemon.File", " is not a key of vnetd.yaml (those are logLevel, adminGroup, defaultNetwork, resolvConf, subnetPools, metrics)")
	return strings.ReplaceAll(strings.ReplaceAll(s, "field ", ""), "\n  ", "; ")
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil || strings.ContainsAny(s, "+-") {
		return l, fmt.Errorf("%q is not debug, info, warn or error", s)
	}
	return l, nil
}
