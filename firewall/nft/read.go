package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// ours are the tables that a Driver owns, if they exist.
var ours = []firewall.Table{
	{Family: firewall.INet, Name: firewall.TableName},
	{Family: firewall.Bridge, Name: firewall.TableName},
}

// state is what the kernel has of our tables.
type state struct {
	gen    uint32
	image  image
	tables map[string]tableState // by Table.ID
}

// tableState is what a table has besides its objects.
type tableState struct {
	flags   uint32
	owner   uint32 // the socket that owns it; 0 if none
	comment string
}

// attempts limits how often a listing or a change is tried again because another process has
// changed the ruleset meanwhile.
const attempts = 10

// read lists our tables, all of one generation.
func (s *socket) read(ctx context.Context) (state, error) {
	var st state
	err := errInterrupted
	for i := 0; i < attempts && errors.Is(err, errInterrupted); i++ {
		if st.gen, err = s.generation(ctx); err != nil {
			break
		}
		st.image, st.tables = newImage(0), map[string]tableState{}
		for _, t := range ours {
			if err == nil {
				err = s.readTable(ctx, t, &st)
			}
		}
		var after uint32
		if err == nil {
			after, err = s.generation(ctx)
		}
		if err == nil && after != st.gen {
			err = errInterrupted
		}
	}
	if err != nil {
		return state{}, fmt.Errorf("list our nftables tables: %w", err)
	}
	return st, nil
}

// generation returns the number of the ruleset's generation. It grows by one with
// every transaction in the namespace.
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

// readTable adds a table to st, if it exists.
func (s *socket) readTable(ctx context.Context, t firewall.Table, st *state) error {
	table, err := s.tableState(ctx, t)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	st.tables[t.ID()] = table
	im := st.image
	im.add(newTable(t, table.flags))
	var sets []string
	err = s.dump(ctx, t, unix.NFT_MSG_GETSET, "", func(r message) {
		im.add(r)
		as := r.attributes()
		if number(as, unix.NFTA_SET_FLAGS)&unix.NFT_SET_EVAL == 0 { // else packets make its elements
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
		if r.family() == family(t.Family) && text(r.attributes(), 1) == t.Name {
			each(r)
		}
		return nil
	})
}

// available reports an error if the kernel has no nf_tables.
func (s *socket) available() error {
	_, err := s.generation(context.Background())
	return err
}

// tableState returns what the kernel says about a table as a whole.
func (s *socket) tableState(ctx context.Context, t firewall.Table) (tableState, error) {
	m := message{
		typ: nftType(unix.NFT_MSG_GETTABLE), flags: unix.NLM_F_REQUEST,
		data: appendText(header(t.Family), unix.NFTA_TABLE_NAME, t.Name),
	}
	var out tableState
	err := s.request(ctx, m, func(r message) error {
		as := r.attributes()
		out = tableState{flags: number(as, unix.NFTA_TABLE_FLAGS), owner: number(as, attrTableOwner)}
		if data := get(as, attrTableUserdata); len(data) > 2 && data[0] == udataComment {
			out.comment = strings.TrimRight(string(data[2:]), "\x00")
		}
		return nil
	})
	return out, err
}
