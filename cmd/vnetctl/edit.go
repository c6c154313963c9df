package main

import (
	"bytes"
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

func (t *tool) networkEdit() *cobra.Command {
	return t.named(&cobra.Command{
		Use: "edit NAME", Short: "Change a network's definition in $VISUAL or $EDITOR, live",
		RunE: t.changing(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := t.get(ctx, c, args[0])
			if err != nil {
				return err
			}
			n.Status = nil
			text, err := definition.Marshal(n)
			if err != nil {
				return err
			}
			return t.editUntilRight(ctx, c, text)
		}),
	})
}

// editUntilRight opens the editor again with what is wrong on top, until the
// change is taken or the text is left as it is.
func (t *tool) editUntilRight(ctx context.Context, c *client.Client, text []byte) error {
	var why error
	for {
		edited, err := edit(ctx, withComment(text, why))
		if err != nil {
			return err
		}
		edited = withoutComment(edited)
		if bytes.Equal(edited, text) {
			if why == nil {
				t.say("nothing changed")
			}
			return why
		}
		text = edited
		var n vnetv1.Network
		if why = definition.Unmarshal("(edited)", text, &n); why != nil {
			continue
		}
		if _, why = t.apply(ctx, c, &n, false, false); why == nil {
			return nil
		}
	}
}

const commentMark = "#! "

func withComment(text []byte, why error) []byte {
	if why == nil {
		return text
	}
	var b bytes.Buffer
	explain(&b, why)
	var out bytes.Buffer
	for line := range strings.Lines(b.String()) {
		out.WriteString(commentMark + line)
	}
	out.WriteString(commentMark + "Mend it, or leave the file as it is to give up.\n")
	return append(out.Bytes(), text...)
}

func withoutComment(text []byte) []byte {
	for bytes.HasPrefix(text, []byte(commentMark)) {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text
}

// edit lets the user's editor at a text and returns what came of it.
func edit(ctx context.Context, text []byte) ([]byte, error) {
	f, err := os.CreateTemp("", "vnetctl-*.yaml")
	if err != nil {
		return nil, fmt.Errorf("edit: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("edit: %w", err)
	}
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	// The shell, as git does it: $EDITOR may have arguments.
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$@"`, editor, f.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("edit with %s: %w", editor, err)
	}
	return os.ReadFile(f.Name())
}
