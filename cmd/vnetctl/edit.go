package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnetd/vnetd/api/client"
	"github.com/vnetd/vnetd/api/definition"
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// errorMark begins the lines in which the editor shows why a definition was refused.
const errorMark = "#! "

func networkEdit(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "edit NAME", Short: "Edit a network's definition in $VISUAL or $EDITOR; a running network is changed in place",
		Example: "  EDITOR=nano vnetctl network edit lab",
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := getNetwork(ctx, c, args[0])
			if err != nil {
				return err
			}
			n.Status = nil
			text, err := definition.Marshal(n)
			if err != nil {
				return err
			}
			// The editor opens again with the error on top, until the change is accepted
			// or the text is saved unchanged.
			var refused error
			for {
				edited, err := edit(ctx, text, refused)
				if err != nil {
					return err
				}
				if bytes.Equal(edited, text) {
					if refused == nil {
						t.infof("network %s unchanged", args[0])
					}
					return refused
				}
				text = edited
				var n vnetv1.Network
				if refused = definition.Unmarshal("(edited)", text, &n); refused != nil {
					continue
				}
				if _, refused = t.apply(ctx, c, &n, false, false); refused == nil {
					return nil
				}
			}
		}),
	}
}

// edit opens the user's editor with a text, and with the error of the last attempt in
// comments above it, and returns the text without these comments.
func edit(ctx context.Context, text []byte, refused error) ([]byte, error) {
	f, err := os.CreateTemp("", "vnetctl-*.yaml")
	if err != nil {
		return nil, fmt.Errorf("edit: %w", err)
	}
	defer os.Remove(f.Name())
	if refused != nil {
		var b bytes.Buffer
		printError(&b, refused)
		for line := range strings.Lines(b.String()) {
			fmt.Fprint(f, errorMark, line)
		}
		fmt.Fprintln(f, errorMark+"Fix the file and save, or quit without changes to cancel.")
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("edit: %w", err)
	}
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	// The shell, as git does it: $EDITOR may have arguments.
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$@"`, editor, f.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("edit with %s: %w", editor, err)
	}
	edited, err := os.ReadFile(f.Name())
	for bytes.HasPrefix(edited, []byte(errorMark)) {
		_, edited, _ = bytes.Cut(edited, []byte("\n"))
	}
	return edited, err
}
