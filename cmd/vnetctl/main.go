// Command vnetctl manages the networks of a vnetd.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/client"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// version is stamped by the linker.
var version string

// Exit codes, which scripts rely on.
const (
	exitDone = iota
	exitError
	exitWouldChange // --dry-run would change something
	exitNotFound
	exitTimeout
)

// errWouldChange ends a --dry-run that found a difference.
var errWouldChange = errors.New("would change")

// tool holds the streams and the global flags of all commands.
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

func main() { os.Exit(run()) }

// run executes the command line and returns the exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &tool{in: os.Stdin, out: os.Stdout}
	err := t.command().ExecuteContext(ctx)
	var exit exitStatus
	switch {
	case errors.As(err, &exit):
		return int(exit)
	case err == nil, errors.Is(ctx.Err(), context.Canceled): // interrupted by the user
		return exitDone
	case errors.Is(err, errWouldChange):
		return exitWouldChange
	}
	printError(os.Stderr, err)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return exitNotFound
	case errors.Is(err, client.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitError
}

// printError prints an error: one line, or one line per finding.
func printError(w io.Writer, err error) {
	var remote *client.Error
	if errors.As(err, &remote) && len(remote.Findings) > 0 {
		object, _, _ := strings.Cut(remote.Message, ": ")
		for _, f := range remote.Findings {
			if f.Path != "" {
				f.Path += ": "
			}
			fmt.Fprintf(w, "vnetctl: %s: %s%s\n", object, f.Path, f.Why)
		}
		return
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintf(w, "vnetctl: %s\n", line)
	}
}

func (t *tool) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "vnetctl",
		Short:         "Manage the networks of a KVM host",
		Long:          "vnetctl declares, changes and shows the networks that vnetd runs on this host.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch t.output {
			case "table", "json", "yaml":
				return nil
			}
			return fmt.Errorf("-o %s: unknown output format; supported: table, json, yaml", t.output)
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&t.socket, "socket", "", "API socket of vnetd (default $VNETD_SOCKET, or /run/vnetd/vnetd.sock)")
	f.StringVarP(&t.output, "output", "o", "table", "output format: table, json or yaml")
	f.BoolVarP(&t.quiet, "quiet", "q", false, "print names only, and no messages")
	f.BoolVar(&t.noLegend, "no-legend", false, "print tables without heading")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		networkCommand(t), portCommand(t), leaseCommand(t), recordCommand(t), forwardCommand(t), eventCommand(t),
		runCommand(t), topCommand(t), graphCommand(t), statusCommand(t),
		&cobra.Command{
			Use: "version", Short: "Print the version",
			RunE: func(*cobra.Command, []string) error {
				text := version
				if info, ok := debug.ReadBuildInfo(); text == "" && ok {
					text = info.Main.Version
				}
				if text == "" {
					text = "(unknown)"
				}
				_, err := fmt.Fprintln(t.out, "vnetctl", text)
				return err
			},
		},
	)
	checkArguments(root)
	return root
}

// checkArguments lets all commands below c check their arguments against their usage
// line, unless they have a check of their own.
func checkArguments(c *cobra.Command) {
	for _, sub := range c.Commands() {
		checkArguments(sub)
	}
	if c.RunE != nil && c.Args == nil {
		c.Args = matchUsage
	}
}

// matchUsage checks arguments against a usage line such as "list [NETWORK]" or
// "set NAME KEY=VALUE...".
func matchUsage(cmd *cobra.Command, args []string) error {
	_, usage, _ := strings.Cut(cmd.Use, " ")
	var required []string
	optional := 0
	for i, word := range strings.Fields(usage) {
		switch {
		case strings.HasPrefix(word, "[") && !strings.HasPrefix(word, "[-"):
			optional++
		case i == len(required) && word[0] >= 'A' && word[0] <= 'Z':
			required = append(required, strings.TrimSuffix(word, "..."))
		}
	}
	most := len(required) + optional
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	switch {
	case len(args) < len(required):
		return fmt.Errorf("%s: missing %s. Usage: vnetctl %s %s", path, required[len(args)], path, usage)
	case len(args) > most && !strings.Contains(usage, "..."):
		return fmt.Errorf("%s: unexpected argument %q. Usage: vnetctl %s %s", path, args[most], path, usage)
	}
	return nil
}

// dial returns a client for changes.
func (t *tool) dial() (*client.Client, error) {
	write, _ := t.sockets()
	return client.New(write)
}

// dialToRead uses the read-only socket if this user has no access to the other.
func (t *tool) dialToRead() (*client.Client, error) {
	write, read := t.sockets()
	if f, err := os.Stat(write); err == nil && f.Mode()&os.ModeSocket != 0 && unix.Access(write, unix.R_OK|unix.W_OK) == nil {
		return client.New(write)
	}
	if _, err := os.Stat(read); err != nil {
		read = write // errors name the socket that users know
	}
	return client.New(read)
}

func (t *tool) sockets() (write, read string) {
	if t.socket != "" {
		return t.socket, t.socket
	}
	return client.Sockets()
}

type action func(ctx context.Context, c *client.Client, args []string) error

// reading and changing run an action with a client.
func (t *tool) reading(do action) func(*cobra.Command, []string) error {
	return with(t.dialToRead, do)
}

func (t *tool) changing(do action) func(*cobra.Command, []string) error { return with(t.dial, do) }

func with(dial func() (*client.Client, error), do action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		return errors.Join(do(cmd.Context(), c, args), c.Close())
	}
}

// each makes c run do for each of its arguments, all of them even if one fails.
func (t *tool) each(c *cobra.Command, noun, done string, do func(context.Context, *client.Client, string) error) *cobra.Command {
	c.RunE = t.changing(func(ctx context.Context, c *client.Client, names []string) error {
		var failed []error
		for _, name := range names {
			if err := do(ctx, c, name); err != nil {
				failed = append(failed, err)
			} else if done != "" {
				t.infof("%s %s %s", noun, name, done)
			}
		}
		return errors.Join(failed...)
	})
	return c
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func statusCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show daemon status",
		RunE: t.reading(func(ctx context.Context, c *client.Client, _ []string) error {
			s, err := c.GetStatus(ctx, &vnetv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.printMessage(s)
			}
			fmt.Fprintf(t.out, "vnetd      %s, up %s\n", s.GetVersion(), short(time.Since(s.GetStartTime().AsTime())))
			fmt.Fprintf(t.out, "networks   %d ready, %d degraded, %d stopped\n", s.GetNetworksReady(), s.GetNetworksDegraded(), s.GetNetworksStopped())
			fmt.Fprintf(t.out, "leases     %d\nstate      %s\n", s.GetLeases(), s.GetStateDir())
			for _, p := range s.GetProblems() {
				fmt.Fprintf(t.out, "problem    %s\n", p)
			}
			return nil
		}),
	}
}
