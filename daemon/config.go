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
	// RuntimeDir has the sockets, and volatile state.
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
		return f, fmt.Errorf("read configuration %s: %s", path, located(b, err))
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

// located is a decoder's error with the line and the key that it is about, which values
// that are no plain YAML come without.
func located(b []byte, err error) string {
	var root yaml.Node
	if yaml.Unmarshal(b, &root) != nil || len(root.Content) == 0 || strings.Contains(err.Error(), "line ") && !strings.Contains(err.Error(), "cannot unmarshal") {
		return tidyYAML(err)
	}
	var said []string
	keys := root.Content[0].Content
	for i := 0; i+1 < len(keys); i += 2 {
		var f File
		one := &yaml.Node{Kind: yaml.MappingNode, Content: keys[i : i+2]}
		if err := one.Decode(&f); err != nil {
			value := keys[i+1]
			for value.Kind == yaml.MappingNode && len(value.Content) == 2 { // metrics: {listen: ...}
				value = value.Content[1]
			}
			said = append(said, fmt.Sprintf("line %d: %s: %q cannot be read; see the comments in dist/vnetd.yaml for what it wants", value.Line, keys[i].Value, value.Value))
		}
	}
	if said == nil {
		return tidyYAML(err)
	}
	return strings.Join(said, "; ")
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
