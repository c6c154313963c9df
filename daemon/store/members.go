package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vnetd/vnetd/netdrv"
)

// Members returns the guests' links as of the last PutMembers since the host
// booted, none if that cannot be told: they are learned again.
func (s *Store) Members() []netdrv.Member {
	path := s.runtimePath("members.json")
	b, err := os.ReadFile(path)
	var out []netdrv.Member
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.setAside(path, err)
		return nil
	}
	return out
}

// PutMembers stores the guests' links with their networks, so that a restarted daemon can put
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
