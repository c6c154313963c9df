package nft

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
)

// No message exceeds what an attribute's length can say, and none is lost.
func TestChunksHoldAllElements(t *testing.T) {
	networks := example.Many(3000)
	for i := range networks {
		networks[i].Name = strings.Repeat("n", 63) // the longest comment there is
	}
	r := firewall.Compile(networks)
	ms, err := encodeTable(r.Tables[0])
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, m := range ms {
		if len(m.data) >= 1<<16 {
			t.Errorf("a message of %d bytes: %s", len(m.data), describe(m))
		}
		if m.flags&(unix.NLM_F_ACK|unix.NLM_F_ECHO) != 0 {
			t.Errorf("requests an answer: %s", describe(m))
		}
		if m.typ == nftType(unix.NFT_MSG_NEWSETELEM) {
			as := m.attributes()
			got[text(as, unix.NFTA_SET_ELEM_LIST_SET)] += len(attrs(get(as, unix.NFTA_SET_ELEM_LIST_ELEMENTS)))
		}
	}
	for _, s := range r.Tables[0].Sets {
		want := len(s.Elements)
		if s.Interval && len(s.Key) == 1 { // each has an element for its end
			want *= 2
		}
		if got[s.Name] != want {
			t.Errorf("set %s is sent with %d elements, want %d", s.Name, got[s.Name], want)
		}
	}
}

// answerTo makes the kernel's refusal of message m, pointing at an offset in it.
func answerTo(m message, errno unix.Errno, offset int) message {
	data := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	data = append(data, m.append(nil)[:headerLen]...)
	data = appendAttr(data, unix.NLMSGERR_ATTR_OFFS, binary.NativeEndian.AppendUint32(nil, uint32(offset)))
	return message{typ: unix.NLMSG_ERROR, flags: unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS, data: data}
}

func TestRefusalNamesWhatIsMissing(t *testing.T) {
	ms, err := encodeTable(firewall.Compile(goldens["nat"]).Tables[0])
	if err != nil {
		t.Fatal(err)
	}
	ms = append([]message{newTable(firewall.Table{Family: firewall.INet, Name: "vnetd"}, 6)}, ms...)
	find := func(what string) int {
		for i, m := range ms {
			if strings.HasPrefix(describe(m), what) {
				return i
			}
		}
		t.Fatal("no message is to", what)
		return 0
	}
	for _, c := range []struct {
		what   string
		expr   string // that the kernel points at
		errno  unix.Errno
		phrase string
	}{
		{"add table inet vnetd", "", unix.EOPNOTSUPP, "nf_tables"},
		{"add table inet vnetd", "", unix.EPERM, "CAP_NET_ADMIN"},
		{"add chain inet vnetd postrouting", "", unix.ENOENT, "nft_chain_nat?"},
		{"add rule to chain inet vnetd masquerade_1024_65535: meta", "masq", unix.ENOENT, "module nft_masq?"},
		{"add rule to chain inet vnetd leave_nat: ct", "ct", unix.ENOENT, "module nft_ct?"},
		{"add rule to chain inet vnetd refuse: meta", "reject", unix.ENOENT, "module nft_reject_inet?"},
		{"add rule to chain inet vnetd refuse: meta", "", unix.ENOENT, "module nft_reject_inet?"},
	} {
		i := find(c.what)
		err := refusal(ms, i, c.errno, answerTo(ms[i], c.errno, offsetOf(ms[i], c.expr)))
		if !errors.Is(err, c.errno) || !strings.HasPrefix(err.Error(), c.what) || !strings.Contains(err.Error(), c.phrase) {
			t.Errorf("got %q, want it to begin with %q and to name %q", err, c.what, c.phrase)
		}
	}
}

// offsetOf finds an expression in a rule's message.
func offsetOf(m message, name string) int {
	for _, a := range m.attributes() {
		for _, e := range attrs(a.data) {
			if a.typ == unix.NFTA_RULE_EXPRESSIONS && name != "" && text(attrs(e.data), unix.NFTA_EXPR_NAME) == name {
				return headerLen + 4 + a.at + 4 + e.at
			}
		}
	}
	return 0
}

// Whatever comes in, nothing panics, and the parts are within the whole.
func FuzzMessages(f *testing.F) {
	ms, err := encodeTable(firewall.Compile(goldens["mix"]).Tables[0])
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range ms {
		f.Add(m.append(nil))
	}
	f.Add(answerTo(ms[0], unix.ENOENT, 20).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := parse(b)
		if err != nil {
			return
		}
		im := newImage(0)
		for _, m := range parsed {
			im.add(m)
			_ = describe(m)
			_ = refusal([]message{m}, 0, m.errno(), m)
			_, _ = generationOf(m)
		}
		if drift := im.drift(im); drift != "" {
			t.Errorf("an image differs from itself: %s", drift)
		}
		_ = im.drift(newImage(0))
	})
}
