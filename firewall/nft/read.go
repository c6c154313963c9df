package nft

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// ours are the tables that a Driver owns, if they exist.
var ours = []firewall.Table{
	{Family: firewall.INet, Name: firewall.TableName},
	{Family: firewall.Bridge, Name: firewall.TableName},
}

// holding is what the kernel holds of ours.
type holding struct {
	gen    uint32
	image  image
	tables map[string]tableState // by Table.ID
}

// tableState is what is said about a table that is not part of what it holds.
type tableState struct {
	flags   uint32
	owner   uint32 // the socket that owns it; 0 if none
	comment string
}

// attempts bounds how often a look or a change is tried again because somebody
// else changed the ruleset meanwhile.
const attempts = 10

// look lists our tables, whole and of one generation.
func (s *socket) look(ctx context.Context) (holding, error) {
	for range attempts {
		h, err := s.lookOnce(ctx)
		if errors.Is(err, errInterrupted) {
			continue
		}
		if err != nil {
			return holding{}, fmt.Errorf("list our nftables tables: %w", err)
		}
		return h, nil
	}
	return holding{}, fmt.Errorf("list our nftables tables, %d times: %w", attempts, errInterrupted)
}

func (s *socket) lookOnce(ctx context.Context) (holding, error) {
	gen, err := s.generation(ctx)
	if err != nil {
		return holding{}, err
	}
	h := holding{gen: gen, image: newImage(0), tables: map[string]tableState{}}
	for _, t := range ours {
		if err := s.lookAt(ctx, t, &h); err != nil {
			return holding{}, err
		}
	}
	after, err := s.generation(ctx)
	if err == nil && after != gen {
		err = errInterrupted
	}
	return h, err
}

// generation returns the number of the ruleset's generation. It grows by one with
// every transaction in the namespace, whoever made it.
func (s *socket) generation(ctx context.Context) (uint32, error) {
	var gen uint32
	m := message{typ: nftType(unix.NFT_MSG_GETGEN), flags: unix.NLM_F_REQUEST, data: header(firewall.INet)}
	err := s.request(ctx, m, func(r message) error {
		g, ok := generationOf(r)
		if !ok {
			return errors.New("the kernel's answer has no generation")
		}
		gen = g
		return nil
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return 0, fmt.Errorf("ask for the generation of the ruleset: %w: the kernel has no nf_tables", err)
	case err != nil:
		return 0, fmt.Errorf("ask for the generation of the ruleset: %w", err)
	}
	return gen, nil
}

// lookAt adds one table to h, if it exists.
func (s *socket) lookAt(ctx context.Context, t firewall.Table, h *holding) error {
	m := message{
		typ: nftType(unix.NFT_MSG_GETTABLE), flags: unix.NLM_F_REQUEST,
		data: appendText(header(t.Family), unix.NFTA_TABLE_NAME, t.Name),
	}
	err := s.request(ctx, m, func(r message) error {
		as := r.attributes()
		h.tables[t.ID()] = tableState{flags: number(as, unix.NFTA_TABLE_FLAGS), owner: number(as, attrTableOwner)}
		h.image.add(r)
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.lookInto(ctx, t, h.image)
}

func (s *socket) lookInto(ctx context.Context, t firewall.Table, im image) error {
	var sets []string
	err := s.dump(ctx, t, unix.NFT_MSG_GETSET, "", func(r message) {
		im.add(r)
		as := r.attributes()
		if number(as, unix.NFTA_SET_FLAGS)&unix.NFT_SET_EVAL == 0 { // else it holds what packets make
			sets = append(sets, text(as, unix.NFTA_SET_NAME))
		}
	})
	if err != nil {
		return err
	}
	for _, set := range sets {
		if err := s.dump(ctx, t, unix.NFT_MSG_GETSETELEM, set, im.add); err != nil {
			return err
		}
	}
	if err := s.dump(ctx, t, unix.NFT_MSG_GETCHAIN, "", im.add); err != nil {
		return err
	}
	return s.dump(ctx, t, unix.NFT_MSG_GETRULE, "", im.add)
}

// dump lists objects of a table. The kernel lists the chains of other tables too,
// which are left out.
func (s *socket) dump(ctx context.Context, t firewall.Table, what int, set string, each func(message)) error {
	data := appendText(header(t.Family), unix.NFTA_SET_TABLE, t.Name)
	if set != "" {
		data = appendText(data, unix.NFTA_SET_ELEM_LIST_SET, set)
	}
	m := message{typ: nftType(what), flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP, data: data}
	return s.request(ctx, m, func(r message) error {
		if r.family() == byte(family(t.Family)) && text(r.attributes(), 1) == t.Name {
			each(r)
		}
		return nil
	})
}
