package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
)

// completionTime is how long a TAB may take; a daemon that is not there must
// not freeze a shell.
const completionTime = 200 * time.Millisecond

// completeNetworks proposes the names of networks that are not named yet.
func (t *tool) completeNetworks(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	c, err := t.dialToRead()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	resp, err := c.ListNetworks(ctx, &vnetv1.ListNetworksRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	named := map[string]bool{}
	for _, a := range args {
		named[a] = true
	}
	var names []string
	for _, n := range resp.GetNetworks() {
		if !named[n.GetName()] {
			names = append(names, n.GetName())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
