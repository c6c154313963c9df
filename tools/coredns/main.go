// Command coredns is CoreDNS with the plugins that the benchmark measures: the
// whole of it needs the clients of every cloud, and minutes to build.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/hosts"

	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
