package batchio

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// Packets come in batches, with their senders, and each reply goes to its own.
func TestReader(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Log(err)
			continue
		}
		defer conn.Close()
		r, err := NewReader(conn.(*net.UDPConn), NewPool(8, 100, 100))
		if err != nil {
			t.Fatal(err)
		}
		var clients []net.Conn
		for i := range 20 {
			c, err := net.Dial("udp", conn.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			clients = append(clients, c)
			fmt.Fprintf(c, "query %d", i)
		}
		if r.Backlog() == 0 {
			t.Error("no backlog")
		}
		for read := 0; read < 20; {
			n, err := r.Read(true)
			if err != nil || n < 1 || n > 8 {
				t.Fatal(n, err)
			}
			for i := range n {
				if got, want := r.From(i).String(), clients[read+i].LocalAddr().String(); got != want {
					t.Errorf("from %s, want %s", got, want)
				}
				r.Reply(i, append(append(r.Room(i), "reply to "...), r.Data(i)...))
			}
			r.Flush()
			read += n
		}
		for i, c := range clients {
			var buf [100]byte
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := c.Read(buf[:])
			if want := fmt.Sprintf("reply to query %d", i); err != nil || string(buf[:n]) != want {
				t.Errorf("%q, %v, want %q", buf[:n], err, want)
			}
		}
	}
}

// The reader of an idle socket has no buffers, and gets them for the first packet.
func TestIdleReadersHaveNoBuffers(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := NewReader(conn.(*net.UDPConn), NewPool(4, 100, 0))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(false); n != 0 || err != nil || r.buffers != nil {
		t.Fatalf("%d packets, %v, buffers %v", n, err, r.buffers != nil)
	}
	c, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		fmt.Fprint(c, "packet")
		if n, err := r.Read(true); n != 1 || err != nil || string(r.Data(0)) != "packet" {
			t.Fatalf("%d packets, %v", n, err)
		}
		if n, _ := r.Read(false); n != 0 || r.buffers != nil {
			t.Fatalf("%d packets, buffers %v", n, r.buffers != nil)
		}
	}
	_ = conn.Close()
	if _, err := r.Read(true); err == nil {
		t.Error("no error of a closed socket")
	}
}

// What is queued is sent in order, in batches; what does not fit into the queue is dropped.
func TestQueue(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q, err := NewQueue(c.(*net.UDPConn), 8, 50)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		q.Put([]byte(fmt.Sprint(i)))
	}
	closed, done := make(chan struct{}), make(chan struct{})
	go func() { q.Run(closed); close(done) }()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var buf [100]byte
	for i := range 51 {
		want := fmt.Sprint(i)
		if i == 50 {
			q.Put([]byte("last"))
			want = "last"
		}
		if n, _, err := conn.ReadFrom(buf[:]); err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, %v, want %q", buf[:n], err, want)
		}
	}
	close(closed)
	<-done
}
