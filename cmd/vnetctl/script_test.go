package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// TestScripts runs testdata/script against one daemon, in parallel: each script has
// networks and prefixes of its own. Besides testscript's commands there are
//
//	exits CODE vnetctl ARGUMENT...   runs vnetctl, which has to exit with CODE
//	[!] host COMMAND...              runs a shell command in the daemon's namespace
func TestScripts(t *testing.T) {
	d := nettest.New(t).Daemon(t, nettest.DaemonConfig{Config: "logLevel: debug\ndefaultNetwork: false\n"})
	// The group returns when all scripts have ended, and the daemon is stopped after that.
	t.Run("script", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/script",
			Setup: func(env *testscript.Env) error {
				env.Setenv("VNETD_SOCKET", d.Socket())
				env.Setenv("PATH", filepath.Dir(d.Program("vnetctl"))+":"+env.Getenv("PATH"))
				return nil
			},
			Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
				"exits": func(ts *testscript.TestScript, neg bool, args []string) {
					if neg || len(args) < 2 {
						ts.Fatalf("usage: exits CODE COMMAND...")
					}
					err := ts.Exec(args[1], args[2:]...)
					code, exit := 0, new(exec.ExitError)
					if errors.As(err, &exit) {
						code = exit.ExitCode()
					} else if err != nil {
						ts.Fatalf("%v", err)
					}
					if strconv.Itoa(code) != args[0] {
						ts.Fatalf("%s: exit code %d, want %s", strings.Join(args[1:], " "), code, args[0])
					}
				},
				"host": func(ts *testscript.TestScript, neg bool, args []string) {
					cmd := d.Host.Command(context.Background(), "/bin/sh", "-c", strings.Join(args, " "))
					var out bytes.Buffer
					cmd.Stdout, cmd.Stderr = &out, &out
					err := cmd.Run()
					ts.Logf("%s", out.String())
					if (err != nil) != neg {
						ts.Fatalf("host %s: %v", strings.Join(args, " "), err)
					}
				},
			},
		})
	})
}
