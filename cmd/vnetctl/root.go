package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
)

// version is stamped by the linker.
var version string

// The exit codes, which scripts count on.
const (
	exitDone = iota
	exitError
	exitWouldChange // --dry-run would change something
	exitNotFound
	exitTimeout
)

// errWouldChange ends a --dry-run that found something to do.
var errWouldChange = errors.New("would change")

// tool is what all commands share.
type tool struct {
	in       io.Reader
	out      io.Writer
	socket   string
	output   string
	quiet    bool
	noLegend bool

	confirmWithin time.Duration
	noConfirm     bool
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, talk io.Writer) int {
	t := &tool{in: in, out: out}
	root := t.command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(talk)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && !errors.As(err, new(ended)) && errors.Is(ctx.Err(), context.Canceled) {
		return exitDone // interrupted by hand: not worth a word
	}
	var program ended
	if errors.As(err, &program) {
		return int(program)
	}
	if err != nil && !errors.Is(err, errWouldChange) {
		explain(talk, err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errWouldChange):
		return exitWouldChange
	case errors.Is(err, client.ErrNotFound):
		return exitNotFound
	case errors.Is(err, client.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitError
}

// explain prints an error for people: a line, or a line for each finding.
func explain(w io.Writer, err error) {
	var remote *client.Error
	if errors.As(err, &remote) && len(remote.Findings) > 0 {
		what, _, _ := strings.Cut(remote.Message, ": ")
		for _, f := range remote.Findings {
			if f.Path != "" {
				f.Path += ": "
			}
			fmt.Fprintf(w, "vnetctl: %s: %s%s\n", what, f.Path, f.Why)
		}
		return
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintf(w, "vnetctl: %s\n", line)
	}
}

func (t *tool) command() *cobra.Command {
	root := &cobra.Command{
		Use:               "vnetctl",
		Short:             "Manage the networks of a KVM host",
		Long:              "vnetctl declares, changes and shows the networks that vnetd keeps on this host.",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return t.checkOutput() },
	}
	f := root.PersistentFlags()
	f.StringVar(&t.socket, "socket", "", "vnetd's socket (default $VNETD_SOCKET, or /run/vnetd/vnetd.sock)")
	f.StringVarP(&t.output, "output", "o", "table", "table, json or yaml")
	f.BoolVarP(&t.quiet, "quiet", "q", false, "print names only, or nothing")
	f.BoolVar(&t.noLegend, "no-legend", false, "print tables without their heading")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		t.networkCommand(), t.portCommand(), t.leaseCommand(), t.recordCommand(), t.forwardCommand(), t.eventCommand(),
		t.runCommand(), t.topCommand(), t.graphCommand(), t.statusCommand(), t.versionCommand(),
	)
	return root
}

func (t *tool) checkOutput() error {
	switch t.output {
	case "table", "json", "yaml":
		return nil
	}
	return fmt.Errorf("-o %s: use table, json or yaml", t.output)
}

// dial returns a client for changes.
func (t *tool) dial() (*client.Client, error) {
	write, _ := t.sockets()
	return client.New(write)
}

// dialToRead takes the read-only socket where the other one is not for us.
func (t *tool) dialToRead() (*client.Client, error) {
	write, read := t.sockets()
	if f, err := os.Stat(write); err == nil && f.Mode()&os.ModeSocket != 0 && accessible(write) {
		return client.New(write)
	}
	if _, err := os.Stat(read); err != nil {
		read = write // the error is to name the socket that people know
	}
	return client.New(read)
}

func (t *tool) sockets() (write, read string) {
	if t.socket != "" {
		return t.socket, t.socket
	}
	return client.Sockets()
}

func (t *tool) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(t.out, "vnetctl", versionText())
			return err
		},
	}
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

// say tells what was done, unless asked to be quiet.
func (t *tool) say(format string, args ...any) {
	if !t.quiet && t.output == "table" {
		fmt.Fprintf(t.out, format+"\n", args...)
	}
}
