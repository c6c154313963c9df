package nettest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) {
	if play, ok := players[filepath.Base(os.Args[0])]; ok {
		play()
		return
	}
	Main(m)
}

// players are programs that the test binary is when it is called by another
// name.
var players = map[string]func(){}
