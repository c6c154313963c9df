package nettest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestHostReachesTheInternet(t *testing.T) {
	Need(t, "ip", "ping")
	w := New(t)
	w.Host.Run(t, "ping -c1 -W5 203.0.113.1; ping -c1 -W5 2001:db8:ff::1")

	client := http.Client{Transport: &http.Transport{DialContext: w.Host.DialContext, DisableKeepAlives: true}}
	for url, want := range map[string]string{
		"http://203.0.113.1/v4":      "203.0.113.2\n",
		"http://[2001:db8:ff::1]/v6": "2001:db8:ff::2\n",
		"http://203.0.113.1/bytes/3": "\x00\x00\x00",
	} {
		r, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%s says %q, %v; want %q", url, body, err, want)
		}
	}
	v := w.Internet.Await(t, func(v Visit) bool { return v.Service == "http" && v.What == "/v6" })
	if v.Peer.Addr().String() != "2001:db8:ff::2" {
		t.Errorf("visit %v", v)
	}
}

func TestEchoAndSink(t *testing.T) {
	w := New(t)
	for _, network := range []string{"tcp", "udp"} {
		c, err := w.Host.Dial(network, "203.0.113.1:7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "over %s\n", network)
		if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != "over "+network+"\n" {
			t.Errorf("%s echo says %q, %v", network, got, err)
		}
		v := w.Internet.Await(t, func(v Visit) bool { return v.Service == network+" echo" })
		if v.Peer.String() != c.LocalAddr().String() {
			t.Errorf("visit of %v, want %v", v.Peer, c.LocalAddr())
		}
	}
	c, err := w.Host.Dial("udp", "[2001:db8:ff::1]:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "lost")
	w.Internet.Await(t, func(v Visit) bool { return v.Service == "udp sink" && v.What == "lost" })
}

func TestDNS(t *testing.T) {
	Need(t, "dig")
	w := New(t)
	w.Internet.DNS.Add(t, "1.113.0.203.in-addr.arpa. 60 PTR www.example.org.")
	for _, c := range []struct{ ask, want string }{
		{"www.example.org A +short", "203.0.113.1\n"},
		{"wWw.ExAmple.oRg AAAA +short", "2001:db8:ff::1\n"},
		{"alias.example.org A +short", "www.example.org.\n203.0.113.1\n"},
		{"-x 203.0.113.1 +short", "www.example.org.\n"},
		{"www.example.org A +tcp +short", "203.0.113.1\n"},
		{"nothing.example.org A", "status: NXDOMAIN"},
		{"nothing.example.org A", "ns.org. hostmaster.org."},
		{"www.example.org TXT", "status: NOERROR"},
		{"www.example.org TXT", "ns.org. hostmaster.org."},
		{"big.example.org TXT +ignore", "flags: qr tc"},
		{"big.example.org TXT +short", "big-big-"},
		{"big.example.org TXT +bufsize=4096 +ignore +short", "big-big-"},
	} {
		if got := w.Host.Run(t, "dig +tries=1 +time=5 "+c.ask); !strings.Contains(got, c.want) {
			t.Errorf("dig %s: want %q in\n%s", c.ask, c.want, got)
		}
	}
	w.Internet.Await(t, func(v Visit) bool { return v.Service == "tcp dns" && v.What == "big.example.org. TXT" })

	w.Internet.DNS.Refuse(5)
	if got := w.Host.Run(t, "dig www.example.org"); !strings.Contains(got, "REFUSED") {
		t.Errorf("got %s", got)
	}
	w.Internet.DNS.Silence(true)
	if got, err := w.Host.Try(t.Context(), "dig +tries=1 +time=1 www.example.org"); err == nil {
		t.Errorf("an answer of a silent server: %s", got)
	}
}

func TestTwoInternets(t *testing.T) {
	Need(t, "ip")
	w := New(t)
	other := NewInternet(t, "other")
	other.Connect(t, w.Host, Uplink{
		Name: "up1", Gateway: []string{"198.51.100.1/24"}, Address: []string{"198.51.100.2/24"}, Metric: 100,
	})
	for _, server := range []string{"203.0.113.1", "198.51.100.1"} {
		c, err := w.Host.Dial("tcp", server+":7")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if len(other.Visits()) == 0 {
		other.Await(t, func(v Visit) bool { return v.Peer.Addr().String() == "198.51.100.2" })
	}
}
