// Command vnetd is the network daemon of a KVM host.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/daemon"
	"github.com/vnetd/vnetd/daemon/journal"
)

// version is stamped by the linker.
var version string

type flags struct {
	config, stateDir, runtimeDir, logLevel, logFormat string

	configGiven, version bool
}

func main() {
	f, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "vnetd: %v\n", err)
		os.Exit(2)
	case f.version:
		fmt.Println("vnetd", versionText())
		return
	}
	if err := run(f); err != nil {
		fmt.Fprintf(os.Stderr, "vnetd: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (flags, error) {
	var f flags
	set := pflag.NewFlagSet("vnetd", pflag.ContinueOnError)
	set.StringVar(&f.config, "config", "/etc/vnetd/vnetd.yaml", "configuration `file`")
	set.StringVar(&f.stateDir, "state-dir", "/var/lib/vnetd", "`directory` for persistent state: definitions and leases")
	set.StringVar(&f.runtimeDir, "runtime-dir", "/run/vnetd", "`directory` for sockets and volatile state")
	set.StringVar(&f.logLevel, "log-level", "", "debug, info, warn or error (default: from the configuration file)")
	set.StringVar(&f.logFormat, "log-format", "", "text, json or journal (default: text, or journal when systemd reads stderr)")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	err := set.Parse(args)
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q; networks are managed with vnetctl", set.Arg(0))
	}
	f.configGiven = set.Changed("config")
	return f, err
}

// gcPercent is lower than Go's default, because memory of the host is for guests: 60 000
// leases need less than 100 MiB. With a small heap, the garbage collector would then run
// all the time. headroom counts as live heap and prevents that; it is never written to
// and so costs no memory.
const gcPercent = 30

var headroom = make([]byte, 24<<20)

func run(f flags) error {
	var level slog.LevelVar
	cfg := daemon.Config{StateDir: f.stateDir, RuntimeDir: f.runtimeDir, Version: versionText()}
	load := func() (err error) {
		if cfg.File, err = daemon.ReadFile(f.config, f.configGiven); err != nil {
			return err
		}
		l, err := daemon.ParseLevel(cmp.Or(f.logLevel, cfg.File.LogLevel))
		level.Set(l)
		return err
	}
	if err := load(); err != nil {
		return err
	}
	log, err := newLog(f.logFormat, &level)
	if err != nil {
		return err
	}
	d, err := daemon.New(cfg, load, log)
	if err != nil {
		return err
	}
	// After the state is read, which leaves several times its size of garbage.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
		go debug.FreeOSMemory()
		defer runtime.KeepAlive(headroom)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	return d.Run(ctx)
}

func newLog(format string, level slog.Leveler) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case format == "journal" || format == "" && journal.OnStderr():
		return slog.New(journal.NewHandler(level)), nil
	case format == "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	case format == "" || format == "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
	}
	return nil, fmt.Errorf("--log-format: unknown format %q; supported: text, json, journal", format)
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
