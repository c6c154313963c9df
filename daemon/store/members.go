package store

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/vnetd/vnetd/netdrv"
)

// Members returns the guests' links as of the last PutMembers since the host
// booted, none if that cannot be told: they are learned again.
func (s *Store) Members() []netdrv.Member {
	b, err := os.ReadFile(s.runtimePath("members.json"))
	if err != nil {
		return nil
	}
	var out []netdrv.Member
	if json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}

// PutMembers notes whose guests' links are, so that a restarted daemon can put
// one back that lost its bridge meanwhile.
func (s *Store) PutMembers(members []netdrv.Member) error {
	b, err := json.Marshal(members)
	if err != nil {
		return err
	}
	if err := writeFile(s.runtimePath("members.json"), b, false); err != nil {
		return fmt.Errorf("note guests' links: %w", err)
	}
	return nil
}
