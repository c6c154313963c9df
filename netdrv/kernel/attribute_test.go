package kernel

import "testing"

func TestAttributesThatLieAboutTheirLength(t *testing.T) {
	for _, b := range [][]byte{nil, {4}, {3, 0, 1, 0}, {9, 0, 1, 0, 1, 2, 3, 4}, {5, 0, 2, 0, 1}, {0, 0, 0, 0}} {
		if v := attribute(b, 1); v != nil {
			t.Errorf("%v has the attribute %v", b, v)
		}
	}
	if v := attribute([]byte{5, 0, 2, 0, 9, 0, 0, 0, 6, 0, 1, 0, 7, 8}, 1); len(v) != 2 || v[0] != 7 {
		t.Errorf("the second attribute is %v", v)
	}
}

// What lies about its length is nothing, and is not read beyond its end.
func TestTornListings(t *testing.T) {
	for n := range 40 {
		readAddr(make([]byte, n))
		readRoute(make([]byte, n))
	}
	if _, ok := readAddr([]byte{2, 24, 0, 0, 1, 0, 0, 0, 6, 0, 2, 0, 10, 0, 0, 0}); ok {
		t.Error("two octets are an address")
	}
}
