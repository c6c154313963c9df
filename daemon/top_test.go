package daemon_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// In a terminal, top redraws until q; without one it prints once and ends.
func TestTop(t *testing.T) {
	nettest.Need(t, "tmux", "udhcpc", "ping")
	w, d := labWorld(t)
	g, _ := guest(t, w, "web", "lab0")
	g.Start(t, "ping", "-q", "-i", "0.01", "-s", "1400", "203.0.113.1")
	top := fmt.Sprintf("%s --socket %s top --every 300ms", d.Program("vnetctl"), d.ReadOnlySocket())

	once := w.Host.Run(t, top+" | cat")
	if !regexp.MustCompile("  " + g.Port + ` +[0-9.]+[kM] +[0-9.]+[kM] `).MatchString(once) {
		t.Errorf("without a terminal, top printed:\n%s", once)
	}

	tmux := "tmux -S " + filepath.Join(d.RuntimeDir, "tmux") + " "
	w.Host.Run(t, tmux+"-f /dev/null new-session -d -x 90 -y 20 -s top '"+top+"; echo ended with $?; sleep 1000'")
	t.Cleanup(func() { _, _ = w.Host.Try(background(), tmux+"kill-server") })
	shows := func(what, text string) {
		t.Helper()
		nettest.Eventually(t, what, func() error {
			if screen := w.Host.Run(t, tmux+"capture-pane -p -t top"); !strings.Contains(screen, text) {
				return fmt.Errorf("the screen lacks %q:\n%s", text, screen)
			}
			return nil
		})
	}
	shows("rates", "  "+g.Port)
	shows("sorted by total", "by total")
	w.Host.Run(t, tmux+"send-keys -t top s")
	shows("sorted otherwise", "by in")
	w.Host.Run(t, tmux+"send-keys -t top q")
	shows("ended", "ended with 0")
}
