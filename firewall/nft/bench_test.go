package nft

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReplace compiles n networks and puts them in place of an empty table,
// which includes reading them back.
func BenchmarkReplace(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("networks=%d", n), func(b *testing.B) {
			d, networks := newNamespace(b).open(b), example.Many(n)
			for b.Loop() {
				must(b, d.Apply(context.Background(), firewall.Compile(networks)))
				b.StopTimer()
				must(b, d.Apply(context.Background(), firewall.Ruleset{}))
				b.StartTimer()
			}
		})
	}
}

// BenchmarkAddOne adds one network to n, and takes it away.
func BenchmarkAddOne(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("networks=%d", n), func(b *testing.B) {
			d, networks := newNamespace(b).open(b), example.Many(n+3)
			must(b, d.Apply(context.Background(), firewall.Compile(networks[:n+2])))
			with := true
			for b.Loop() {
				must(b, d.Apply(context.Background(), firewall.Compile(networks[:n+2+btoi(with)])))
				with = !with
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// BenchmarkNothingToDo applies what is there already.
func BenchmarkNothingToDo(b *testing.B) {
	d, r := newNamespace(b).open(b), firewall.Compile(example.Many(1000))
	for b.Loop() {
		must(b, d.Apply(context.Background(), r))
	}
}

func BenchmarkVerify(b *testing.B) {
	d, r := newNamespace(b).open(b), firewall.Compile(example.Many(1000))
	must(b, d.Apply(context.Background(), r))
	for b.Loop() {
		_, err := d.Verify(context.Background())
		must(b, err)
	}
}

func BenchmarkCompile(b *testing.B) {
	networks := example.Many(1000)
	for b.Loop() {
		firewall.Compile(networks)
	}
}

// BenchmarkImage500 encodes the rules of 500 networks, to send or to compare them.
func BenchmarkImage500(b *testing.B) {
	d, r := new(Driver), firewall.Compile(example.Many(500))
	b.ReportAllocs()
	for b.Loop() {
		_, _, err := d.encode(r)
		must(b, err)
	}
}

// BenchmarkPacket is the whole way of one datagram of an established connection
// from a guest through the host to the outside, with n networks beside its own,
// or with no rules at all.
func BenchmarkPacket(b *testing.B) {
	for _, from := range []string{"a", "c"} {
		w := newWorld(b)
		for _, n := range []int{-1, 0, 10, 100, 500, 1000} {
			b.Run(fmt.Sprintf("from=%s/networks=%d", from, n+5), func(b *testing.B) {
				var networks []netdrv.Network
				if n >= 0 {
					networks = append(shifted(n), worldNetworks...)
				}
				apply(b, w.driver, networks...)
				w.members[from].flood(b, w.members["outside"].v4)
			})
		}
	}
}

// shifted are n networks that do not meet the world's.
func shifted(n int) []netdrv.Network {
	out := example.Many(n)
	for i := range out {
		for j, s := range out[i].Subnets {
			if a := s.Address.Addr().As4; s.Address.Addr().Is4() {
				v := a()
				v[0] = 11
				out[i].Subnets[j].Address = netip.PrefixFrom(netip.AddrFrom4(v), 24)
			}
		}
	}
	return out
}

// flood sends datagrams to a port without a listener, and gets no replies.
func (m *member) flood(b *testing.B, to netip.Addr) {
	m.do(func() {
		c, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		payload := make([]byte, 64)
		for b.Loop() {
			c.Write(payload) // the outside's refusals come back as errors
		}
	})
}
